import { type StoredRecord, StoreError } from '@keyturn/core'
import type { KeyRing } from './key-ring.ts'
import type { RedisConnection } from './redis-connection.ts'

/** Nothing where there is no record; otherwise its parts, of which a damaged one lacks some. */
const READ = `
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {} end
if kind ~= 'hash' then return {'', ''} end
local version, record = unpack(redis.call('HMGET', KEYS[1], 'version', 'record'))
return {version or '', record or ''}`

/** Compare and set. A client that got no answer may send it again: `write` tells that it is the same one. */
const REPLACE = `
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and kind ~= 'hash' then return 0 end
local version, write = unpack(redis.call('HMGET', KEYS[1], 'version', 'write'))
if write == ARGV[4] then return 1 end
if kind == 'hash' and not version or (version or '') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) return 1 end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'record', ARGV[3], 'write', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1`

/** The same record, written with another key. */
const SEAL_ANEW = `
if redis.call('HGET', KEYS[1], 'record') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'record', ARGV[2])
return 1`

/** Moves what is damaged out of the way, if it is still what was seen. */
const SET_ASIDE = `
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return 1 end
if kind == 'hash' then
  local version, record = unpack(redis.call('HMGET', KEYS[1], 'version', 'record'))
  if (version or '') ~= ARGV[1] or (record or '') ~= ARGV[2] then return 0 end
end
redis.call('RENAME', KEYS[1], KEYS[2])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1`

const DAY = 86_400_000
/** How long a record is kept after its last write: longer than refresh tokens live that nobody uses. */
const WITH_REFRESH_TOKEN = 400 * DAY
/** How long one that nothing can be renewed with is kept past the end of its last token. */
const WITHOUT = 7 * DAY
const DAMAGED = 30 * DAY

interface Found {
  /** A `StoreError` where it is damaged. */
  readonly found: StoredRecord | StoreError | undefined
  readonly parts: [version: string, record: string]
}

/** The records in Redis. All keys of a record share a hash tag, so that a cluster has them on one server. */
export class RedisRecords {
  readonly #redis: RedisConnection
  readonly #keys: KeyRing

  constructor(redis: RedisConnection, keys: KeyRing) {
    this.#redis = redis
    this.#keys = keys
  }

  async get(name: string): Promise<StoredRecord | StoreError | undefined> {
    return (await this.#find(name)).found
  }

  async replace(name: string, expected: number | undefined, next: StoredRecord | undefined): Promise<boolean> {
    const sealed = next === undefined ? '' : await this.#keys.seal(name, next)
    const version = next === undefined ? '' : String(next.version)
    const parameters = [String(expected ?? ''), version, sealed, crypto.randomUUID(), String(lifetimeOf(next))]
    const replaced = () => this.#isDone(REPLACE, [name], parameters)
    if (await replaced()) return true
    if (expected !== undefined) return false
    const { found, parts } = await this.#find(name)
    // What is damaged counts as nothing. It is kept aside, and nobody is told of it again.
    if (!(found instanceof StoreError)) return false
    const isAside = await this.#isDone(SET_ASIDE, [name, `${name}:damaged`], [...parts, String(DAMAGED)])
    return isAside && replaced()
  }

  async #find(name: string): Promise<Found> {
    const reply = await this.#redis.run(READ, [name], [])
    const [version, text] = Array.isArray(reply) ? reply.map(String) : []
    if (version === undefined || text === undefined) return { found: undefined, parts: ['', ''] }
    const parts: Found['parts'] = [version, text]
    const { record, isCurrent } = await this.#keys.open(name, Number(version), text)
    if (record === undefined) return { found: damage(name), parts }
    if (!isCurrent) await this.#sealAnew(name, text, record)
    return { found: record, parts }
  }

  /** So that a key that was replaced can be dropped, though nothing changes in a record for long. */
  async #sealAnew(name: string, text: string, record: StoredRecord): Promise<void> {
    const sealed = await this.#keys.seal(name, record)
    try {
      await this.#redis.run(SEAL_ANEW, [name], [text, sealed])
    } catch {
      // It was read, and the next one who reads or writes it gets further.
    }
  }

  async #isDone(script: string, keys: string[], parameters: string[]): Promise<boolean> {
    return String(await this.#redis.run(script, keys, parameters)) === '1'
  }
}

function lifetimeOf(record: StoredRecord | undefined): number {
  if (record?.refreshToken !== undefined) return WITH_REFRESH_TOKEN
  const ends = Object.values(record?.tokens ?? {}).map(({ expiresAt }) => expiresAt - Date.now())
  return Math.ceil(Math.max(0, ...ends) + WITHOUT)
}

function damage(name: string): StoreError {
  return new StoreError(`The record ${name} in Redis is damaged`, {
    retryable: false,
    fix: `Sign in again, or go on: the next write heals it, and keeps what is damaged as ${name}:damaged.`,
  })
}
