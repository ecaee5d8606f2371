import { type Lease, memoryStore } from '@keyturn/core'
import { expect, test, vi } from 'vitest'
import { elapse, MINUTE, movedTime, SECOND, timersNeverFire, turns } from './renewal-harness.ts'

movedTime()

/** Somebody who holds the lock until `finish` is called. */
function holding(store: ReturnType<typeof memoryStore>, duration?: number) {
  const { promise, resolve: finish } = Promise.withResolvers<void>()
  const leases: Lease[] = []
  const result = store.lock(
    'alice',
    async (lease) => {
      leases.push(lease)
      await promise
    },
    duration,
  )
  return { leases, finish, result, isValid: () => leases[0]?.valid() }
}

test('a lease is valid to its last millisecond, and lost from then on, though no timer fires', async () => {
  timersNeverFire()
  const { isValid, finish, result } = holding(memoryStore(), SECOND)
  await turns()
  vi.advanceTimersByTime(999)
  expect(isValid()).toBe(true)
  vi.advanceTimersByTime(1)
  expect(isValid()).toBe(false)
  finish()
  await result
})

test('a lease lasts thirty seconds where nobody says otherwise, and then the next one starts', async () => {
  const store = memoryStore()
  const first = holding(store)
  const second = holding(store)
  await elapse(29 * SECOND)
  expect([first.isValid(), second.leases.length]).toEqual([true, 0])
  await elapse(SECOND)
  expect([first.isValid(), second.isValid()]).toEqual([false, true])
  first.finish()
  second.finish()
  await Promise.all([first.result, second.result])
})

test.each([Number.POSITIVE_INFINITY, 1e300])('a lease of %d ms is as good as one without end', async (duration) => {
  const store = memoryStore()
  const first = holding(store, duration)
  const second = holding(store)
  await elapse(10 * MINUTE, MINUTE)
  expect([first.isValid(), second.leases.length]).toEqual([true, 0])
  first.finish()
  await first.result
  await turns()
  expect(second.isValid()).toBe(true)
  second.finish()
  await second.result
})

test('a lock that was given back leaves no timer behind', async () => {
  const store = memoryStore()
  await store.lock('alice', async () => {})
  await store.lock('alice', () => Promise.reject(new Error('fails'))).catch(() => {})
  expect(vi.getTimerCount()).toBe(0)
})

test('those who wait for a lock have it in the order in which they came', async () => {
  const store = memoryStore()
  const order: number[] = []
  const one = (n: number) => store.lock('alice', async () => void order.push(n))
  const first = [one(0), one(1), one(2)]
  await first[0]
  await Promise.all([...first, one(3), one(4)])
  expect(order).toEqual([0, 1, 2, 3, 4])
})
