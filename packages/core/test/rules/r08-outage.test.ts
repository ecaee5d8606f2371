import { clientCredentials, refreshToken, type SourceOptions, TokenManager, TokenUnavailableError } from '@keyturn/core'
import { expect, test, vi } from 'vitest'
import { testAuthorizationServer } from '../authorization-server.ts'
import { elapse, HOUR, MINUTE, movedTime, outcome, SECOND, sourceAt, troubledStore } from '../renewal-harness.ts'

movedTime()

test.each([
  ['clientCredentials', clientCredentials],
  [
    "a grant of the app's own",
    (options: SourceOptions) =>
      new TokenManager((client) => client.tokenRequest('own', new URLSearchParams()), options),
  ],
])(
  'R8: invalid_grant to who has presented nothing is a refusal that backs off, not a request per call (%s)',
  async (_, begin) => {
    const server = testAuthorizationServer()
    const source = begin(sourceAt(server).options)
    server.always({ status: 400, body: { error: 'invalid_grant' } })
    for (let call = 0; call < 1000; call++) {
      const { error } = await outcome(source.getAccessToken())
      expect(error).toMatchObject({ name: 'AuthorizationServerError', error: 'invalid_grant' })
      await elapse(3 * SECOND)
    }
    expect(server.tokenRequests().length).toBeLessThan(50)
  },
)

test.each(['clientCredentials', 'refreshToken'] as const)(
  'R8: a day of outage costs at most 1,000 requests, and all work again within 2 minutes of its end (%s)',
  async (kind) => {
    const server = testAuthorizationServer()
    const { store } = troubledStore()
    const { options } = sourceAt(server, { store })
    const seed = server.newRefreshToken()
    const sources = Array.from({ length: 2 }, () =>
      kind === 'refreshToken' ? refreshToken({ ...options, refreshToken: seed }) : clientCredentials(options),
    )
    for (const source of sources) await source.getAccessToken()
    await elapse(2 * HOUR, 20 * SECOND)
    const before = server.tokenRequests().length
    const sample = sources[0]
    server.always({ status: 503 })
    const end = Date.now() + 24 * HOUR
    for (let turn = 0; Date.now() < end; turn++) {
      // As if somebody asked all the time: several ask now, the first to ask again does so when that may work.
      const calls = Array.from({ length: 6 }, (_, index) => sources[(turn + index) % 2]?.getAccessToken())
      const [first] = await Promise.all(calls.map((call) => outcome(call ?? Promise.resolve(''))))
      if (!(first?.error instanceof TokenUnavailableError)) throw new Error('That was to fail')
      vi.advanceTimersByTime(Math.ceil(first.error.retryAt - Date.now()) || 1)
    }
    const spent = server.tokenRequests().length - before
    expect(spent).toBeLessThanOrEqual(1000)
    expect(spent).toBeGreaterThan(500)
    server.always(undefined)
    await elapse(2 * MINUTE, SECOND)
    for (const source of sources) expect(server.accepts(await source.getAccessToken())).toBe(true)
    expect(sample?.session).toMatchObject({ status: 'signedIn', freshness: 'fresh' })
  },
)
