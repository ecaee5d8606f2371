import { within } from './deadline.ts'
import { OAuthError, StoreError } from './errors.ts'
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
    let release = () => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const before = this.#tails.get(key)
    const tail = before === undefined ? released : before.then(() => released)
    this.#tails.set(key, tail)
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
      if (this.#tails.get(key) === tail) this.#tails.delete(key)
    }
  }
}

/**
 * Runs `critical` under the store's lock. A holder may keep that for three time-outs, so it is waited for a little
 * longer; once it is ours, `critical` has its own deadlines. What the store fails at is a `StoreError`.
 */
export async function underLock<T>(
  store: TokenStore,
  key: string,
  timeout: number,
  degraded: (what: string, cause: unknown) => void,
  critical: (lease: Lease) => Promise<T>,
): Promise<T> {
  let outcome: { value: T } | { error: unknown } | undefined
  let waiting = true
  let granted = () => {}
  const started = new Promise<void>((resolve) => {
    granted = resolve
  })
  let settled = () => {}
  const done = new Promise<void>((resolve) => {
    settled = resolve
  })
  const late = () => new StoreError('The lock of the token store was not to be had')
  const enter = async (lease: Lease) => {
    if (!waiting) return
    granted()
    outcome = await critical(lease).then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    )
    settled()
  }
  try {
    const finished = (async () => store.lock(key, enter, 3 * timeout))()
    await within(4 * timeout, late, () => Promise.race([started, finished]))
    await Promise.race([finished, done])
    await within(
      timeout,
      () => new StoreError('The lock of the token store was not given back'),
      () => finished,
    )
  } catch (cause) {
    waiting = false
    if (outcome === undefined)
      throw cause instanceof OAuthError ? cause : new StoreError('The token store could not lock', { cause })
    degraded('the token store could not unlock', cause)
  }
  if (outcome === undefined) throw new StoreError('The token store gave no lock')
  if ('error' in outcome) throw outcome.error
  return outcome.value
}
