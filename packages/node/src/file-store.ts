import { createHash } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { type StoredRecord, StoreError, type TokenStore } from '@keyturn/core'
import { keepAside, locate, publish, readText, setAside } from './atomic-file.ts'
import { fileError } from './file-error.ts'
import { FileKeys } from './file-keys.ts'
import { withLease, withLock } from './file-lock.ts'
import type { FileKey } from './record-cipher.ts'
import { RecordWatch } from './record-watch.ts'
import { formatDocument, parseDocument, type RecordCodec, type StoreDocument } from './store-document.ts'
import { Turns } from './turns.ts'

/** Options of `fileStore`. */
export interface FileStoreOptions {
  /**
   * Encrypts what is stored: a passphrase, 32 bytes, or a function that returns one of them (from a keyring, say).
   * Without it records are kept as they are, in a file that only its owner can read.
   */
  key?: FileKey | (() => FileKey | Promise<FileKey>)
}

/** How long a holder may keep a lock where nobody says otherwise, milliseconds. */
const DEFAULT_LEASE = 30_000
/** Less than the 5 s after which a manager gives a storage call up, milliseconds. */
const WRITE_LEASE = 4_000

/** The name of the line in which writers wait. */
const WRITERS = 'write'

const EMPTY: StoreDocument = { records: new Map() }

/**
 * Keeps records in one file that processes share: written atomically, locked between them, and encrypted with `key`
 * where one is given. Rejects with a `StoreError`; throws one at once where `key` cannot be a key.
 */
export function fileStore(path: string, options: FileStoreOptions = {}): TokenStore {
  const { key: fileKey } = options
  if ('key' in options && fileKey === undefined) {
    throw new StoreError('key is undefined', {
      retryable: false,
      fix: 'Give a key, or leave it out to store in the clear.',
    })
  }
  const file = resolve(path)
  const keys = new FileKeys(fileKey)
  const turns = new Turns()
  const watched = new RecordWatch(file, async (text, key) => {
    const document = parseDocument(text ?? '')
    return document && (await recordIn(document, key))?.version
  })

  async function recordIn(document: StoreDocument, key: string): Promise<StoredRecord | undefined> {
    const codec = await keys.reading(document)
    const name = codec.name(key)
    return codec.decode(name, document.records.get(name))
  }

  async function read(target: string): Promise<StoreDocument> {
    const document = parseDocument((await readText(target)) ?? '')
    return document ?? turns.take(WRITERS, () => writing(target, (isOurs) => readHealed(target, isOurs)))
  }

  function writing<T>(target: string, act: (isOurs: () => boolean) => Promise<T>): Promise<T> {
    return withLock(`${target}.lock`, WRITE_LEASE, act)
  }

  /** Under the write lock: without it, what is moved aside could be what another process has just healed. */
  async function readHealed(target: string, isOurs: () => boolean): Promise<StoreDocument> {
    const document = parseDocument((await readText(target)) ?? '')
    if (document !== undefined) return document
    await setAside(target, isOurs)
    process.emitWarning(`${target} was damaged: it is kept aside, and its sessions are lost`, { type: 'keyturn' })
    return EMPTY
  }

  /** Does `act` where the file really is; whatever fails is a `StoreError`. */
  async function located<T>(act: (target: string) => Promise<T>): Promise<T> {
    try {
      return await act(await locate(file))
    } catch (error) {
      throw fileError(error, file)
    }
  }

  return {
    get: (key) => located(async (target) => recordIn(await read(target), key)),

    async replace(key, expected, next) {
      const record = structuredClone(next)
      const replaceIn = async (target: string, isOurs: () => boolean) => {
        const document = await readHealed(target, isOurs)
        if ((await recordIn(document, key))?.version !== expected) return false
        const codecs = [await keys.reading(document), await keys.writing(document)] as const
        if (record === undefined && !document.records.has(codecs[0].name(key))) return true
        const { records, dropped } = changed(document, ...codecs, key, record)
        if (dropped.size > 0) await keepAside(target, formatDocument(dropped, document.encryption))
        await publish(target, formatDocument(records, codecs[1].encryption), isOurs)
        return true
      }
      const act = async (target: string) => {
        // Most refusals need no lock; and a key that takes long to come is there before another process waits for it.
        const seen = parseDocument((await readText(target)) ?? '') ?? EMPTY
        if ((await recordIn(seen, key))?.version !== expected) return false
        await keys.writing(seen)
        await mkdir(dirname(target), { recursive: true, mode: 0o700 })
        return writing(target, (isOurs) => replaceIn(target, isOurs))
      }
      return turns.take(WRITERS, () => located(act))
    },

    lock(key, critical, duration = DEFAULT_LEASE) {
      const directoryIn = async (target: string) => {
        await mkdir(dirname(target), { recursive: true, mode: 0o700 })
        return `${target}.${createHash('sha256').update(key).digest('hex').slice(0, 16)}.lock`
      }
      return turns.take(`lock ${key}`, async (leave) => {
        return withLease(await located(directoryIn), duration, critical, leave)
      })
    },

    watch: (key, listener) => watched.add(key, listener),
  }
}

/** The records of `document` with one changed, and the damaged ones that have no place among them any more. */
function changed(
  document: StoreDocument,
  reading: RecordCodec,
  writing: RecordCodec,
  key: string,
  next: StoredRecord | undefined,
): Record<'records' | 'dropped', Map<string, unknown>> {
  const records = new Map<string, unknown>()
  const dropped = new Map<string, unknown>()
  const changing = reading.name(key)
  for (const [name, entry] of document.records) {
    if (name !== changing && reading === writing) {
      records.set(name, entry)
      continue
    }
    const record = reading.decode(name, entry)
    if (record === undefined) dropped.set(name, entry)
    else if (name !== changing) records.set(writing.name(name), writing.encode(writing.name(name), record))
  }
  if (next !== undefined) records.set(writing.name(key), writing.encode(writing.name(key), next))
  return { records, dropped }
}
