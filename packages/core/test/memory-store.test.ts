import { memoryStore, type TokenStore } from '@keyturn/core'
import { tokenStoreContract as checksOf } from '@keyturn/core/testing'
import { expect, test } from 'vitest'
import { record, tokenStoreContract } from './token-store-contract.ts'

tokenStoreContract('memoryStore', async () => ({ store: memoryStore() }))

test('two memory stores share nothing', async () => {
  const [one, two] = [memoryStore(), memoryStore()]
  await one.replace('alice', undefined, record(1))
  expect(await two.get('alice')).toBeUndefined()
})

const broken: [string, (store: TokenStore) => Partial<TokenStore>][] = [
  [
    'a writer that knows an old version is refused',
    (store) => ({ replace: async (key, _, next) => store.replace(key, (await store.get(key))?.version, next) }),
  ],
  [
    'a record that is replaced by nothing is gone',
    (store) => ({ replace: async (...all) => !all[2] || store.replace(...all) }),
  ],
  ['records with different keys do not touch each other', (store) => ({ get: (key) => store.get(key.trim()) })],
  ['a lock lets one in at a time', () => ({ lock: (_, critical) => critical({ valid: () => true }) })],
  [
    'a lock passes on the value, and the error as it is',
    (store) => ({ lock: (...all) => store.lock(...all).catch(() => {}) as never }),
  ],
  [
    'a lease is valid until its critical section ends',
    (store) => ({ lock: (key, critical) => store.lock(key, () => critical({ valid: () => true })) }),
  ],
  [
    'a holder past its lease is passed over, and its lease is lost',
    (store) => ({ lock: (key, critical, ms) => store.lock(key, () => critical({ valid: () => true }), ms) }),
  ],
  [
    'a change is told to those who watch the record, until they stop',
    (store) => ({ watch: (_, listener) => store.watch?.('bob', listener) ?? (() => {}) }),
  ],
]

test.each(broken)('the contract finds a store that breaks it: %s', async (promise, change) => {
  const store = memoryStore()
  const check = checksOf(() => ({ store: { ...store, ...change(store) } })).find(
    ({ title }) => title === promise,
  )?.check
  await expect(Promise.race([check?.(), new Promise((resolve) => setTimeout(resolve, 20_000))])).rejects.toThrow()
})
