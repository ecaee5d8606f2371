import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { fileStore, StoreError } from '@keyturn/node'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { record } from '../../core/test/token-store-contract.ts'

const passphrase = 'correct horse battery staple'
const key = new Uint8Array(32).fill(7)
let folder = ''
let path = ''

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyturn-'))
  path = join(folder, 'tokens.json')
})

afterEach(() => rmSync(folder, { recursive: true, force: true }))

const text = () => readFileSync(path, 'utf8')

test('with a key neither a record nor whose it is can be read in the file', async () => {
  const store = fileStore(path, { key })
  await store.replace('alice@example.com', undefined, record(1, 'very secret'))
  expect(text()).not.toMatch(/alice|example|secret|openid|tokens/)
  const once = text()
  await store.replace('alice@example.com', 1, record(1, 'very secret'))
  expect(text()).not.toBe(once)
})

test('two files with the same key have nothing in common', async () => {
  const other = join(folder, 'other.json')
  for (const file of [path, other]) await fileStore(file, { key }).replace('alice', undefined, record(1, 'secret'))
  const parts = (file: string): string[] => readFileSync(file, 'utf8').match(/[\w-]{16,}/g) ?? []
  expect(parts(path).length).toBeGreaterThan(3)
  expect(parts(path).filter((part) => parts(other).includes(part))).toEqual([])
})

test('a passphrase opens the file in whichever Unicode form it is typed', async () => {
  await fileStore(path, { key: 'caf\u00e9' }).replace('alice', undefined, record(1))
  expect(await fileStore(path, { key: 'cafe\u0301' }).get('alice')).toEqual(record(1))
})

test('a wrong or missing key is told apart from damage, and nothing is lost', async () => {
  await fileStore(path, { key }).replace('alice', undefined, record(1, 'secret'))
  const before = text()
  const keys = [new Uint8Array(32).fill(8), 'a passphrase', undefined]
  for (const wrong of keys) {
    const store = fileStore(path, wrong === undefined ? {} : { key: wrong })
    const write = () => store.replace('alice', undefined, record(2))
    for (const attempt of [() => store.get('alice'), () => store.get('bob'), write]) {
      const error = await attempt().catch((e: unknown) => e)
      expect(error).toBeInstanceOf(StoreError)
      expect(error).toMatchObject({ code: 'storage', retryable: false, fix: expect.stringContaining('`key`') })
      expect(inspect(error, { depth: 9 })).not.toContain('secret')
    }
    expect(text()).toBe(before)
    expect(existsSync(`${path}.damaged`)).toBe(false)
  }
  expect(await fileStore(path, { key }).get('alice')).toEqual(record(1, 'secret'))
})

test('the key of an encrypted file without records is checked as well', async () => {
  const store = fileStore(path, { key })
  await store.replace('alice', undefined, record(1))
  await store.replace('alice', 1, undefined)
  await expect(fileStore(path, { key: new Uint8Array(32) }).get('alice')).rejects.toThrow(StoreError)
})

test('a file in the clear is read with a key, and encrypted whole with the next write', async () => {
  const plain = fileStore(path)
  for (const name of ['alice', 'bob']) await plain.replace(name, undefined, record(1, `of ${name}`))
  const store = fileStore(path, { key })
  expect(await store.get('alice')).toEqual(record(1, 'of alice'))
  expect(text()).toContain('of bob')
  expect(await store.replace('alice', 1, record(2, 'of alice'))).toBe(true)
  expect(text()).not.toMatch(/alice|bob/)
  const reopened = fileStore(path, { key })
  expect(await reopened.get('alice')).toEqual(record(2, 'of alice'))
  expect(await reopened.get('bob')).toEqual(record(1, 'of bob'))
  await expect(plain.get('alice')).rejects.toThrow(StoreError)
})

test('a function is asked for the key once, and not before it is needed', async () => {
  const ask = vi.fn(async () => key)
  const store = fileStore(path, { key: ask })
  expect(await store.get('alice')).toBeUndefined()
  expect(ask).not.toHaveBeenCalled()
  await Promise.all(['alice', 'bob', 'carol'].map((name) => store.replace(name, undefined, record(1))))
  expect(await store.get('bob')).toEqual(record(1))
  expect(ask).toHaveBeenCalledOnce()
})

test('a function that answered a wrong key, or failed, is asked again', async () => {
  await fileStore(path, { key }).replace('alice', undefined, record(1))
  const ask = vi.fn(() => key)
  ask.mockImplementationOnce(() => {
    throw new Error('The keyring is locked')
  })
  ask.mockImplementationOnce(() => new Uint8Array(32))
  const store = fileStore(path, { key: ask })
  await expect(store.get('alice')).rejects.toMatchObject({ name: 'StoreError', retryable: true })
  await expect(store.get('alice')).rejects.toMatchObject({ name: 'StoreError', retryable: false })
  expect(await store.get('alice')).toEqual(record(1))
})

test('what cannot be a key is refused, at once where it is known', async () => {
  for (const wrong of ['', new Uint8Array(31), new Uint8Array(0)]) {
    expect(() => fileStore(path, { key: wrong })).toThrow(StoreError)
    const store = fileStore(path, { key: () => wrong })
    await expect(store.replace('alice', undefined, record(1))).rejects.toMatchObject({
      name: 'StoreError',
      retryable: false,
    })
  }
  expect(existsSync(path)).toBe(false)
})

test('the bytes of a key may be wiped after they were given', async () => {
  const bytes = key.slice()
  const store = fileStore(path, { key: bytes })
  bytes.fill(0)
  await store.replace('alice', undefined, record(1))
  expect(await fileStore(path, { key }).get('alice')).toEqual(record(1))
})

test('a store shows no key', async () => {
  const store = fileStore(path, { key: passphrase })
  await store.replace('alice', undefined, record(1))
  expect(inspect(store, { depth: 9, showHidden: true }) + JSON.stringify(store)).not.toContain(passphrase)
})

test('a key that turns out to be undefined does not mean to store in the clear', () => {
  const options = { key: process.env.KEYTURN_NO_SUCH_KEY } as { key: string }
  expect(() => fileStore('never-written.json', options)).toThrow(StoreError)
})
