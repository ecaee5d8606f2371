import { setTimeout as sleep } from 'node:timers/promises'
import type { Hold } from './lease.ts'
import type { RedisConnection } from './redis-connection.ts'

/** 1: held by this owner, who may ask twice when a client sends again what it got no answer to. */
const TAKE = `
local owner = redis.call('GET', KEYS[1])
if owner then return owner == ARGV[1] and 1 or 0 end
redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
return 1`

const FREE = `
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`

/** How long who waits for a lock pauses between two looks, milliseconds: at first, and at most. */
const FIRST_PAUSE = 10
const LONGEST_PAUSE = 250

/** How long until a release that failed is tried again, milliseconds. */
const RELEASED_AGAIN = 1_000

/**
 * Waits for the lock and takes it for `duration` milliseconds; nobody prolongs it. Redis frees the lock of an owner who is
 * gone. One who is frozen, and thaws after that, finds its lease lost, and frees nothing that is another's.
 */
export async function acquireInRedis(redis: RedisConnection, key: string, duration: number): Promise<Hold> {
  const owner = crypto.randomUUID()
  const free = async () => {
    await redis.run(FREE, [key], [owner])
  }
  const milliseconds = String(Math.max(1, Math.ceil(duration)))
  for (let attempt = 0; ; attempt++) {
    // Before it is asked for: here the lease ends first, whatever the answer took.
    const startedAt = performance.now()
    const startedOn = Date.now()
    const giveBack = () => void free().catch(() => {}) // taken nevertheless; it ends by itself otherwise
    if (String(await redis.run(TAKE, [key], [owner, milliseconds], giveBack)) === '1') {
      const elapsed = () => Math.max(performance.now() - startedAt, Math.abs(Date.now() - startedOn))
      const valid = () => elapsed() < duration
      // Who waits for it should not have to wait until it ends because Redis was away for a moment.
      const again = () => {
        if (valid()) setTimeout(() => void free().catch(again), RELEASED_AGAIN).unref()
      }
      return { valid, release: () => free().catch(again) }
    }
    await sleep(Math.min(LONGEST_PAUSE, FIRST_PAUSE * 1.3 ** attempt) * (0.5 + Math.random()))
  }
}
