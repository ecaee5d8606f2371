import { type RedisClient, redisStore } from '@keyturn/node'
import { expect, test, vi } from 'vitest'
import { record } from '../../core/test/token-store-contract.ts'
import { KeptLeases } from '../src/kept-leases.js'

test('what is kept because writes fail is no more than the leases of one lease time, however many users there are', async () => {
  vi.useFakeTimers({ toFake: ['Date', 'performance', 'setTimeout', 'clearTimeout'] })
  try {
    const keep = vi.spyOn(KeptLeases.prototype, 'keep')
    // Locks are granted, and no record can be written: Redis is out of memory.
    const client: RedisClient = {
      call: async (_, script) => {
        if (String(script).includes('HSET')) throw new Error('OOM command not allowed')
        return String(script).includes("'SET'") ? 1 : []
      },
    }
    const store = redisStore(client)
    const sizes: number[] = []
    for (let user = 0; user < 1_000; user++) {
      await store.lock(
        `user ${user}`,
        async () => {
          await expect(store.replace(`user ${user}`, undefined, record(1))).rejects.toThrow(/OOM/)
        },
        30_000,
      )
      const [kept] = keep.mock.contexts as KeptLeases[]
      sizes.push(kept?.size ?? 0)
      vi.advanceTimersByTime(1_000)
    }
    expect(keep).toHaveBeenCalledTimes(1_000)
    expect(Math.max(...sizes)).toBeLessThanOrEqual(31)
    expect(Math.max(...sizes)).toBeGreaterThan(5)
  } finally {
    vi.useRealTimers()
    vi.restoreAllMocks()
  }
})

test('a lease that is made good is given back, one that has ended is forgotten', async () => {
  const kept = new KeptLeases()
  const hold = (valid: boolean) => ({ valid: () => valid, release: vi.fn(async () => {}) })
  const [ended, first, second] = [hold(false), hold(true), hold(true)]
  kept.keep('ended', ended)
  kept.keep('first', first)
  kept.keep('second', second)
  expect(kept.size).toBe(2)
  await kept.free('first')
  await kept.free('unknown')
  expect([ended, first, second].map(({ release }) => release.mock.calls.length)).toEqual([0, 1, 0])
  expect(kept.size).toBe(1)
})
