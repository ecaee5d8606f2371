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
