import { createHash } from 'node:crypto'
import { type StoredRecord, StoreError, type TokenStore } from '@keyturn/core'
import { KeyRing } from './key-ring.ts'
import { withLease } from './lease.ts'
import { type RedisClient, RedisConnection } from './redis-connection.ts'
import { acquireInRedis } from './redis-lock.ts'
import { RedisRecords } from './redis-records.ts'
import type { KeyList } from './store-keys.ts'
import { Turns } from './turns.ts'

/** Options of `redisStore`. */
export interface RedisStoreOptions {
  /**
   * Encrypts what is stored: a passphrase, 32 bytes, a list of them of which the first one writes and all read, or a
   * function that returns any of these. Without it records are kept as they are. Names of keys are hashes either way.
   */
  key?: KeyList | (() => KeyList | Promise<KeyList>)
  /** What all keys in Redis begin with; default `keyturn:`. */
  prefix?: string
}

/** How long a holder may keep a lock where nobody says otherwise, milliseconds. */
const DEFAULT_LEASE = 30_000

/**
 * Keeps records in Redis, shared by a fleet, on the caller's own client of `redis`, `ioredis` or `iovalkey`: one token
 * request per lifetime for all of them. It opens no second connection: others learn of a new token when theirs is to be
 * renewed, and look first. Rejects with a `StoreError`; throws one at once where `key` or the client cannot be one.
 */
export function redisStore(client: RedisClient, options: RedisStoreOptions = {}): TokenStore {
  const { key: keys, prefix = 'keyturn:' } = options
  if ('key' in options && keys === undefined) {
    throw new StoreError('key is undefined', {
      retryable: false,
      fix: 'Give a key, or leave it out to store in the clear.',
    })
  }
  const redis = new RedisConnection(client)
  const records = new RedisRecords(redis, new KeyRing(keys))
  const turns = new Turns()
  // Independent of the encryption key: those who have the old one and those who have the new one share a lock.
  const nameOf = (key: string) => `${prefix}{${createHash('sha256').update(key).digest('base64url')}}`

  return {
    keys: keys === undefined ? undefined : 'encrypted',

    // Damage is an answer, not a failure: it is the manager's to report, and its next write heals it.
    get: async (key) => (await records.get(nameOf(key))) as StoredRecord | undefined,

    replace: async (key, expected, next) => records.replace(nameOf(key), expected, structuredClone(next)),

    lock(key, critical, duration = DEFAULT_LEASE) {
      const name = nameOf(key)
      return turns.take(name, async (leave) => {
        return withLease(await acquireInRedis(redis, `${name}:lock`, duration), duration, critical, leave)
      })
    },
  }
}
