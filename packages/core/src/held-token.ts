import { type Thresholds, thresholds } from './renewal-policy.ts'
import type { StoredToken } from './session-record.ts'

/** How far wall and monotonic clock may drift apart before it looks like sleep or a changed clock, milliseconds. */
export const GAP = 2000

/** A token in memory, with its own two clocks (R10): what has elapsed is the larger of wall and monotonic time. */
export class HeldToken {
  readonly stored: StoredToken
  /** The token, promised once for all callers. */
  readonly promise: Promise<string>
  /** Whether anybody asked for it. */
  used = false
  readonly #thresholds: Thresholds
  readonly #issuedAt: number
  readonly #issuedAtMonotonic: number

  constructor(stored: StoredToken, factor: number) {
    const { accessToken, issuedAt, expiresAt } = stored
    const age = Date.now() - issuedAt
    const lifetime = expiresAt - issuedAt
    this.stored = stored
    this.promise = Promise.resolve(accessToken)
    // A token from the future (the clock was set back, perhaps while nothing ran) counts as one to renew at once.
    this.#thresholds = age < 0 ? { should: 0, must: 0, expired: lifetime } : thresholds(lifetime, factor)
    this.#issuedAt = issuedAt
    this.#issuedAtMonotonic = performance.now() - Math.max(age, 0)
  }

  /** R1: nothing but two clocks; false also where they drifted apart by more than they had when `drift` was taken. */
  isFresh(drift: number): boolean {
    const wall = Date.now()
    const monotonic = performance.now()
    const gap = wall - monotonic - drift
    const { should } = this.#thresholds
    return wall - this.#issuedAt < should && monotonic - this.#issuedAtMonotonic < should && gap < GAP && gap > -GAP
  }

  get age(): number {
    return Math.max(Date.now() - this.#issuedAt, performance.now() - this.#issuedAtMonotonic)
  }

  /** Milliseconds until it should be renewed, must be renewed or is expired; 0 from then on. */
  until(threshold: keyof Thresholds): number {
    return Math.max(0, this.#thresholds[threshold] - this.age)
  }
}
