import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileStore } from '@keyturn/node'
import { afterAll, beforeAll } from 'vitest'
import { tokenStoreContract } from '../../core/test/token-store-contract.ts'

let folder = ''

// Each store stretches its passphrase anew, which takes a third of a second: so all tests use the same one.
const path = () => join(folder, 'passphrase.json')
const stretched = Promise.withResolvers<ReturnType<typeof fileStore>>()
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'keyturn-'))
  stretched.resolve(fileStore(path(), { key: 'correct horse battery staple' }))
})

afterAll(() => rm(folder, { recursive: true, force: true }))

tokenStoreContract('fileStore with a passphrase', async () => ({
  store: await stretched.promise,
  cleanup: () => rm(path(), { force: true }),
}))
