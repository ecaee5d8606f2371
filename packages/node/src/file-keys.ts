import { StoreError } from '@keyturn/core'
import { RecordCipher } from './record-cipher.ts'
import {
  distrustingCodec,
  type FileEncryption,
  plainCodec,
  type RecordCodec,
  type StoreDocument,
} from './store-document.ts'
import { asking, type KeyList, type StoreKeys } from './store-keys.ts'

/** How a file is read. */
interface Opened {
  readonly codec: RecordCodec
  /** Whether it is written as it would be now; what nobody believes stays as it is until it is written over. */
  readonly isCurrent: boolean
}

/** How many ciphers are kept: of the file as it was, as it is, and as it will be. */
const MOST = 3

/** Knows how to read and to write a file, from the keys that were given for it. */
export class FileKeys {
  readonly #ask: (() => Promise<StoreKeys>) | undefined
  /** By what a file says of its encryption. */
  readonly #opened = new Map<string, Promise<Opened>>()
  #next: { after: RecordCipher | undefined; cipher: Promise<RecordCipher> } | undefined

  constructor(key?: KeyList | (() => KeyList | Promise<KeyList>)) {
    this.#ask = key === undefined ? undefined : asking(key)
  }

  /** How `document` is to be read. Rejects with a `StoreError` where the key is missing or wrong. */
  async reading(document: StoreDocument): Promise<RecordCodec> {
    return (await this.#open(document)).codec
  }

  /** How what replaces `document` is to be written: with keys always encrypted, with the first one. */
  async writing(document: StoreDocument): Promise<RecordCodec> {
    const ask = this.#ask
    if (document.encryption === undefined) return ask === undefined ? plainCodec : this.#newest(ask)
    const { codec, isCurrent } = await this.#open(document)
    return isCurrent || ask === undefined || !(codec instanceof RecordCipher) ? codec : this.#newest(ask, codec)
  }

  /** Whether `document` is written as it would be now. */
  async isCurrent(document: StoreDocument): Promise<boolean> {
    return (await this.#open(document)).isCurrent
  }

  #open({ encryption, records }: StoreDocument): Promise<Opened> | Opened {
    const ask = this.#ask
    // Nobody is asked for a key where there is nothing to be read.
    if (encryption === undefined && (ask === undefined || records.size === 0)) {
      return { codec: plainCodec, isCurrent: true }
    }
    if (ask === undefined) throw noKey()
    const id = JSON.stringify(encryption ?? 'unencrypted')
    return (
      this.#opened.get(id) ?? this.#remember(id, encryption === undefined ? inTheClear(ask) : opened(ask, encryption))
    )
  }

  #remember(id: string, opening: Promise<Opened>): Promise<Opened> {
    this.#opened.set(id, opening)
    // A function that is asked for the keys may answer others next time.
    opening.catch(() => this.#opened.delete(id))
    for (const oldest of this.#opened.keys()) {
      if (this.#opened.size <= MOST) break
      this.#opened.delete(oldest)
    }
    return opening
  }

  /** What the file is encrypted with next, that has another key now (`after`), or none. */
  #newest(ask: () => Promise<StoreKeys>, after?: RecordCipher): Promise<RecordCipher> {
    if (this.#next && this.#next.after === after) return this.#next.cipher
    const next = { after, cipher: this.#create(ask, after) }
    this.#next = next
    next.cipher.catch(() => {
      if (this.#next === next) this.#next = undefined
    })
    return next.cipher
  }

  async #create(ask: () => Promise<StoreKeys>, after: RecordCipher | undefined): Promise<RecordCipher> {
    const { keys } = await ask()
    const [first] = keys
    if (first === undefined) throw noKey()
    const cipher = await (after ? after.replacedBy(first) : RecordCipher.create(first))
    void this.#remember(JSON.stringify(cipher.encryption), Promise.resolve({ codec: cipher, isCurrent: true }))
    return cipher
  }
}

/** Reads with the key that the file was written with. */
async function opened(ask: () => Promise<StoreKeys>, encryption: FileEncryption): Promise<Opened> {
  for (const [index, key] of (await ask()).keys.entries()) {
    const codec = await RecordCipher.opening(key, encryption)
    if (codec) return { codec, isCurrent: index === 0 }
  }
  throw new StoreError('The token file is encrypted with another key', {
    retryable: false,
    fix: 'Set `key` to the one that the file was written with, or to a list that has it, or remove the file to start anew.',
  })
}

async function inTheClear(ask: () => Promise<StoreKeys>): Promise<Opened> {
  const { takesOver } = await ask()
  return takesOver ? { codec: plainCodec, isCurrent: false } : { codec: distrustingCodec, isCurrent: true }
}

function noKey(): StoreError {
  return new StoreError('The token file is encrypted and no key was given', {
    retryable: false,
    fix: 'Set `key` to the one that the file was written with.',
  })
}
