import { type StoredRecord, StoreError } from '@keyturn/core'

/** What an encrypted file says about its key. */
export interface FileEncryption {
  readonly cipher: 'AES-256-GCM'
  /** 16 random bytes per file, base64url. */
  readonly salt: string
  /** Tells a wrong key from damage, base64url. */
  readonly check: string
  /** The key for the names of records, sealed, where that is older than the key of the file: that one was replaced. */
  readonly names?: string | undefined
}

/** What a file holds: records by name, encrypted or as they are. */
export interface StoreDocument {
  readonly encryption?: FileEncryption | undefined
  /** As they are in the file: one that is damaged stays until it is written anew. */
  readonly records: ReadonlyMap<string, unknown>
}

/** How records and their names are written down. */
export interface RecordCodec {
  readonly encryption?: FileEncryption | undefined
  name(key: string): string
  encode(name: string, record: StoredRecord): unknown
  /** `undefined` where it is damaged. Throws a `StoreError` where it is of a later format. */
  decode(name: string, entry: unknown): StoredRecord | undefined
}

/** Records as they are. */
export const plainCodec: RecordCodec = {
  name: (key) => key,
  encode: (_, record) => record,
  decode: (_, entry) => checkedRecord(entry),
}

/** Records as they are, of which none is believed. */
export const distrustingCodec: RecordCodec = { ...plainCodec, decode: () => undefined }

/** Reads a document; `undefined` where it is damaged. Throws a `StoreError` where it is of a later format. */
export function parseDocument(text: string): StoreDocument | undefined {
  if (text === '') return { records: new Map() }
  const input = parseJson(text)
  if (!isObject(input)) return undefined
  const { format, encryption, records } = input
  if (typeof format === 'number' && format > 1) throw laterFormat()
  if (format !== 1 || !isObject(records)) return undefined
  if (encryption !== undefined && !isEncryption(encryption)) return undefined
  return { encryption, records: new Map(Object.entries(records)) }
}

/** The text of a document. */
export function formatDocument(records: ReadonlyMap<string, unknown>, encryption?: FileEncryption): string {
  return `${JSON.stringify({ format: 1, encryption, records: Object.fromEntries(records) })}\n`
}

/** `value`, if it is something with a version: no more is asked of a record here. Throws where it is of a later format. */
export function checkedRecord(value: unknown): StoredRecord | undefined {
  if (!isRecord(value)) return undefined
  if (typeof value.format === 'number' && value.format > 1) throw laterFormat()
  return value
}

/** Has it a version? */
export function isRecord(value: unknown): value is StoredRecord {
  return isObject(value) && Number.isFinite(value.version)
}

/** A record that is to be written, or removed. */
export interface RecordChange {
  readonly key: string
  readonly next: StoredRecord | undefined
}

/** The records of `document` with one changed, or none, and the damaged ones that have no place among them any more. */
export function changed(
  document: StoreDocument,
  reading: RecordCodec,
  writing: RecordCodec,
  change?: RecordChange,
): Record<'records' | 'dropped', Map<string, unknown>> {
  const records = new Map<string, unknown>()
  const dropped = new Map<string, unknown>()
  const changing = change && reading.name(change.key)
  // What was in the clear gets its name hidden. The names of what was encrypted are known to nobody, and stay.
  const nameOf = (name: string) => (reading.encryption === undefined ? writing.name(name) : name)
  for (const [name, entry] of document.records) {
    if (name !== changing && reading === writing) {
      records.set(name, entry)
      continue
    }
    const record = reading.decode(name, entry)
    if (record === undefined) dropped.set(name, entry)
    else if (name !== changing) records.set(nameOf(name), writing.encode(nameOf(name), record))
  }
  if (change?.next !== undefined) {
    const name = writing.name(change.key)
    records.set(name, writing.encode(name, change.next))
  }
  return { records, dropped }
}

function isEncryption(value: unknown): value is FileEncryption {
  if (!isObject(value)) return false
  const { cipher, salt, check, names } = value
  const isSealed = names === undefined || typeof names === 'string'
  return cipher === 'AES-256-GCM' && typeof salt === 'string' && typeof check === 'string' && isSealed
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function laterFormat(): StoreError {
  return new StoreError('The token file was written by a later version of keyturn', {
    retryable: false,
    fix: 'Update keyturn, or give each version a file of its own.',
  })
}
