import { StoreError } from '@keyturn/core'
import { checkedKey, type FileKey } from './record-cipher.ts'

/**
 * Stands behind the keys in a list of them: what was stored before there was a key is read as well, and encrypted when it
 * is. Without it a store that has a key believes nothing in the clear, for anybody who can write there could have written
 * it. Leave it out again when everything has been read once.
 */
export const unencrypted: Unencrypted = Object.freeze({ unencrypted: true })

/** What `unencrypted` is. */
export interface Unencrypted {
  readonly unencrypted: true
}

/**
 * What a store encrypts with: a passphrase or 32 bytes, or a list of them, of which the first one writes and all read, so
 * that keys can be replaced.
 */
export type KeyList = FileKey | readonly (FileKey | Unencrypted)[]

/** Keys that are known to be some. */
export interface StoreKeys {
  /** The first one writes. */
  readonly keys: readonly FileKey[]
  /** Whether what is in the clear is believed. */
  readonly takesOver: boolean
}

/** A function that asks for the keys; throws at once a `StoreError` where what is no function cannot be a key. */
export function asking(key: KeyList | (() => KeyList | Promise<KeyList>)): () => Promise<StoreKeys> {
  if (typeof key === 'function') return async () => checkedKeys(await answerOf(key))
  const keys = checkedKeys(key)
  return async () => keys
}

async function answerOf(ask: () => unknown): Promise<unknown> {
  try {
    return await ask()
  } catch (cause) {
    if (cause instanceof StoreError) throw cause
    throw new StoreError('The key of the token store could not be had: the function that is `key` failed', { cause })
  }
}

function checkedKeys(key: unknown): StoreKeys {
  const list: unknown[] = Array.isArray(key) ? key : [key]
  if (list.length === 0 || isUnencrypted(list[0])) {
    throw new StoreError('The first key of the token store is missing', {
      retryable: false,
      fix: 'Begin the list with the key that writes; `unencrypted` stands behind it.',
    })
  }
  const keys = list.filter((one) => !isUnencrypted(one)).map(checkedKey)
  return { keys, takesOver: keys.length < list.length }
}

function isUnencrypted(value: unknown): value is Unencrypted {
  return Object(value).unencrypted === true
}
