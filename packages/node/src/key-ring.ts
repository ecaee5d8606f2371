import { type StoredRecord, StoreError } from '@keyturn/core'
import { checkedKey, type FileKey, RecordCipher } from './record-cipher.ts'
import { checkedRecord } from './store-document.ts'

/** Keys that records may be encrypted with: each a passphrase or 32 bytes. The first one writes, all of them read. */
export type KeyList = FileKey | readonly FileKey[]

/** A record as it is written down. */
export interface OpenedRecord {
  /** `undefined` where it is damaged. */
  readonly record: StoredRecord | undefined
  /** Whether it is written as it would be now: with the first key, or in the clear where there is none. */
  readonly isCurrent: boolean
}

/** A part of the format: processes that share a passphrase have nowhere else to agree on a salt before they meet. */
const SALT = Buffer.from('keyturn 1 shared')

/** Encrypts single records, each on its own, with keys that rotate. Without keys they are as they are. */
export class KeyRing {
  readonly #ask: (() => KeyList | Promise<KeyList>) | undefined
  readonly #asksAgain: boolean
  #ciphers: Promise<RecordCipher[]> | undefined

  constructor(key?: KeyList | (() => KeyList | Promise<KeyList>)) {
    const checked = key === undefined || typeof key === 'function' ? key : checkedKeys(key)
    this.#asksAgain = typeof checked === 'function'
    this.#ask = checked === undefined || typeof checked === 'function' ? checked : () => checked
  }

  /** The text of a record that is kept under this name; its version, which is beside it, is bound to it. */
  async seal(name: string, record: StoredRecord): Promise<string> {
    if (this.#ask === undefined) return JSON.stringify(record)
    const [cipher] = await this.#all()
    if (cipher === undefined) throw noKey()
    const { check } = cipher.encryption
    return JSON.stringify({ ...Object(cipher.encode(name, record)), check })
  }

  /** What `text` says. Rejects with a `StoreError` where the key is missing or another one. */
  async open(name: string, version: number, text: string): Promise<OpenedRecord> {
    const entry = Object(parsed(text))
    if (typeof entry.check !== 'string') {
      // With a key only what has been sealed with one is believed: anybody who can write there can write the rest.
      const record = this.#ask === undefined ? checkedRecord(entry) : undefined
      return { record: record?.version === version ? record : undefined, isCurrent: true }
    }
    if (this.#ask === undefined) throw noKey()
    const known = await this.#all()
    const cipher = cipherOf(known, entry.check) ?? cipherOf(await this.#asked(known), entry.check)
    if (cipher === undefined) throw otherKey()
    const record = cipher.decode(name, entry)
    return { record: record?.version === version ? record : undefined, isCurrent: cipher === (await this.#all())[0] }
  }

  async #all(): Promise<RecordCipher[]> {
    this.#ciphers ??= this.#derived()
    const ciphers = this.#ciphers
    try {
      return await ciphers
    } catch (error) {
      if (this.#ciphers === ciphers) this.#ciphers = undefined
      throw error
    }
  }

  /** A function may have other keys by now. */
  async #asked(known: RecordCipher[]): Promise<RecordCipher[]> {
    if (!this.#asksAgain) return known
    if ((await this.#ciphers) === known) this.#ciphers = undefined
    return this.#all()
  }

  async #derived(): Promise<RecordCipher[]> {
    const keys = checkedKeys(await this.#answer())
    return Promise.all(keys.map((key) => RecordCipher.salted(key, SALT)))
  }

  async #answer(): Promise<unknown> {
    try {
      return await this.#ask?.()
    } catch (cause) {
      throw new StoreError('The key of the token store could not be had: the function that is `key` failed', { cause })
    }
  }
}

function checkedKeys(key: unknown): FileKey[] {
  const keys: unknown[] = Array.isArray(key) ? key : [key]
  if (keys.length === 0) throw noKey()
  return keys.map(checkedKey)
}

function cipherOf(ciphers: RecordCipher[], check: string): RecordCipher | undefined {
  return ciphers.find(({ encryption }) => encryption.check === check)
}

function noKey(): StoreError {
  return new StoreError('The records of the token store are encrypted and no key was given', {
    retryable: false,
    fix: 'Set `key` to the one that they were written with.',
  })
}

function otherKey(): StoreError {
  return new StoreError('A record of the token store is encrypted with another key', {
    retryable: false,
    fix: 'Add the key that it was written with to the list that `key` can be.',
  })
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
