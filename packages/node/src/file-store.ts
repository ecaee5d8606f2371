import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { type StoredRecord, StoreError, type TokenStore } from '@keyturn/core'
import { keepAside, locate, makeFolder, publish, readText, sweep } from './atomic-file.ts'
import { fileError } from './file-error.ts'
import { FileKeys } from './file-keys.ts'
import { acquire, withLock } from './file-lock.ts'
import { withLease } from './lease.ts'
import { RecordWatch } from './record-watch.ts'
import { changed, distrustingCodec, formatDocument, parseDocument, type StoreDocument } from './store-document.ts'
import type { KeyList } from './store-keys.ts'
import { Turns } from './turns.ts'

/** Options of `fileStore`. */
export interface FileStoreOptions {
  /**
   * Encrypts what is stored: a passphrase, 32 bytes, a list of them of which the first one writes and all read, or a
   * function that returns any of these, such as `systemKeyring()`. Without it records are kept as they are, in a file that
   * only its owner can read.
   */
  key?: KeyList | (() => KeyList | Promise<KeyList>)
}

/** How long a holder may keep a lock where nobody says otherwise, milliseconds. */
const DEFAULT_LEASE = 30_000
/** Less than the 5 s after which a manager gives a storage call up, milliseconds. */
const WRITE_LEASE = 4_000

/** How long a store leaves it at one look for what was left behind, milliseconds. */
const SWEEP_INTERVAL = 600_000

/** The name of the line in which writers wait. */
const WRITERS = 'write'

const EMPTY: StoreDocument = { records: new Map() }

/** A record, or nothing, or why it is not to be had for good. */
type Found = StoredRecord | StoreError | undefined

/** What is damaged is written over as if nothing were there. */
function versionOf(found: Found): number | undefined {
  return found instanceof StoreError ? undefined : found?.version
}

/**
 * Keeps records in one file that processes share: written atomically, locked between them, and encrypted with `key`
 * where one is given. Rejects with a `StoreError`; throws one at once where there is no `path`, or `key` cannot be a key.
 */
