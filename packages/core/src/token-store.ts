import type { SessionRecord } from './session-record.ts'

/**
 * Plain data, one per session (or, where there is no refresh token, one per token). A store needs nothing of it but
 * `version`; whatever else is in it is the manager's.
 */
export type StoredRecord = SessionRecord

/** Where records are kept, and the lock that is as wide as those who share them. */
export interface TokenStore {
  get(key: string): Promise<StoredRecord | undefined>
  /**
   * Writes `next` if the record's version is still `expected` (`undefined`: there is none); tells whether it did.
   * `undefined` as `next` removes the record. Versions are never used twice, so a writer that was slow does not bring
   * back what was removed.
   */
  replace(key: string, expected: number | undefined, next: StoredRecord | undefined): Promise<boolean>
  /**
   * Runs `critical` while nobody else who shares the store does, for this key. A holder that is gone or frozen is
   * replaced after `duration` milliseconds (default 30 000): then its `lease.valid()` is false.
   */
  lock<T>(key: string, critical: (lease: Lease) => Promise<T>, duration?: number): Promise<T>
  /** Calls `listener` after a change of the record that somebody else may have made. */
  watch?(key: string, listener: () => void): () => void
}

/** The right to act alone for a while. */
export interface Lease {
  /** Still mine? */
  valid(): boolean
}
