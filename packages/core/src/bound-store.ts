import type { ProofKeys } from './proof-keys.ts'
import { emptyRecord, ended, parseRecord, type SessionRecord } from './session-record.ts'
import type { TokenStore } from './token-store.ts'

/**
 * A store for sessions that are bound to keys: apart from those that are not, so that neither kind of token is taken for
 * the other, and without those whose key is gone.
 */
export function boundStore(store: TokenStore, keys: ProofKeys, asksAgain: boolean): TokenStore {
  const name = (key: string) => `${key} DPoP`
  const { watch } = store
  return {
    keys: store.keys,
    async get(key) {
      const found = await store.get(name(key))
      return (await withoutKey(found, keys, asksAgain)) ?? found
    },
    replace: (key, expected, next) => store.replace(name(key), expected, next),
    lock: (key, critical, duration) => store.lock(name(key), critical, duration),
    ...(watch && { watch: (key, listener) => watch.call(store, name(key), listener) }),
  }
}

/**
 * What is left of what a store held where that is a session whose key is gone; else `undefined`. Nothing is written:
 * others who share the store may have the key.
 */
async function withoutKey(found: unknown, keys: ProofKeys, asksAgain: boolean): Promise<SessionRecord | undefined> {
  const record = parseRecord(found)
  if (!record?.key) return undefined // nothing is bound yet, or it is over
  try {
    await keys.of(record.key)
    return undefined
  } catch {
    if (asksAgain) return emptyRecord(record)
    const { lastSuccessAt } = record
    return ended(record, { reason: 'key-lost', origin: 'storage', at: Date.now(), lastSuccessAt })
  }
}
