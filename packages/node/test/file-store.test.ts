import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileStore } from '@keyturn/node'
import { afterAll, beforeAll } from 'vitest'
import { tokenStoreContract } from '../../core/test/token-store-contract.ts'

let folder = ''

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'keyturn-'))
})

afterAll(() => rm(folder, { recursive: true, force: true }))

let count = 0
for (const [how, options] of Object.entries({
  'in the clear': {},
  'with 32 bytes': { key: crypto.getRandomValues(new Uint8Array(32)) },
})) {
  tokenStoreContract(`fileStore ${how}`, async () => {
    const path = join(folder, `${++count}.json`)
    return { store: fileStore(path, options), reopen: () => fileStore(path, options) }
  })
}

// Each store stretches its passphrase anew, which takes a third of a second: so all tests use the same one.
const path = () => join(folder, 'passphrase.json')
const stretched = Promise.withResolvers<ReturnType<typeof fileStore>>()
beforeAll(() => stretched.resolve(fileStore(path(), { key: 'correct horse battery staple' })))
tokenStoreContract('fileStore with a passphrase', async () => ({
  store: await stretched.promise,
  cleanup: () => rm(path(), { force: true }),
}))
