import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
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

/** What a store answers for what is damaged: no record, but what to say about it. */
const damage = expect.objectContaining({
  name: 'StoreError',
  retryable: false,
  message: expect.stringMatching(/ is damaged$/),
  fix: expect.stringContaining('.damaged'),
})

const read = (file = path) => JSON.parse(readFileSync(file, 'utf8'))
const edit = (change: (document: ReturnType<typeof read>) => void) => {
  const document = read()
  change(document)
  writeFileSync(path, JSON.stringify(document))
}

for (const [how, options] of Object.entries({ 'in the clear': {}, encrypted: { key } })) {
  test(`a file ${how} that is cut short anywhere is told as damaged, stays, and heals with the next write`, async () => {
    await fileStore(path, options).replace('alice', undefined, record(1))
    await fileStore(path, options).replace('bob', undefined, record(1))
    const whole = readFileSync(path)
    for (let length = 1; length < whole.length - 1; length += 7) {
      const cut = whole.subarray(0, length)
      writeFileSync(path, cut, { mode: 0o644 })
      const store = fileStore(path, options)
      for (const name of ['alice', 'bob', 'carol']) expect(await store.get(name)).toEqual(damage)
      expect(readFileSync(path)).toEqual(cut)
      expect(existsSync(damaged)).toBe(false)
      expect(await store.replace('alice', 1, record(2))).toBe(false)
      expect(await store.replace('alice', undefined, record(2))).toBe(true)
      expect(await store.get('alice')).toEqual(record(2))
      expect(await store.get('bob')).toBeUndefined()
      expect(readFileSync(damaged)).toEqual(cut)
      expect(statSync(damaged).mode & 0o777).toBe(0o600)
      rmSync(damaged)
    }
  })
}

test('whatever is not a document is told as damaged, and written over by who comes first', async () => {
  const garbage = ['{', 'null', '[]', '"text"', '{}', '{"format":1}', '{"format":1,"records":[]}', '\u0000\u0001\ufffd']
  garbage.push(
    '{"format":"1","records":{}}',
    '{"format":1,"encryption":{"cipher":"none"},"records":{}}',
    '{"format":0}',
  )
  for (const text of garbage) {
    writeFileSync(path, text)
    expect(await fileStore(path).get('alice')).toEqual(damage)
    expect(await fileStore(path).replace('alice', undefined, record(1))).toBe(true)
    expect(await fileStore(path).get('alice')).toEqual(record(1))
    expect(readFileSync(damaged, 'utf8')).toBe(text)
    rmSync(damaged)
  }
})

test('bytes that are no text are kept as they are', async () => {
  const bytes = Buffer.from([0xff, 0xfe, 0x00, 0x80, 0xc3])
  writeFileSync(path, bytes)
  expect(await fileStore(path).replace('alice', undefined, record(1))).toBe(true)
  expect(readFileSync(damaged)).toEqual(bytes)
})

test('what is removed from a damaged file is gone, and kept aside', async () => {
  writeFileSync(path, 'garbage')
  const store = fileStore(path)
  expect(await store.replace('alice', undefined, undefined)).toBe(true)
  expect(await store.get('alice')).toBeUndefined()
  expect(readFileSync(damaged, 'utf8')).toBe('garbage')
})

test('one damage after another is kept, until there are nine', async () => {
  for (let n = 1; n <= 11; n++) {
    writeFileSync(path, `garbage ${n}`)
    expect(await fileStore(path).replace('alice', undefined, record(n))).toBe(true)
    utimesSync(n === 1 || n === 10 ? damaged : `${damaged}.${n === 11 ? 2 : n}`, n, n)
  }
  const kept = readdirSync(folder).filter((name) => name.includes('damaged'))
  expect(kept).toHaveLength(9)
  const texts = kept.map((name) => Number(readFileSync(join(folder, name), 'utf8').slice('garbage '.length)))
  expect(texts.sort((a, b) => a - b)).toEqual([3, 4, 5, 6, 7, 8, 9, 10, 11])
})

test('an empty file is no damage', async () => {
  writeFileSync(path, '')
  expect(await fileStore(path).get('alice')).toBeUndefined()
  expect(await fileStore(path).replace('alice', undefined, record(1))).toBe(true)
  expect(existsSync(damaged)).toBe(false)
})

test('many who find the damage at once keep it aside once', async () => {
  writeFileSync(path, 'garbage')
  const stores = Array.from({ length: 8 }, () => fileStore(path))
  const writes = stores.map(async (store, n) => {
    await store.get('alice')
    return store.replace(`key ${n}`, undefined, record(1))
  })
  expect(await Promise.all(writes)).toEqual(Array(8).fill(true))
  expect(readFileSync(damaged, 'utf8')).toBe('garbage')
  expect(existsSync(`${damaged}.2`)).toBe(false)
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
    damage,
    damage,
    record(1),
  ])
  expect(await store.replace('carol', 1, record(2))).toBe(true)
  expect(read().records.alice).toBe('garbage')
  expect(existsSync(damaged)).toBe(false)
  expect(await store.replace('alice', undefined, record(3))).toBe(true)
  expect(read(damaged).records).toEqual({ alice: 'garbage' })
  expect(statSync(damaged).mode & 0o777).toBe(0o600)
  expect(read().records).toMatchObject({ alice: record(3), bob: { version: 'one' }, carol: record(2) })
  expect(await store.replace('bob', undefined, record(4))).toBe(true)
  expect(read(`${damaged}.2`).records).toMatchObject({ bob: { version: 'one' } })
  expect(read(damaged).records).toEqual({ alice: 'garbage' })
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
    expect(await store.get('alice')).toEqual(damage)
    expect(await store.get('bob')).toEqual(record(1))
    expect(await store.replace('alice', undefined, record(3))).toBe(true)
    expect(await store.get('alice')).toEqual(record(3))
    expect(await store.get('carol')).toEqual(record(1))
  }
})

for (const [how, options] of Object.entries({ 'in the clear': {}, encrypted: { key } })) {
  test(`a record ${how} of a later version is left alone`, async () => {
    const store = fileStore(path, options)
    await store.replace('alice', undefined, { ...record(1), format: 2 as 1 })
    const before = readFileSync(path)
    for (const attempt of [() => store.get('alice'), () => store.replace('alice', undefined, record(2))]) {
      await expect(attempt()).rejects.toMatchObject({
        name: 'StoreError',
        retryable: false,
        fix: expect.stringMatching(/^Update keyturn/),
      })
    }
    expect(readFileSync(path)).toEqual(before)
  })
}
