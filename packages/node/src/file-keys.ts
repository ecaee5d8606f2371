import { StoreError } from '@keyturn/core'
import { checkedKey, type FileKey, RecordCipher } from './record-cipher.ts'
import { type FileEncryption, plainCodec, type RecordCodec, type StoreDocument } from './store-document.ts'

/** Knows how to read and to write a file, from the key that was given for it. */
export class FileKeys {
  readonly #ask: (() => FileKey | Promise<FileKey>) | undefined
  #cipher: Promise<RecordCipher> | undefined

  constructor(key?: FileKey | (() => FileKey | Promise<FileKey>)) {
    const checked = key === undefined || typeof key === 'function' ? key : checkedKey(key)
    this.#ask = checked === undefined || typeof checked === 'function' ? checked : () => checked
  }

  /** How `document` is to be read. Rejects with a `StoreError` where the key is missing or wrong. */
  async reading({ encryption }: StoreDocument): Promise<RecordCodec> {
    return encryption === undefined ? plainCodec : this.#cipherFor(encryption)
  }

  /** How what replaces `document` is to be written: with a key always encrypted. */
  async writing({ encryption }: StoreDocument): Promise<RecordCodec> {
    return this.#ask === undefined && encryption === undefined ? plainCodec : this.#cipherFor(encryption)
  }

  async #cipherFor(encryption: FileEncryption | undefined): Promise<RecordCipher> {
    const before = this.#cipher
    if (before !== undefined) {
      const known = await before
      if (encryption === undefined || isSame(encryption, known.encryption)) return known
      if (this.#cipher !== before) return this.#cipherFor(encryption)
    }
    const created = this.#create(encryption)
    this.#cipher = created
    try {
      return await created
    } catch (error) {
      // A function that is asked for the key may answer another one next time.
      if (this.#cipher === created) this.#cipher = undefined
      throw error
    }
  }

  async #create(encryption: FileEncryption | undefined): Promise<RecordCipher> {
    if (this.#ask === undefined) {
      throw new StoreError('The token file is encrypted and no key was given', {
        retryable: false,
        fix: 'Set `key` to the one that the file was written with.',
      })
    }
    return RecordCipher.create(checkedKey(await this.#asked(this.#ask)), encryption)
  }

  async #asked(ask: () => FileKey | Promise<FileKey>): Promise<FileKey> {
    try {
      return await ask()
    } catch (cause) {
      throw new StoreError('The key of the token file could not be had: the function that is `key` failed', { cause })
    }
  }
}

function isSame(a: FileEncryption, b: FileEncryption): boolean {
  return a.salt === b.salt && a.check === b.check
}
