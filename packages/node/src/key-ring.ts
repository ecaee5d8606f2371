import { type StoredRecord, StoreError } from '@keyturn/core'
import { RecordCipher } from './record-cipher.ts'
import { checkedRecord } from './store-document.ts'
import { asking, type KeyList, type StoreKeys } from './store-keys.ts'

/** A record as it is written down. */
export interface OpenedRecord {
  /** `undefined` where it is damaged. */
  readonly record: StoredRecord | undefined
  /** Whether it is written as it would be now: with the first key, or in the clear where there is none. */
  readonly isCurrent: boolean
}

interface Ciphers {
  readonly first: RecordCipher
  readonly all: readonly RecordCipher[]
  readonly takesOver: boolean
}

/** A part of the format: processes that share a passphrase have nowhere else to agree on a salt before they meet. */
const SALT = Buffer.from('keyturn 1 shared')

/** Encrypts single records, each on its own, with keys that rotate. Without keys they are as they are. */
export class KeyRing {
  readonly #ask: (() => Promise<StoreKeys>) | undefined
  readonly #asksAgain: boolean
  #ciphers: Promise<Ciphers> | undefined
  #again: Promise<Ciphers> | undefined

  constructor(key?: KeyList | (() => KeyList | Promise<KeyList>)) {
    this.#ask = key === undefined ? undefined : asking(key)
    this.#asksAgain = typeof key === 'function'
  }

  /** The text of a record that is kept under this name; its version, which is beside it, is bound to it. */
  async seal(name: string, record: StoredRecord): Promise<string> {
    if (this.#ask === undefined) return JSON.stringify(record)
    const { first } = await this.#all(this.#ask)
    return JSON.stringify({ ...Object(first.encode(name, record)), check: first.encryption.check })
  }

  /** What `text` says. Rejects with a `StoreError` where the key is missing or another one. */
  async open(name: string, version: number, text: string): Promise<OpenedRecord> {
    const entry = Object(parsed(text))
    const { check } = entry
    const of = (record: StoredRecord | undefined) => (record?.version === version ? record : undefined)
    const ask = this.#ask
    if (typeof check !== 'string') {
      // With a key only what has been sealed with one is believed: anybody who can write there can write the rest.
      const believed = ask === undefined || (await this.#all(ask)).takesOver
      return { record: believed ? of(checkedRecord(entry)) : undefined, isCurrent: ask === undefined }
    }
    if (ask === undefined) throw noKey()
    const known = await this.#all(ask)
    const cipher = cipherOf(known, check) ?? cipherOf(await this.#askedAgain(ask, known), check)
    if (cipher === undefined) throw otherKey()
    return { record: of(cipher.decode(name, entry)), isCurrent: cipher === (await this.#all(ask)).first }
  }

  async #all(ask: () => Promise<StoreKeys>): Promise<Ciphers> {
    this.#ciphers ??= ciphersOf(ask)
    const ciphers = this.#ciphers
    try {
      return await ciphers
    } catch (error) {
      if (this.#ciphers === ciphers) this.#ciphers = undefined
      throw error
    }
  }

  /** A function may have other keys by now; where it fails, those that are known stay. */
  async #askedAgain(ask: () => Promise<StoreKeys>, known: Ciphers): Promise<Ciphers> {
    if (!this.#asksAgain) return known
    const ciphers = await this.#all(ask)
    if (ciphers !== known) return ciphers
    this.#again ??= ciphersOf(ask).finally(() => {
      this.#again = undefined
    })
    const again = this.#again
    const asked = await again
    this.#ciphers = again
    return asked
  }
}

async function ciphersOf(ask: () => Promise<StoreKeys>): Promise<Ciphers> {
  const { keys, takesOver } = await ask()
  const [first, ...others] = await Promise.all(keys.map((key) => RecordCipher.salted(key, SALT)))
  if (first === undefined) throw noKey()
  return { first, all: [first, ...others], takesOver }
}

function cipherOf({ all }: Ciphers, check: string): RecordCipher | undefined {
  return all.find(({ encryption }) => encryption.check === check)
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
