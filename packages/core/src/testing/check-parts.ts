import type { StoredToken } from '../session-record.ts'
import type { Lease, StoredRecord, TokenStore } from '../token-store.ts'

/** What a store has to do, by a sentence that says it; `other` shares its records. */
export type Checks = Record<string, (store: TokenStore, other: TokenStore) => Promise<void>>

/** A record that holds `seed`. */
export function record(version: number, seed = 'a'): StoredRecord {
  return { format: 1, version, tokens: {}, seed }
}

/** A token that is kept. */
export function token(accessToken: string): StoredToken & { accessToken: string } {
  return { accessToken, tokenType: 'Bearer', issuedAt: 1, expiresAt: 2 }
}

/** Counts up in the record's seed, against everybody else who does. */
export async function increment(store: TokenStore, key: string): Promise<void> {
  for (;;) {
    const before = await store.get(key)
    const next = record(Number(before?.version) + 1, `${Number(before?.seed) + 1}`)
    if (await store.replace(key, before?.version, next)) return
    await pause(Math.random() * 300)
  }
}

/** Somebody in the critical section, and how it ends. */
export interface Holder {
  readonly lease: Promise<Lease>
  readonly finish: (value: string) => void
  readonly result: Promise<string>
}

/** Somebody who is in the critical section until told to finish. */
export function holder(store: TokenStore, key: string, duration?: number): Holder {
  const entered = Promise.withResolvers<Lease>()
  const finished = Promise.withResolvers<string>()
  const critical = (lease: Lease) => {
    entered.resolve(lease)
    return finished.promise
  }
  return { lease: entered.promise, finish: finished.resolve, result: store.lock(key, critical, duration) }
}

/** Somebody whose lease ends soon; later where a busy machine has let it end before this is looked at. */
export async function briefHolder(store: TokenStore, key: string): Promise<Holder> {
  for (let duration = 200; ; duration *= 5) {
    const slow = holder(store, key, duration)
    const lease = await slow.lease
    if (lease.valid() || duration > 1000) return slow
    slow.finish('too late')
    await slow.result
  }
}

/** Waits for something to happen, 5 seconds at most. */
export async function until(isSo: () => boolean): Promise<void> {
  const end = performance.now() + 5000
  while (!isSo()) {
    if (performance.now() > end) throw new Error('a change was not told within 5 s')
    await pause(10)
  }
}

/** Waits, milliseconds. */
export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}

/** The numbers from 0 on. */
export function range(length: number): number[] {
  return Array.from({ length }, (_, index) => index)
}

/** Throws where the two differ as JSON. */
export function equal(actual: unknown, expected: unknown): void {
  const [is, should] = [actual, expected].map((value) => JSON.stringify(value, inOrder))
  if (is !== should) throw new Error(`expected ${should}, got ${is}`)
}

/** Members in the order of their names: a store may keep them in any. */
function inOrder(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1)))
}
