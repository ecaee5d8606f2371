import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileStore } from '@keyturn/node'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { record } from '../../core/test/token-store-contract.ts'
import { FileKeys } from '../src/file-keys.js'
import { parseDocument } from '../src/store-document.js'

// What is told in words of a file's format and key: files that were written once have to be readable for good.

const key = new Uint8Array(32).fill(7)
let folder = ''
let path = ''

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyturn-'))
  path = join(folder, 'tokens.json')
})

afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** Written by the first version. */
const files: [string, string | Uint8Array, object][] = [
  [
    '32 bytes',
    key,
    {
      salt: 'JW11NruxIUjo7KOYICohNw',
      check: 'tcGhLD-o41HAO-D02cdKImUdYHyUtoP2OVn-OjdTKU8',
      name: 'dKM-tEEsYM6LGpbAAMpx0_ajGkEbeGTtFBO0YrNLL2o',
      sealed:
        'PKCHGcn8BOKolNfg1_Q_zmnR4eDVfwG70ym-lYOnf-ftLf4HDYoT-V1f8HFTeapY37De4OYkH5FvzmhGVcmu7V4L0yIeCmOyZz132gik',
    },
  ],
  [
    'a passphrase',
    'correct horse battery staple',
    {
      salt: 'a1weSJOQbbflqKS_EAXkTg',
      check: 'oKa_zUl69RJyN4sDyh0v4UjzcmX5GnFgJNEu1XoP0rA',
      name: 'Qa1AjJa0V7iUryEZ4KvOvJqz741pgfqbXha7Lb55ePE',
      sealed:
        'iW3fbNRA-PNX33X_TjKjpFMVpgnfMJnGrSkTv0TEIR1B1XN3raQM5eTYnmKl4iK7SplDLhcik7JX0OZur5AAMxlOFWcrz9a9Wn_KZ_Y6',
    },
  ],
]

test.each(files)(
  'a file that the first version encrypted with %s is read, and written on, with that key',
  async (_, secret, parts) => {
    const { salt, check, name, sealed } = parts as Record<string, string>
    const encryption = { cipher: 'AES-256-GCM', salt, check }
    writeFileSync(path, JSON.stringify({ format: 1, encryption, records: { [`${name}`]: { version: 1, sealed } } }))
    const store = fileStore(path, { key: secret })
    expect(await store.get('alice')).toEqual(record(1, 'kept'))
    await store.replace('alice', 1, record(2))
    const after = JSON.parse(readFileSync(path, 'utf8'))
    expect(after).toMatchObject({ format: 1, encryption, records: { [`${name}`]: { version: 2 } } })
  },
)

test('a file in the clear is JSON with a record by the name of its session', async () => {
  await fileStore(path).replace('alice', undefined, record(1))
  expect(readFileSync(path, 'utf8')).toBe(`${JSON.stringify({ format: 1, records: { alice: record(1) } })}\n`)
})

const edit = (change: (document: Record<string, Record<string, unknown>>) => void) => {
  const document = JSON.parse(readFileSync(path, 'utf8'))
  change(document)
  writeFileSync(path, JSON.stringify(document))
}

test.each([
  ['text', () => 'garbage'],
  ['null', () => null],
  ['without content', () => ({ version: 1 })],
  ['with content that is a number', () => ({ version: 1, sealed: 5 })],
  ['with content that is too short', () => ({ version: 1, sealed: 'AAAA' })],
  ['without version', (entry: object) => ({ ...entry, version: undefined })],
])('an encrypted record that is %s is damaged', async (_, change) => {
  const store = fileStore(path, { key })
  await store.replace('alice', undefined, record(1))
  edit(({ records }) => {
    for (const name in records) records[name] = change(Object(records[name]))
  })
  expect(await store.get('alice')).toMatchObject({
    name: 'StoreError',
    message: `A record in the token file ${path} is damaged`,
  })
})

test.each([
  ['null', null],
  ['text', 'AES-256-GCM'],
  ['without salt', { cipher: 'AES-256-GCM', check: 'AAAA' }],
  ['without check', { cipher: 'AES-256-GCM', salt: 'AAAA' }],
  ['with names that are a number', { cipher: 'AES-256-GCM', salt: 'AAAA', check: 'AAAA', names: 5 }],
  ['of another cipher', { cipher: 'none', salt: 'AAAA', check: 'AAAA' }],
])('a file whose encryption is %s is damaged', async (_, encryption) => {
  writeFileSync(path, JSON.stringify({ format: 1, encryption, records: {} }))
  for (const options of [{}, { key }]) {
    expect(await fileStore(path, options).get('alice')).toMatchObject({
      name: 'StoreError',
      message: `The token file ${path} is damaged`,
    })
  }
})

test.each(['salt', 'check', 'names'])(
  'a file whose %s has changed is of another key, for who has read it before too',
  async (name) => {
    await fileStore(path, { key: new Uint8Array(32) }).replace('alice', undefined, record(1))
    const store = fileStore(path, { key: [key, new Uint8Array(32)] })
    await store.replace('alice', 1, record(2))
    edit((document) => {
      Object.assign(Object(document.encryption), { [name]: 'AAAAAAAAAAAAAAAAAAAAAA' })
    })
    await expect(store.get('alice')).rejects.toMatchObject({
      message: 'The token file is encrypted with another key',
      fix: expect.stringMatching(/^Set `key` to the one that the file was written with/),
    })
  },
)

test('many who find a file replaced in the same instant ask for its key once', async () => {
  const written = async () => {
    rmSync(path, { force: true })
    await fileStore(path, { key }).replace('alice', undefined, record(1))
    return parseDocument(readFileSync(path, 'utf8')) ?? { records: new Map() }
  }
  const [first, second] = [await written(), await written()]
  const ask = vi.fn(() => key)
  const keys = new FileKeys(ask)
  await keys.reading(first)
  const codecs = await Promise.all([1, 2, 3].map(() => keys.reading(second)))
  expect(new Set(codecs).size).toBe(1)
  expect(ask).toHaveBeenCalledTimes(2)
})

test('what is wrong with a key is said in so many words', async () => {
  expect(() => fileStore(path, { key: '' })).toThrow(
    expect.objectContaining({
      message: 'The key of the token store is neither a passphrase nor 32 bytes',
      fix: expect.stringMatching(/^Set `key` to a string that is not empty, to a Uint8Array of 32 bytes/),
    }),
  )
  const missing = { key: process.env.KEYTURN_NO_SUCH_KEY } as { key: string }
  expect(() => fileStore(path, missing)).toThrow(
    expect.objectContaining({
      message: 'key is undefined',
      retryable: false,
      fix: 'Give a key, or leave it out to store in the clear.',
    }),
  )
  await fileStore(path, { key }).replace('alice', undefined, record(1))
  await expect(fileStore(path).get('alice')).rejects.toMatchObject({
    message: 'The token file is encrypted and no key was given',
    fix: 'Set `key` to the one that the file was written with.',
  })
  const ask = () => Promise.reject(new Error('the keyring is locked'))
  await expect(fileStore(path, { key: ask }).get('alice')).rejects.toMatchObject({
    message: 'The key of the token store could not be had: the function that is `key` failed',
    cause: { message: 'the keyring is locked' },
  })
})

test('a file of a later version says so', async () => {
  writeFileSync(path, '{"format":2}')
  await expect(fileStore(path).get('alice')).rejects.toMatchObject({
    message: 'The token file was written by a later version of keyturn',
    fix: 'Update keyturn, or give each version a file of its own.',
  })
})
