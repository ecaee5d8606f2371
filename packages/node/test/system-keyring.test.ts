import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { fileStore, StoreError, systemKeyring } from '@keyturn/node'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { record } from '../../core/test/token-store-contract.ts'

/** A keyring that stands in for the system's: by service and account, and what goes wrong with it. */
const { keyring } = vi.hoisted(() => ({
  keyring: {
    entries: new Map<string, string>(),
    options: [] as unknown[],
    writes: 0,
    missing: false,
    locked: false,
    forgets: false,
    /** What a person is asked before it keeps something. */
    prompt: Promise.resolve(),
  },
}))

vi.mock('@napi-rs/keyring', () => {
  class AsyncEntry {
    readonly #name: string
    constructor(service: string, account: string, options: unknown) {
      if (keyring.missing) throw new Error('DBus error: set your DBUS_SESSION_BUS_ADDRESS')
      keyring.options.push(options)
      this.#name = `${service}/${account}`
    }
    async getPassword() {
      await new Promise((resolve) => setTimeout(resolve, 5))
      if (keyring.locked) throw new Error('the collection is locked')
      return keyring.entries.get(this.#name) ?? null
    }
    async setPassword(value: string) {
      await new Promise((resolve) => setTimeout(resolve, 5))
      await keyring.prompt
      keyring.writes++
      if (!keyring.forgets) keyring.entries.set(this.#name, value)
    }
  }
  return { AsyncEntry }
})

let folder = ''
let path = ''

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyturn-'))
  path = join(folder, 'tokens.json')
  vi.stubEnv('XDG_RUNTIME_DIR', folder)
  Object.assign(keyring, { writes: 0, missing: false, locked: false, forgets: false, prompt: Promise.resolve() })
  keyring.entries.clear()
  keyring.options.length = 0
})

afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllEnvs()
  rmSync(folder, { recursive: true, force: true })
})

const storeWith = (account?: string) => fileStore(path, { key: systemKeyring({ service: 'my-tool', account }) })

test('the key of a store is made once, kept in the keyring, and in no file', async () => {
  await storeWith().replace('alice', undefined, record(1, 'very secret'))
  expect(await storeWith().get('alice')).toEqual(record(1, 'very secret'))
  expect([...keyring.entries.keys()]).toEqual(['my-tool/token store'])
  const [text = ''] = keyring.entries.values()
  expect(Buffer.from(text, 'base64url')).toHaveLength(32)
  expect(readFileSync(path, 'utf8')).not.toMatch(/very secret|alice/)
  expect(readFileSync(path, 'utf8')).not.toContain(text)
  expect(readdirSync(folder)).toEqual(['tokens.json'])
})

test('the keyring is not asked before there is something to read or to write', async () => {
  expect(await storeWith().get('alice')).toBeUndefined()
  expect(keyring.options).toEqual([])
})

test('only a keyring that lasts will do', async () => {
  await storeWith().replace('alice', undefined, record(1))
  for (const options of keyring.options) expect(options).toEqual({ linux: { store: 'secret-service' } })
})

test('many who ask for a key that is not there yet get the same one', async () => {
  const keys = await Promise.all(Array.from({ length: 8 }, () => systemKeyring({ service: 'my-tool' })()))
  expect(new Set(keys.map((key) => Buffer.from(key).toString('hex'))).size).toBe(1)
  expect(keyring.writes).toBe(1)
})

test('a person may take a minute to unlock the keyring: nobody else makes a key meanwhile', async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  keyring.prompt = promise
  const keys = Promise.all([1, 2].map(() => systemKeyring({ service: 'my-tool' })()))
  await vi.waitFor(() => expect(readdirSync(folder)).toHaveLength(1), 5_000)
  vi.useFakeTimers({ toFake: ['Date'] })
  vi.setSystemTime(Date.now() + 60_000)
  await new Promise((resolve) => setTimeout(resolve, 300))
  resolve()
  expect(new Set((await keys).map((key) => Buffer.from(key).toString('hex'))).size).toBe(1)
  expect(keyring.writes).toBe(1)
})

test('another account is another key, and keys in the keyring rotate like others', async () => {
  await storeWith('2030').replace('alice', undefined, record(1, 'kept'))
  const [next, last] = ['2031', '2030'].map((account) => systemKeyring({ service: 'my-tool', account }))
  const key = async () => Promise.all([next?.() ?? '', last?.() ?? ''])
  expect(await fileStore(path, { key }).get('alice')).toEqual(record(1, 'kept'))
  expect(await storeWith('2031').get('alice')).toEqual(record(1, 'kept'))
  expect(keyring.entries.size).toBe(2)
})

test.each([
  ['there is none', 'missing'],
  ['it is locked', 'locked'],
  ['it keeps nothing', 'forgets'],
])('where %s that is a typed error, and nothing is stored instead', async (_, trouble) => {
  Object.assign(keyring, { [trouble]: true })
  const error = await storeWith()
    .replace('alice', undefined, record(1, 'secret'))
    .catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(StoreError)
  expect(error).toMatchObject({
    code: 'storage',
    retryable: false,
    message: "The system's keyring cannot be used: there is none, or it is locked",
    fix: expect.stringMatching(/Secret Service/),
  })
  expect(readdirSync(folder)).toEqual([])
})

test('a keyring that is unlocked later is asked again', async () => {
  const store = storeWith()
  keyring.locked = true
  await expect(store.replace('alice', undefined, record(1))).rejects.toThrow(StoreError)
  keyring.locked = false
  expect(await store.replace('alice', undefined, record(1))).toBe(true)
})

test('what somebody else has put there is no key, is told, and is not written over', async () => {
  for (const text of ['correct horse battery staple', '', 'AAAA', `${'A'.repeat(43)}=`]) {
    keyring.entries.set('my-tool/token store', text)
    await expect(storeWith().replace('alice', undefined, record(1))).rejects.toMatchObject({
      name: 'StoreError',
      message: 'What the keyring has under this service and account is not a key',
    })
    expect([...keyring.entries.values()]).toEqual([text])
  }
})

test('a service or an account that is none is refused at once', () => {
  for (const options of [{}, { service: '' }, { service: 'my-tool', account: '' }, { service: 5 }]) {
    expect(() => systemKeyring(options as { service: string })).toThrow(StoreError)
  }
})

test('no error shows the key', async () => {
  await storeWith().replace('alice', undefined, record(1))
  const [text = ''] = keyring.entries.values()
  keyring.entries.set('my-tool/token store', `${text}x`)
  const error = await storeWith()
    .get('alice')
    .catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(StoreError)
  expect(inspect(error, { depth: 9 })).not.toContain(text)
})