export function fileStore(path: string, options: FileStoreOptions = {}): TokenStore {
  const { key: fileKey } = options
  if ('key' in options && fileKey === undefined) {
    throw new StoreError('key is undefined', {
      retryable: false,
      fix: 'Give a key, or leave it out to store in the clear.',
    })
  }
  if (typeof path !== 'string' || path === '') {
    throw new StoreError('path is no path of a file', {
      retryable: false,
      fix: 'Set it to the path of the token file.',
    })
  }
  const file = resolve(path)
  const keys = new FileKeys(fileKey)
  const turns = new Turns()
  let sweptAt = Number.NEGATIVE_INFINITY
  let isAnew = false
  let watchedText = ''
  let watchedDocument = parseDocument('')
  const watched = new RecordWatch(file, async (text, key) => {
    // One change is looked at for everybody who watches: what they all look at is parsed once.
    if (text !== watchedText) watchedDocument = parseDocument(text)
    watchedText = text
    const found = await findIn(watchedDocument, key)
    return found instanceof StoreError ? 'damaged' : found?.version
  })

  const find = (text: string, key: string) => findIn(parseDocument(text), key)

  async function findIn(document: StoreDocument | undefined, key: string): Promise<Found> {
    if (document === undefined) return damage(`The token file ${file} is damaged`)
    const codec = await keys.reading(document)
    const name = codec.name(key)
    if (!document.records.has(name)) return undefined
    const record = codec.decode(name, document.records.get(name))
    if (record !== undefined || codec !== distrustingCodec) {
      return record ?? damage(`A record in the token file ${file} is damaged`)
    }
    const takeOver = 'Take it over with `unencrypted` behind the key. Otherwise sign in again, or go on:'
    return damage(`A record in the token file ${file} is in the clear, though there is a key`, takeOver)
  }

  function damage(message: string, first = 'Sign in again, or go on:'): StoreError {
    const fix = `${first} the next write heals the file, and keeps what is damaged as ${file}.damaged.`
    return new StoreError(message, { retryable: false, fix })
  }

  async function replaceIn(
    target: string,
    key: string,
    expected: number | undefined,
    next: StoredRecord | undefined,
    isOurs: () => boolean,
  ): Promise<boolean> {
    const text = await readText(target)
    const found = await find(text, key)
    if (versionOf(found) !== expected) return false
    if (found === undefined && next === undefined) return true
    const whole = parseDocument(text)
    const document = whole ?? EMPTY
    const [reading, writing] = [await keys.reading(document), await keys.writing(document)]
    const { records, dropped } = changed(document, reading, writing, { key, next })
    // Damage is copied, not moved: whoever is killed here has lost nothing, and hidden nothing.
    if (whole === undefined) await keepAside(target, await readFile(target))
    if (dropped.size > 0) await keepAside(target, formatDocument(dropped, document.encryption))
    await publish(target, formatDocument(records, writing.encryption), isOurs)
    if (performance.now() - sweptAt > SWEEP_INTERVAL) {
      sweptAt = performance.now()
      await sweep(target)
    }
    return true
  }

  /**
   * Encrypts with the first key what is not, so that another key can be dropped though nothing changes. Once: those who
   * have the same keys in another order do the same, and this is no contest.
   */
  async function encryptAnew(target: string, before: StoreDocument): Promise<void> {
    const act = async (isOurs: () => boolean) => {
      const document = parseDocument(await readText(target))
      if (document === undefined || (await keys.isCurrent(document))) return
      const [reading, writing] = [await keys.reading(document), await keys.writing(document)]
      const { records, dropped } = changed(document, reading, writing)
      // Who asks for what is damaged is to be told so: that is left to the next write.
      if (dropped.size === 0) await publish(target, formatDocument(records, writing.encryption), isOurs)
    }
    if (isAnew) return
    try {
      if (await keys.isCurrent(before)) return
      isAnew = true
      await keys.writing(before) // a key that takes long to come is there before another process waits for it
      await turns.take(WRITERS, () => withLock(`${target}.lock`, WRITE_LEASE, act))
    } catch {
      isAnew = false // it was read, and the next one who reads or writes gets further
    }
  }

  /** Does `act` where the file really is; whatever fails is a `StoreError`. */
  async function located<T>(act: (target: string) => Promise<T>): Promise<T> {
    try {
      return await act(locate(file))
    } catch (error) {
      throw fileError(error, file)
    }
  }

  return {
    keys: fileKey === undefined ? undefined : 'encrypted',

    // Damage is an answer, not a failure: it is the manager's to report, and its next write heals it. As what is damaged
    // can be anything, a manager believes nothing that it is given before it has checked it.
    get: (key) =>
      located(async (target) => {
        const document = parseDocument(await readText(target))
        const found = await findIn(document, key)
        if (document !== undefined) await encryptAnew(target, document)
        return found as StoredRecord | undefined
      }),

    async replace(key, expected, next) {
      const record = structuredClone(next)
      const act = async (target: string) => {
        // Most refusals need no lock; and a key that takes long to come is there before another process waits for it.
        const text = await readText(target)
        if (versionOf(await find(text, key)) !== expected) return false
        await keys.writing(parseDocument(text) ?? EMPTY)
        makeFolder(dirname(target))
        const write = (isOurs: () => boolean) => replaceIn(target, key, expected, record, isOurs)
        return withLock(`${target}.lock`, WRITE_LEASE, write)
      }
      return turns.take(WRITERS, () => located(act))
    },

    lock(key, critical, duration = DEFAULT_LEASE) {
      const directoryIn = async (target: string) => {
        makeFolder(dirname(target))
        return `${target}.${createHash('sha256').update(key).digest('hex').slice(0, 16)}.lock`
      }
      return turns.take(`lock ${key}`, async (leave) => {
        return withLease(await acquire(await located(directoryIn), duration), duration, critical, leave)
      })
    },

    watch: (key, listener) => watched.add(key, listener),
  }
}
