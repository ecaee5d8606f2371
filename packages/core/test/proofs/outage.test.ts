import { memoryStore, refreshToken, type TokenManager, TokenUnavailableError } from '@keyturn/core'
import { expect, test } from 'vitest'
import { type Fault, testAuthorizationServer } from '../authorization-server.ts'
import { elapse, HOUR, MINUTE, movedTime, outcome, SECOND, sourceAt } from '../renewal-harness.ts'

movedTime()

const DAY = 24 * HOUR
const CALLERS = 20
/** How much of the day is lived through; all of it takes some minutes. */
const SPAN = Number(process.env.PROOF_HOURS ?? 0.5) * HOUR
const LIFETIME = 5 * MINUTE

const troubles: [string, Fault][] = [
  ['503', { status: 503 }],
  ['no network', { lost: 'request' }],
  ['a captive portal', { status: 200, body: '<html>', headers: { 'content-type': 'text/html' } }],
]

/** Callers of every second, spread over all managers; every failure is typed, at once, and says when to come back. */
async function aSecond(sources: TokenManager[]): Promise<number> {
  const calls = Array.from({ length: CALLERS }, (_, n) => outcome(turnOf(sources, n).getAccessToken()))
  let failures = 0
  for (const { error, after } of await Promise.all(calls)) {
    if (error === undefined) continue
    failures++
    if (!(error instanceof TokenUnavailableError)) throw error
    // Every call has its own assertion, but `expect` for each of a million takes too long.
    if (after !== 0 || !error.retryable || !(error.retryAt > Date.now())) expect({ after, error }).toBeUndefined()
  }
  await elapse(SECOND, SECOND)
  return failures
}

const turnOf = <T>(all: T[], n: number): T => all[n % all.length] as T

test.each(troubles)(
  'an outage (%s) with 20 callers a second on three managers costs 1,000 requests a day at most, and is over within 2 minutes',
  { timeout: 30 * MINUTE },
  async (_, fault) => {
    const server = testAuthorizationServer({ lifetime: LIFETIME / SECOND })
    const { options } = sourceAt(server, { store: memoryStore() })
    const seed = server.newRefreshToken()
    const sources = Array.from({ length: 3 }, () => refreshToken({ ...options, refreshToken: seed }))
    for (const source of sources) source.subscribe(() => {})
    await aSecond(sources)
    const [token] = await Promise.all(sources.map((source) => source.getAccessToken()))
    const before = server.tokenRequests().length
    server.always(fault)
    let failures = 0
    for (let time = 0; time < SPAN; time += SECOND) {
      const failed = await aSecond(sources)
      if (server.accepts(token ?? '')) expect(failed, 'while the token is valid').toBe(0)
      failures += failed
    }
    const spent = server.tokenRequests().length - before
    expect(spent).toBeLessThanOrEqual(Math.min(1000, (1000 * SPAN) / DAY + 15))
    expect(failures).toBeGreaterThan(((SPAN - 2 * LIFETIME) / SECOND) * CALLERS)
    for (const { session } of sources) expect(session).toMatchObject({ status: 'signedIn', freshness: 'stale' })

    server.always(undefined)
    let seconds = 0
    while ((await aSecond(sources)) > 0) seconds++
    expect(seconds).toBeLessThanOrEqual(120)
    for (const source of sources) {
      expect(server.accepts(await source.getAccessToken())).toBe(true)
      expect(source.session).toMatchObject({ status: 'signedIn', freshness: 'fresh' })
    }
    expect(server.reuses).toEqual([])
  },
)
