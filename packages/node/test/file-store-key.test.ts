import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { type FileStoreOptions, fileStore, StoreError, unencrypted } from '@keyturn/node'
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

// Whose names are long: three letters come about by chance in what is encrypted, once in hundreds of files.
test('with a key a file in the clear is damage, for anybody could have written it; the next write takes its place', async () => {
  const plain = fileStore(path)
  for (const name of ['alice', 'barbara']) await plain.replace(name, undefined, record(1, 'planted'))
  const before = text()
  const store = fileStore(path, { key })
  expect(await store.get('alice')).toMatchObject({
    name: 'StoreError',
    message: `A record in the token file ${path} is in the clear, though there is a key`,
    fix: expect.stringMatching(/`unencrypted`/),
  })
  expect(await store.get('carol')).toBeUndefined()
  expect(text()).toBe(before)
  expect(await store.replace('alice', 1, record(2))).toBe(false)
  expect(await store.replace('alice', undefined, record(2))).toBe(true)
  expect(text()).not.toMatch(/alice|barbara|planted/)
  expect([await store.get('alice'), await store.get('barbara')]).toEqual([record(2), undefined])
  expect(readFileSync(`${path}.damaged`, 'utf8')).toBe(before)
})

test('a file in the clear is taken over where the list of keys says so, and encrypted whole when it is read', async () => {
  const plain = fileStore(path)
  for (const name of ['alice', 'barbara']) await plain.replace(name, undefined, record(1, `of ${name}`))
  expect(await fileStore(path, { key: [key, unencrypted] }).get('alice')).toEqual(record(1, 'of alice'))
  expect(text()).not.toMatch(/alice|barbara/)
  const store = fileStore(path, { key })
  expect(await store.get('barbara')).toEqual(record(1, 'of barbara'))
  expect(await store.replace('alice', 1, record(2, 'of alice'))).toBe(true)
  await expect(plain.get('alice')).rejects.toThrow(StoreError)
  expect(existsSync(`${path}.damaged`)).toBe(false)
})

test('what is written over a file in the clear takes the other records along, where the list of keys says so', async () => {
  for (const name of ['alice', 'barbara']) await fileStore(path).replace(name, undefined, record(1, `of ${name}`))
  const store = fileStore(path, { key: [key, unencrypted] })
  expect(await store.replace('alice', 1, record(2, 'new'))).toBe(true)
  expect(text()).not.toMatch(/alice|barbara/)
  expect([await store.get('alice'), await store.get('barbara')]).toEqual([record(2, 'new'), record(1, 'of barbara')])
})

const second = new Uint8Array(32).fill(8)

test('keys rotate: the first one writes, all of them read, and what was read is written with the first', async () => {
  const old = fileStore(path, { key })
  for (const name of ['alice', 'bob']) await old.replace(name, undefined, record(1, `of ${name}`))
  const before = text()
  // First the new one is made known to all, behind the old one: nothing changes.
  expect(await fileStore(path, { key: [key, second] }).get('alice')).toEqual(record(1, 'of alice'))
  expect(text()).toBe(before)
  // Then it comes first, and is enough from the first look on.
  const rotated = fileStore(path, { key: [second, key] })
  expect(await rotated.get('alice')).toEqual(record(1, 'of alice'))
  const after = fileStore(path, { key: second })
  expect([await after.get('alice'), await after.get('bob')]).toEqual([record(1, 'of alice'), record(1, 'of bob')])
  expect(await after.replace('alice', 1, record(2, 'new'))).toBe(true)
  expect(await rotated.get('alice')).toEqual(record(2, 'new'))
  await expect(fileStore(path, { key }).get('alice')).rejects.toThrow(StoreError)
  expect(existsSync(`${path}.damaged`)).toBe(false)
})

test('keys rotate again and again, and from passphrase to bytes', async () => {
  await fileStore(path, { key: passphrase }).replace('alice', undefined, record(1, 'kept'))
  const third = new Uint8Array(32).fill(9)
  for (const list of [
    [key, passphrase],
    [second, key],
    [third, second],
  ]) {
    expect(await fileStore(path, { key: list }).get('alice')).toEqual(record(1, 'kept'))
  }
  expect(await fileStore(path, { key: third }).get('alice')).toEqual(record(1, 'kept'))
})

test('a write replaces the key as well, and those who know both go on beside it', async () => {
  const old = fileStore(path, { key: [key, second] })
  for (const name of ['alice', 'bob']) await old.replace(name, undefined, record(1, `of ${name}`))
  const rotated = fileStore(path, { key: [second, key] })
  expect(await rotated.replace('alice', 1, record(2, 'new'))).toBe(true)
  expect(await fileStore(path, { key: second }).get('bob')).toEqual(record(1, 'of bob'))
  expect(await old.get('alice')).toEqual(record(2, 'new'))
  expect(await old.replace('bob', 1, record(2, 'newer'))).toBe(true)
  expect(await rotated.get('bob')).toEqual(record(2, 'newer'))
})

test('those who have the same keys in another order do not write for ever against each other', async () => {
  const [one, other] = [fileStore(path, { key: [key, second] }), fileStore(path, { key: [second, key] })]
  await one.replace('alice', undefined, record(1))
  const texts = new Set<string>()
  for (let look = 0; look < 10; look++) {
    for (const store of [one, other]) {
      expect(await store.get('alice')).toEqual(record(1))
      texts.add(text())
    }
  }
  expect(texts.size).toBeLessThanOrEqual(3)
})

test('a record that is damaged is not dropped because a key is replaced', async () => {
  const old = fileStore(path, { key })
  for (const name of ['alice', 'bob']) await old.replace(name, undefined, record(1))
  const document = JSON.parse(text())
  const [name = ''] = Object.keys(document.records)
  document.records[name] = 'garbage'
  writeFileSync(path, JSON.stringify(document))
  const before = text()
  const rotated = fileStore(path, { key: [second, key] })
  expect(await rotated.get('alice')).toBeInstanceOf(StoreError)
  expect(text()).toBe(before)
})

test('a function may give another list of keys by the time that a file needs one that it did not say', async () => {
  const ask = vi.fn(async () => [key])
  const store = fileStore(path, { key: ask })
  await store.replace('alice', undefined, record(1))
  expect(await fileStore(path, { key: [second, key] }).get('alice')).toEqual(record(1))
  await expect(store.get('alice')).rejects.toThrow(StoreError)
  ask.mockImplementation(async () => [second, key])
  expect(await store.get('alice')).toEqual(record(1))
  expect(ask).toHaveBeenCalledTimes(3)
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
  const lists: FileStoreOptions['key'][] = [[], [unencrypted], [unencrypted, key], [key, '']]
  for (const wrong of ['', new Uint8Array(31), new Uint8Array(0), ...lists] as (string | Uint8Array)[]) {
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
