import { createHmac, hkdfSync, randomBytes, scrypt, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { type StoredRecord, StoreError } from '@keyturn/core'
import { opened, sealed } from './sealing.ts'
import { checkedRecord, type FileEncryption, isRecord, type RecordCodec } from './store-document.ts'

/** What a file is encrypted with: a passphrase, or 32 bytes. */
export type FileKey = string | Uint8Array

// OWASP's recommendation for 32 MiB; a part of format 1.
const SCRYPT = { N: 2 ** 15, r: 8, p: 3, maxmem: 2 ** 26 }
const KEY_BYTES = 32
/** What the key for names is bound to where it is kept: no record is called so. */
const NAMES = 'keyturn 1 names'

const stretch: (passphrase: string, salt: Buffer, length: number, options: typeof SCRYPT) => Promise<Buffer> =
  promisify(scrypt)

/** Encrypts the records of one file with AES-256-GCM, and hides their names. */
export class RecordCipher implements RecordCodec {
  readonly encryption: FileEncryption
  readonly #recordKey: Buffer
  readonly #nameKey: Buffer

  private constructor(encryption: FileEncryption, recordKey: Buffer, nameKey: Buffer) {
    this.encryption = encryption
    this.#recordKey = recordKey
    this.#nameKey = nameKey
  }

  /** For a file that is not there yet. */
  static create(key: FileKey): Promise<RecordCipher> {
    return RecordCipher.salted(key, randomBytes(16))
  }

  /** For the file that says `encryption`; `undefined` where `key` is not its key. */
  static async opening(key: FileKey, encryption: FileEncryption): Promise<RecordCipher | undefined> {
    const { salt, check, names } = encryption
    const cipher = await RecordCipher.salted(key, Buffer.from(salt, 'base64url'))
    if (!isEqual(cipher.encryption.check, check)) return undefined
    if (names === undefined) return cipher
    const nameKey = opened(cipher.#recordKey, names, NAMES)
    if (typeof nameKey !== 'string') return undefined
    return new RecordCipher(encryption, cipher.#recordKey, Buffer.from(nameKey, 'base64url'))
  }

  /** For records that are not in one file, and have their salt from elsewhere. */
  static async salted(key: FileKey, salt: Buffer): Promise<RecordCipher> {
    const secret = typeof key === 'string' ? await stretch(key.normalize('NFKC'), salt, KEY_BYTES, SCRYPT) : key
    const derive = (purpose: string) => Buffer.from(hkdfSync('sha256', secret, salt, `keyturn 1 ${purpose}`, KEY_BYTES))
    const text = (bytes: Buffer) => bytes.toString('base64url')
    const encryption = { cipher: 'AES-256-GCM', salt: text(salt), check: text(derive('check')) } as const
    return new RecordCipher(encryption, derive('records'), derive('names'))
  }

  /**
   * The cipher of another key that takes the place of this one. It has the same names for records, which nobody could tell
   * from the names alone: whoever has the old key can still recognise a name, and read nothing.
   */
  async replacedBy(key: FileKey): Promise<RecordCipher> {
    const next = await RecordCipher.create(key)
    const names = sealed(next.#recordKey, JSON.stringify(this.#nameKey.toString('base64url')), NAMES)
    return new RecordCipher({ ...next.encryption, names }, next.#recordKey, this.#nameKey)
  }

  name(key: string): string {
    return createHmac('sha256', this.#nameKey).update(key).digest('base64url')
  }

  encode(name: string, record: StoredRecord): unknown {
    const { version } = record
    return { version, sealed: sealed(this.#recordKey, JSON.stringify(record), boundTo(name, version)) }
  }

  decode(name: string, entry: unknown): StoredRecord | undefined {
    if (!isRecord(entry) || !('sealed' in entry) || typeof entry.sealed !== 'string') return undefined
    // The key is known to be right: what does not open is damaged.
    const record = checkedRecord(opened(this.#recordKey, entry.sealed, boundTo(name, entry.version)))
    return record?.version === entry.version ? record : undefined
  }
}

/** `key`, once it is known to be one. */
export function checkedKey(key: unknown): FileKey {
  if (typeof key === 'string' && key !== '') return key
  if (key instanceof Uint8Array && key.length === KEY_BYTES) return Uint8Array.from(key)
  throw new StoreError('The key of the token store is neither a passphrase nor 32 bytes', {
    retryable: false,
    fix: 'Set `key` to a string that is not empty, to a Uint8Array of 32 bytes, or to a function that returns one.',
  })
}

function boundTo(name: string, version: number): string {
  return JSON.stringify(['keyturn', 1, name, version])
}

function isEqual(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)]
  return a.length === b.length && timingSafeEqual(a, b)
}
