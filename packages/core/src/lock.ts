import { StoreError } from './errors.ts'
import type { Lease, TokenStore } from './token-store.ts'

/** How long a holder may keep a lock where nobody says otherwise, milliseconds. */
export const DEFAULT_LEASE = 30_000

/**
 * Locks by name within one process or page. A holder whose lease has run out is passed over: the next one starts, and
 * the old one's lease is not valid any more.
 */
export class LocalLocks {
  readonly #tails = new Map<string, Promise<void>>()

  async run<T>(key: string, critical: (lease: Lease) => Promise<T>, duration: number = DEFAULT_LEASE): Promise<T> {
    const { promise: released, resolve: release } = Promise.withResolvers<void>()
    const before = this.#tails.get(key)
    this.#tails.set(key, released) // not before `before` is, for each waits for the one before it
    await before
    let held = true
    const end = () => {
      held = false
      release()
    }
    const until = Math.min(duration, 2 ** 31 - 1) + performance.now()
    const timer = setTimeout(end, until - performance.now())
    try {
      return await critical({ valid: () => held && performance.now() < until })
    } finally {
      clearTimeout(timer)
      end()
      if (this.#tails.get(key) === released) this.#tails.delete(key)
    }
  }
}

/** One after another, for ever if need be. */
export class Turns {
  /** Resolves when all have had theirs. */
  over: Promise<unknown> = Promise.resolve()

  take<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.over.then(work)
    this.over = turn.catch(() => {}) // the next one has its own outcome
    return turn
  }
}

/**
 * Runs `critical` under the store's lock. A holder may keep that for three time-outs, so it is waited for a little
 * longer; once it is ours, `critical` has its own deadlines. What the store fails at is a `StoreError`.
 */
export function underLock<T>(
  store: TokenStore,
  key: string,
  timeout: number,
  degraded: (what: string, cause?: unknown) => void,
  critical: (lease: Lease) => Promise<T>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    let outcome: Promise<T> | undefined
    let givenUp = false
    let timer = setTimeout(() => {
      givenUp = true
      reject(new StoreError('The lock of the token store was not to be had'))
    }, 4 * timeout)
    const unlocked = (cause?: unknown) => {
      clearTimeout(timer)
      if (outcome === undefined) return reject(new StoreError('The token store could not lock', { cause }))
      if (cause !== undefined) degraded('the token store could not unlock', cause)
      resolve(outcome)
    }
    const enter = async (lease: Lease) => {
      if (givenUp) return
      clearTimeout(timer)
      outcome = critical(lease)
      await outcome.catch(() => {}) // it is the outcome for the callers too
      timer = setTimeout(unlocked, timeout, new StoreError('The lock of the token store was not given back'))
    }
    const call = async () => store.lock(key, enter, 3 * timeout)
    call().then(() => unlocked(), unlocked)
  })
}
