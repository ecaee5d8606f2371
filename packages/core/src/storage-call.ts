import { within } from './deadline.ts'
import { OAuthError, StoreError } from './errors.ts'

/** Milliseconds after which a storage call is given up (R5). */
const STORAGE_TIMEOUT = 5000

/** What a store answers. Rejects with an `OAuthError`, for a store that fails with one that says what it did not do. */
export async function storageCall<T>(what: string, call: () => T | Promise<T>): Promise<T> {
  const late = () => new StoreError(`The token store did not ${what} within ${STORAGE_TIMEOUT} ms`)
  try {
    return await within(STORAGE_TIMEOUT, late, async () => call())
  } catch (cause) {
    throw cause instanceof OAuthError ? cause : new StoreError(`The token store could not ${what}`, { cause })
  }
}
