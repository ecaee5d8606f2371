import { memoryStore } from '@keyturn/core'
import { expect, test } from 'vitest'
import { record, tokenStoreContract } from './token-store-contract.ts'

tokenStoreContract('memoryStore', async () => ({ store: memoryStore() }))

test('two memory stores share nothing', async () => {
  const [one, two] = [memoryStore(), memoryStore()]
  await one.replace('alice', undefined, record(1))
  expect(await two.get('alice')).toBeUndefined()
})
