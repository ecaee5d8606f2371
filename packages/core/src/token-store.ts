import type { SessionRecord } from './session-record.ts'

/**
 * Plain data, one per session (or, where there is no refresh token, one per token). A store needs nothing of it but
 * `version`; whatever else is in it is the manager's.
 */
export type StoredRecord = SessionRecord

/** Where records are kept, and the lock that is as wide as those who share them. */
export interface TokenStore {
  /**
   * How it keeps private keys: `structured` as the `CryptoKey` that they are (structured clone), `encrypted` as plain data
   * that nobody else can read, `memory` as they are, as long as this process or page lives. Default: not at all, and keys
   * live in memory.
   */
  readonly keys?: 'structured' | 'encrypted' | 'memory' | undefined
  get(key: string): Promise<StoredRecord | undefined>
  /**
   * Writes `next` if the record's version (`versionOf()`) is still `expected` (`undefined`: there is none); tells whether
   * it did.
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

/**
 * The version by which a store compares what it found, for `replace`. What is damaged may have none, or one that equals
 * nothing: it counts as not there, so that it can be written over.
 */
export function versionOf(found: unknown): number | undefined {
  const { version } = Object(found)
  return version && version !== Object(version) ? version : undefined
}

/** The right to act alone for a while. */
export interface Lease {
  /** Still mine? */
  valid(): boolean
}
