import { type Lease, memoryStore, refreshToken } from '@keyturn/core'
import { expect, test, vi } from 'vitest'
import { testAuthorizationServer } from './authorization-server.ts'
import {
  elapse,
  MINUTE,
  movedTime,
  SECOND,
  settled,
  sourceAt,
  timersNeverFire,
  troubledStore,
  turns,
} from './renewal-harness.ts'

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

/** A refresh token that others share is sent under the store's lock only. */
async function shared(trouble: Partial<ReturnType<typeof troubledStore>['trouble']>) {
  const server = testAuthorizationServer()
  const { store, trouble: troubles } = troubledStore()
  const { options, warnings } = sourceAt(server, { store, timeout: SECOND })
  const source = refreshToken({ ...options, refreshToken: server.newRefreshToken() })
  const rejectedToken = await source.getAccessToken()
  await elapse(MINUTE)
  Object.assign(troubles, trouble)
  return { warnings, server, ...(await settled(source.getAccessToken({ rejectedToken }), MINUTE)) }
}

test('a lock that fails is named in the error, and nothing is sent', async () => {
  const { error, server } = await shared({ lock: 'throws' })
  expect(error).toMatchObject({
    code: 'storage',
    message: expect.stringMatching(/^The token store could not lock; /),
    cause: { message: 'the disk is full (lock)' },
  })
  expect(server.tokenRequests()).toHaveLength(1)
})

test('a lock that is not to be had is given up after four time-outs', async () => {
  const { error, after, server } = await shared({ lock: 'hangs' })
  expect(error).toMatchObject({
    code: 'storage',
    message: expect.stringMatching(/^The lock of the token store was not to be had; /),
  })
  expect(after).toBe(4 * SECOND)
  expect(server.tokenRequests()).toHaveLength(1)
})

test.each([
  ['throws', 0, 'the token store could not unlock'],
  ['hangs', SECOND, 'the token store could not unlock: The lock of the token store was not given back'],
] as const)('a lock whose return %s takes nothing from what was earned under it', async (unlock, most, warning) => {
  const { value, after, server, warnings } = await shared({ unlock })
  expect(server.accepts(value ?? '')).toBe(true)
  expect(after).toBe(most)
  expect(warnings).toEqual([warning])
})
