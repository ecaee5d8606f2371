import type { Lease } from './token-store.ts'

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
