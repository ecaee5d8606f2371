import { describe, expect, test } from 'vitest'
import { type Fleet, startFleet, until } from './start-fleet.ts'

/** The long form is KEYTURN_PROCESSES=100 KEYTURN_EXPIRIES=10 KEYTURN_USERS=50. */
const PROCESSES = Number(process.env.KEYTURN_PROCESSES ?? 6)
const EXPIRIES = Number(process.env.KEYTURN_EXPIRIES ?? 2)
const USERS = Number(process.env.KEYTURN_USERS ?? 10)
/** Seconds; a machine that is busy otherwise needs more. */
const LIFETIME = Number(process.env.KEYTURN_LIFETIME ?? 5)
/** Of a request, milliseconds. */
const timeout = 10_000
const limit = 120_000 + PROCESSES * 6_000 + EXPIRIES * LIFETIME * 1_000

/** Nobody has met an error, but one who was frozen: what it was waiting for has timed out meanwhile. */
async function servedAll(fleet: Fleet, frozen = -1): Promise<void> {
  for (const { index, errors, expired, foreign, served } of await fleet.reports()) {
    expect([expired, foreign]).toEqual([[], []])
    expect(errors.filter(({ code }) => index !== frozen || code !== 'timeout')).toEqual([])
    expect(served).toBeGreaterThan(0)
  }
}

/** From now on it is one request per expiry for all of them. */
async function converges({ server, tokens, afterwards }: Fleet): Promise<void> {
  // What is bought until all have the same is a part of coming together.
  await until(async () => new Set(await tokens()).size === 1)
  const before = server.requests.length
  const after = await afterwards(await tokens())
  expect(new Set(after).size).toBe(1)
  expect(server.requests.length).toBe(before + 1)
}

// They mostly wait, so they wait together, unless they are so many that they fill the machine.
describe('a fleet on one Redis', { timeout: limit, concurrent: PROCESSES <= 10 }, () => {
  test(`${PROCESSES} processes ask once cold, and once per expiry, ${EXPIRIES} times`, async () => {
    await using fleet = await startFleet({ count: PROCESSES, lifetime: LIFETIME, timeout })
    const { requests } = fleet.server
    await fleet.beginAndServe()
    expect(requests.length).toBe(1)
    for (let expiry = 1; expiry <= EXPIRIES; expiry++) {
      await fleet.afterwards(await fleet.tokens())
      expect(requests.length).toBe(1 + expiry)
    }
    await servedAll(fleet)
  })

  for (const fate of ['kill', 'freeze'] as const) {
    const gone = ({ redis }: Fleet) => redis[fate]()
    const back = ({ redis }: Fleet) => (fate === 'kill' ? redis.start() : redis.thaw())
    /** How often each of them has asked since the nth request. */
    const since = ({ server, workers }: Fleet, nth: number) =>
      workers.map((_, index) => server.requests.slice(nth).filter(({ worker }) => worker === index).length)

    test(`Redis is gone (${fate}) when all begin: each asks for itself, and they come together when it is back`, async () => {
      await using fleet = await startFleet({ count: 3, lifetime: LIFETIME, timeout })
      await gone(fleet)
      await fleet.beginAndServe()
      expect(since(fleet, 0)).toEqual([1, 1, 1])
      await back(fleet)
      await converges(fleet)
      await servedAll(fleet)
    })

    test(`Redis is gone (${fate}) through an expiry: nobody notices, and nobody asks twice`, async () => {
      await using fleet = await startFleet({ count: 3, lifetime: LIFETIME, timeout })
      await fleet.beginAndServe()
      const first = await fleet.tokens()
      await gone(fleet)
      await fleet.afterwards(first)
      expect(Math.max(...since(fleet, 1))).toBe(1)
      await back(fleet)
      await converges(fleet)
      await servedAll(fleet)
    })

    test(`Redis goes (${fate}) in mid-renewal: nobody notices, and nobody asks twice`, async () => {
      await using fleet = await startFleet({ count: 3, lifetime: LIFETIME, timeout })
      const { requests, hold, release } = fleet.server
      await fleet.beginAndServe()
      const first = await fleet.tokens()
      hold()
      await until(() => requests.length > 1)
      await gone(fleet)
      release()
      await fleet.afterwards(first)
      expect(Math.max(...since(fleet, 1))).toBe(1)
      await back(fleet)
      await converges(fleet)
      await servedAll(fleet)
    })
  }

  /** A lease that ends before the token does, or soon after. */
  const brief = LIFETIME * 250
  for (const fate of ['SIGKILL', 'SIGSTOP'] as const) {
    test(`where the elected renewer gets ${fate}, another takes over after its lease, and what is newer stays`, async () => {
      await using fleet = await startFleet({ count: 3, lifetime: 2 * LIFETIME, timeout: brief })
      const { requests, hold, release } = fleet.server
      await fleet.beginAndServe()
      const first = await fleet.tokens()
      hold()
      await until(() => requests.length === 2)
      const struck = fleet.senderOf(2)
      struck.signal(fate)
      release() // its answer comes, and nobody is there to take it
      await until(() => requests.length === 3)
      expect(Number(requests[2]?.at) - Number(requests[1]?.at)).toBeGreaterThan(2.5 * brief)
      expect(fleet.senderOf(3).index).not.toBe(struck.index)
      const newest = await fleet.stored()
      expect(first).not.toContain(newest)
      if (fate === 'SIGSTOP') struck.signal('SIGCONT')
      expect(new Set(await fleet.afterwards(first))).toEqual(new Set([newest]))
      expect(await fleet.stored()).toBe(newest)
      expect(requests.length).toBe(3)
      await servedAll(fleet, struck.index)
    })
  }

  test(`rotating sessions of ${USERS} users: no refresh token is sent twice, and none for another, though Redis falls`, async () => {
    const users = Array.from({ length: USERS }, (_, n) => `user-${n}`)
    await using fleet = await startFleet({
      count: Math.min(8, PROCESSES),
      lifetime: LIFETIME,
      timeout: 30_000,
      users,
      kept: true,
    })
    const { requests, reused } = fleet.server
    fleet.begin()
    for (let expiry = 1; expiry <= EXPIRIES; expiry++) await until(() => requests.length >= USERS * expiry)
    await fleet.redis.kill()
    await until(() => Date.now() - Number(requests.at(-1)?.at) > 1_500) // nobody asks without it
    await fleet.redis.start()
    const before = requests.length
    for (const more of [1, 2]) await until(() => requests.length >= before + more * USERS)
    const sent = requests.map(({ refreshToken }) => refreshToken)
    expect([reused, sent.filter((token, i) => sent.indexOf(token) !== i)]).toEqual([[], []])
    for (const { errors, expired, foreign, states } of await fleet.reports()) {
      expect([expired, foreign]).toEqual([[], []])
      expect(new Set(states)).toEqual(new Set(['signedIn']))
      for (const error of errors) expect(error).toMatchObject({ code: 'storage', retryable: true })
    }
  })
})
