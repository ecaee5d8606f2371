import { password } from '@keyturn/core'
import { expect, test, vi } from 'vitest'
import { testAuthorizationServer, USER } from '../authorization-server.ts'
import { elapse, HOUR, movedTime, outcome, SECOND, setClock, sourceAt, timersNeverFire } from '../renewal-harness.ts'

movedTime()

/** `expires_in` as a server may send it, and the seconds that it is taken for. */
const lifetimes: [unknown, number][] = [
  [undefined, 300],
  [null, 300],
  ['3600', 3600],
  ['abc', 300],
  [0, 300],
  [1, 1],
  [-1, 300],
  [2 ** 31, 365 * 86_400],
  [1e300, 365 * 86_400],
]
const skews = [-3 * HOUR, 0, 3 * HOUR]
const timers = ['timers', 'no timers'] as const
const cases = lifetimes.flatMap(([lifetime, seconds]) =>
  skews.flatMap((skew) => timers.map((timer) => [lifetime, skew / HOUR, timer, seconds] as const)),
)

test.each(cases)(
  'expires_in %j, a server %i h ahead, %s, and clocks that jump by an hour: no expired token, and no more renewals than one per jump',
  async (lifetime, hours, timer, seconds) => {
    const server = testAuthorizationServer({ lifetime, skew: hours * HOUR })
    const { options, warnings } = sourceAt(server, { scope: 'openid' })
    const source = password({ ...options, ...USER })
    if (timer === 'no timers') timersNeverFire()
    const step = Math.min(seconds * 50, 10 * 60 * SECOND)
    const jumps: Record<number, number> = { 40: HOUR, 80: -HOUR, 81: -HOUR, 120: HOUR }
    const asked = new Map<string, number>()
    const start = performance.now()
    for (let ask = 0; ask < 200; ask++) {
      setClock(jumps[ask] ?? 0)
      const { value: token = '', error } = await outcome(source.getAccessToken())
      expect(error).toBeUndefined()
      if (!asked.has(token)) asked.set(token, performance.now())
      const age = performance.now() - (asked.get(token) ?? 0)
      expect(age, 'no token is older than it may be').toBeLessThan(seconds * SECOND)
      if (timer === 'timers') await elapse(step, step)
      else vi.advanceTimersByTime(step)
    }
    const elapsed = performance.now() - start
    const forward = Object.values(jumps).filter((by) => by > 0).length
    const most = elapsed / (0.75 * seconds * SECOND) + 1 + forward
    expect(server.tokenRequests().length).toBeLessThanOrEqual(Math.floor(most))
    expect(source.session).toMatchObject({ status: 'signedIn', claims: { sub: USER.username }, freshness: 'fresh' })
    expect(source.stats()).toMatchObject({ failures: 0, degradations: 0 })
    expect(warnings).toEqual([])
  },
)
