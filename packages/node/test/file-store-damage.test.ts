import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileStore } from '@keyturn/node'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { record } from '../../core/test/token-store-contract.ts'

const key = new Uint8Array(32).fill(7)
let folder = ''
let path = ''
let damaged = ''

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyturn-'))
  path = join(folder, 'tokens.json')
  damaged = `${path}.damaged`
})

afterEach(() => rmSync(folder, { recursive: true, force: true }))

const read = (file = path) => JSON.parse(readFileSync(file, 'utf8'))
const edit = (change: (document: ReturnType<typeof read>) => void) => {
  const document = read()
  change(document)
  writeFileSync(path, JSON.stringify(document))
}

for (const [how, options] of Object.entries({ 'in the clear': {}, encrypted: { key } })) {
  test(`a file ${how} that is cut short anywhere reads as empty, is kept aside and heals with the next write`, async () => {
    await fileStore(path, options).replace('alice', undefined, record(1))
    await fileStore(path, options).replace('bob', undefined, record(1))
    const whole = readFileSync(path)
    for (let length = 1; length < whole.length - 1; length += 7) {
      writeFileSync(path, whole.subarray(0, length), { mode: 0o644 })
      const store = fileStore(path, options)
      expect(await store.get('alice')).toBeUndefined()
      expect(existsSync(path)).toBe(false)
      expect(readFileSync(damaged)).toEqual(whole.subarray(0, length))
      expect(statSync(damaged).mode & 0o777).toBe(0o600)
      expect(await store.replace('alice', undefined, record(2))).toBe(true)
      expect(await store.get('alice')).toEqual(record(2))
    }
  })
}

test('whatever is not a document reads as empty, also to a writer that comes first', async () => {
  const garbage = ['{', 'null', '[]', '"text"', '{}', '{"format":1}', '{"format":1,"records":[]}', '\u0000\u0001\ufffd']
  garbage.push('{"format":"1","records":{}}', '{"format":1,"encryption":{"cipher":"none"},"records":{}}')
  for (const text of garbage) {
    writeFileSync(path, text)
    expect(await fileStore(path).replace('alice', undefined, record(1))).toBe(true)
    expect(await fileStore(path).get('alice')).toEqual(record(1))
    expect(readFileSync(damaged, 'utf8')).toBe(text)
  }
})

test('an empty file is no damage', async () => {
  writeFileSync(path, '')
  expect(await fileStore(path).get('alice')).toBeUndefined()
  expect(await fileStore(path).replace('alice', undefined, record(1))).toBe(true)
  expect(existsSync(damaged)).toBe(false)
})

test('many who find the damage at once move the file aside once', async () => {
  writeFileSync(path, 'garbage')
  const stores = Array.from({ length: 8 }, () => fileStore(path))
  const writes = stores.map(async (store, n) => {
    await store.get('alice')
    return store.replace(`key ${n}`, undefined, record(1))
  })
  expect(await Promise.all(writes)).toEqual(Array(8).fill(true))
  expect(readFileSync(damaged, 'utf8')).toBe('garbage')
  expect(Object.keys(read().records)).toHaveLength(8)
})

test('a damaged record does not take the others with it, and is kept aside when it is written anew', async () => {
  const store = fileStore(path)
  for (const name of ['alice', 'bob', 'carol']) await store.replace(name, undefined, record(1))
  edit(({ records }) => {
    records.alice = 'garbage'
    records.bob.version = 'one'
  })
  expect(await Promise.all(['alice', 'bob', 'carol'].map((name) => store.get(name)))).toEqual([
    undefined,
    undefined,
    record(1),
  ])
  expect(await store.replace('carol', 1, record(2))).toBe(true)
  expect(read().records.alice).toBe('garbage')
  expect(existsSync(damaged)).toBe(false)
  expect(await store.replace('alice', undefined, record(3))).toBe(true)
  expect(read(damaged).records).toEqual({ alice: 'garbage' })
  expect(statSync(damaged).mode & 0o777).toBe(0o600)
  expect(read().records).toMatchObject({ alice: record(3), bob: { version: 'one' }, carol: record(2) })
})

test('an encrypted record that was changed, moved to another name or given another version is damaged', async () => {
  const store = fileStore(path, { key })
  const write = async () => {
    rmSync(path, { force: true })
    for (const name of ['alice', 'bob', 'carol']) await store.replace(name, undefined, record(1))
  }
  // The names are not to be read, so the records are told apart by their order.
  const changes: ((entries: { version: number; sealed: string }[]) => void)[] = [
    ([alice]) => {
      if (alice) alice.sealed = alice.sealed.replace(/^./, (first) => (first === 'A' ? 'B' : 'A'))
    },
    ([alice]) => {
      if (alice) alice.sealed = alice.sealed.slice(0, -4)
    },
    ([alice]) => {
      if (alice) alice.sealed = ''
    },
    ([alice]) => {
      if (alice) alice.version = 2
    },
    ([alice, bob]) => {
      if (alice && bob) alice.sealed = bob.sealed
    },
  ]
  for (const change of changes) {
    await write()
    edit(({ records }) => change(Object.values(records)))
    expect(await store.get('alice')).toBeUndefined()
    expect(await store.get('bob')).toEqual(record(1))
    expect(await store.replace('alice', undefined, record(3))).toBe(true)
    expect(await store.get('alice')).toEqual(record(3))
    expect(await store.get('carol')).toEqual(record(1))
  }
})
