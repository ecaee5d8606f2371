import { fileStore, StoreError, systemKeyring } from '@keyturn/node'
import { expect, test, vi } from 'vitest'
import { record } from '../../core/test/token-store-contract.ts'

vi.mock('@napi-rs/keyring', () => {
  throw Object.assign(new Error("Cannot find package '@napi-rs/keyring'"), { code: 'ERR_MODULE_NOT_FOUND' })
})

test('without the package for it, the keyring is a typed error that names what to install', async () => {
  const store = fileStore('never-written.json', { key: systemKeyring({ service: 'my-tool' }) })
  const error = await store.replace('alice', undefined, record(1)).catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(StoreError)
  expect(error).toMatchObject({
    message: 'The package @napi-rs/keyring cannot be loaded',
    retryable: false,
    fix: expect.stringContaining('npm install @napi-rs/keyring'),
  })
})
