import type { StoredRecord, TokenStore } from '@keyturn/core'

/** A record that holds `seed`. */
export function record(version: number, seed = 'a'): StoredRecord {
  return { format: 1, version, tokens: {}, seed }
}

/** Counts up in the record's seed, against everybody else who does. */
export async function increment(store: TokenStore, key: string): Promise<void> {
  for (;;) {
    const before = await store.get(key)
    if (before === undefined) throw new Error('There is nothing to count in')
    const next = record(before.version + 1, `${Number(before.seed) + 1}`)
    if (await store.replace(key, before.version, next)) return
    await pause(Math.random() * 300)
  }
}

/** The numbers from 0 on. */
export function range(length: number): number[] {
  return Array.from({ length }, (_, index) => index)
}

/** Waits, milliseconds. */
export function pause(duration: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, duration))
}
