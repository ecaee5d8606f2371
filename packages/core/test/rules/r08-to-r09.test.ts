import { clientCredentials, password, refreshToken, TokenUnavailableError } from '@keyturn/core'
import { expect, test, vi } from 'vitest'
import { testAuthorizationServer, USER } from '../authorization-server.ts'
import {
  elapse,
  HOUR,
  MINUTE,
  movedTime,
  outcome,
  SECOND,
  settled,
  sourceAt,
  troubledStore,
  turns,
} from '../renewal-harness.ts'

movedTime()

/** A call every second; the times at which requests arrived, in seconds since the first. */
async function pacing(seconds: number, call: () => Promise<unknown>, times: () => number[]): Promise<number[]> {
  for (let second = 0; second < seconds; second++) {
    await outcome(call())
    await elapse(SECOND, SECOND)
  }
  const [first = 0, ...rest] = times()
  return rest.map((at, index) => (at - (index === 0 ? first : (rest[index - 1] ?? 0))) / SECOND)
}

test('R8: the back-off doubles from 1 s to 2 minutes, with jitter of half of it', async () => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  server.always({ status: 503 })
  const gaps = await pacing(
    1500,
    () => source.getAccessToken(),
    () => server.tokenRequests().map(({ at }) => at),
  )
  const delays = [1, 2, 4, 8, 16, 32, 64, 120, 120, 120, 120, 120]
  expect(gaps.length).toBeGreaterThanOrEqual(delays.length)
  for (const [index, delay] of delays.entries()) {
    expect(gaps[index]).toBeGreaterThanOrEqual(Math.floor(delay / 2))
    expect(gaps[index]).toBeLessThanOrEqual(delay + 1)
  }
  expect(new Set(gaps.slice(7)).size).toBeGreaterThan(1)
})

test('R8: callers without a valid token fail at once during the back-off, and are told when it ends', async () => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  server.always({ status: 503 })
  const first = await outcome(source.getAccessToken())
  const { error, after } = await outcome(source.getAccessToken())
  expect(after).toBe(0)
  for (const one of [first.error, error]) {
    expect(one).toBeInstanceOf(TokenUnavailableError)
    expect(one).toMatchObject({ code: 'server-error', retryable: true })
    expect((one as TokenUnavailableError).retryAt - Date.now()).toBeGreaterThanOrEqual(500)
    expect((one as TokenUnavailableError).retryAt - Date.now()).toBeLessThanOrEqual(1000)
  }
  expect(server.tokenRequests()).toHaveLength(1)
})

test.each([
  ['seconds', '90', 90],
  ['a date', new Date(Date.parse('2030-01-01T00:01:30Z')).toUTCString(), 90],
  ['a week, of which an hour is believed', '604800', 3600],
])('R8: Retry-After is obeyed: %s', async (_, header, seconds) => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  server.next([{ status: 429, headers: { 'retry-after': header } }])
  const { error } = await outcome(source.getAccessToken())
  expect(error).toMatchObject({ code: 'throttled', retryAt: Date.now() + seconds * SECOND })
  await elapse((seconds - 1) * SECOND, 10 * SECOND)
  expect((await outcome(source.getAccessToken())).error).toMatchObject({ code: 'throttled' })
  expect(server.tokenRequests()).toHaveLength(1)
  await elapse(SECOND, SECOND)
  expect(server.accepts(await source.getAccessToken())).toBe(true)
})

test.each(['', '-5', 'soon', '0', 'NaN', new Date(0).toUTCString()])(
  'R8: a Retry-After of %j leaves the usual back-off',
  async (header) => {
    const server = testAuthorizationServer()
    const source = clientCredentials(sourceAt(server).options)
    server.always({ status: 429, headers: { 'retry-after': header } })
    for (let call = 0; call < 100; call++) await outcome(source.getAccessToken())
    expect(server.tokenRequests()).toHaveLength(1)
  },
)

test('R8: the back-off is shared by all who share a store, and outlives them', async () => {
  const server = testAuthorizationServer()
  const { store } = troubledStore()
  const { options } = sourceAt(server, { store })
  server.always({ status: 429, headers: { 'retry-after': '600' } })
  const sources = Array.from({ length: 5 }, () => clientCredentials(options))
  for (const source of sources)
    expect((await outcome(source.getAccessToken())).error).toMatchObject({ code: 'throttled' })
  const restarted = clientCredentials(options)
  expect((await outcome(restarted.getAccessToken())).error).toMatchObject({
    code: 'throttled',
    retryAt: Date.now() + 600 * SECOND,
  })
  expect(server.tokenRequests()).toHaveLength(1)
})

test('R8: during an outage nothing is sent for a machine token that nobody asks for', async () => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  await source.getAccessToken()
  server.always({ status: 503 })
  await elapse(24 * HOUR, 10 * SECOND)
  expect(server.tokenRequests()).toHaveLength(1)
})

test('R8: during an outage a session that nobody asks for is tried while its token is about to end, and not all day', async () => {
  const server = testAuthorizationServer()
  const source = refreshToken({ ...sourceAt(server).options, refreshToken: server.newRefreshToken() })
  await source.getAccessToken()
  server.always({ status: 503 })
  await elapse(6 * HOUR, 5 * SECOND)
  expect(server.tokenRequests().length).toBeGreaterThan(1)
  expect(server.tokenRequests().length).toBeLessThan(30)
})

test('R8: a session whose token nobody uses is not renewed for ever', async () => {
  const server = testAuthorizationServer()
  const { options } = sourceAt(server)
  const source = refreshToken({ ...options, refreshToken: server.newRefreshToken() })
  await source.getAccessToken()
  await elapse(24 * HOUR, 10 * SECOND)
  expect(server.tokenRequests().length).toBeLessThanOrEqual(2)
})

test('R8: 1,000 callers × 503 three times: one request a time, and all are served by the fourth', async () => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  await source.getAccessToken()
  vi.advanceTimersByTime(2 * HOUR)
  server.next([{ status: 503 }, { status: 503 }, { status: 503 }])
  let served = 0
  for (let wave = 0; wave < 4; wave++) {
    const outcomes = await Promise.all(Array.from({ length: 1000 }, () => outcome(source.getAccessToken())))
    const codes = new Set(outcomes.map(({ error }) => error?.code))
    expect([...codes]).toEqual([wave < 3 ? 'server-error' : undefined])
    served += outcomes.filter(({ value }) => server.accepts(value ?? '')).length
    await elapse(2 ** wave * SECOND + 1, 100)
  }
  expect(served).toBe(1000)
  expect(server.tokenRequests()).toHaveLength(5)
})

test('R8: a refused token is renewed once; the next that are refused at once are renewed after 1 s, 2 s, 4 s …', async () => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  let token = await source.getAccessToken()
  for (let tenth = 0; tenth < 600 * 10; tenth++) {
    const { value, error } = await outcome(source.getAccessToken({ rejectedToken: token }))
    if (error) expect(error).toMatchObject({ code: 'token-rejected', retryable: true })
    expect(value).not.toBe(token)
    token = value ?? token
    vi.advanceTimersByTime(100)
  }
  const times = server.tokenRequests().map(({ at }) => at)
  const gaps = times.slice(1).map((at, index) => (at - (times[index] ?? 0)) / SECOND)
  expect(gaps.slice(0, 9).map(Math.round)).toEqual([0, 1, 2, 4, 8, 16, 32, 64, 120])
})

test('R8: a token that worked for a while and is then refused is renewed at once', async () => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  for (let round = 0; round < 10; round++) {
    const token = await source.getAccessToken()
    vi.advanceTimersByTime(MINUTE)
    expect((await outcome(source.getAccessToken({ rejectedToken: token }))).error).toBeUndefined()
  }
  expect(server.tokenRequests()).toHaveLength(11)
})

test('R8: what the server issues again unchanged is never handed back to those who refused it', async () => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  server.always({ change: (answer) => ({ ...answer, access_token: 'always-the-same' }) })
  expect(await source.getAccessToken()).toBe('always-the-same')
  for (let call = 0; call < 100; call++) {
    const { value, error } = await settled(source.getAccessToken({ rejectedToken: 'always-the-same' }), SECOND)
    expect(value).toBeUndefined()
    expect(error).toMatchObject({ name: 'TokenUnavailableError', code: 'token-rejected' })
    expect((error as TokenUnavailableError).retryAt).toBeGreaterThan(Date.now())
    await elapse(SECOND, SECOND)
  }
  expect(server.tokenRequests().length).toBeLessThan(12)
})

test('R8: … nor after it had worked for a while', async () => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  server.always({ change: (answer) => ({ ...answer, access_token: 'always-the-same' }) })
  await source.getAccessToken()
  await elapse(MINUTE)
  const { value, error } = await outcome(source.getAccessToken({ rejectedToken: 'always-the-same' }))
  expect(value).toBeUndefined()
  expect(error).toMatchObject({ name: 'TokenUnavailableError', code: 'token-rejected' })
})

test('R8: … nor asked for at every call, however old it is by then', async () => {
  const server = testAuthorizationServer({ lifetime: 86_400 })
  const source = clientCredentials(sourceAt(server).options)
  server.always({ change: (answer) => ({ ...answer, access_token: 'always-the-same' }) })
  await source.getAccessToken()
  await elapse(MINUTE)
  for (let call = 0; call < 100; call++) {
    const { value } = await outcome(source.getAccessToken({ rejectedToken: 'always-the-same' }))
    expect(value).toBeUndefined()
    await elapse(SECOND, SECOND)
  }
  expect(server.tokenRequests().length).toBeLessThan(12)
})

test('R9: a server that lets the same token live longer is believed', async () => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  server.always({ change: (answer) => ({ ...answer, access_token: 'always-the-same' }) })
  await source.getAccessToken()
  vi.setSystemTime(Date.now() + 2 * HOUR)
  for (let call = 0; call < 100; call++) expect(await source.getAccessToken()).toBe('always-the-same')
  expect(server.tokenRequests()).toHaveLength(2)
})

const lifetimes: [unknown, number][] = [
  [undefined, 300],
  [null, 300],
  ['3600', 3600],
  [' 60 ', 60],
  ['abc', 300],
  ['', 300],
  [0, 300],
  [-1, 300],
  [1, 1],
  [2 ** 31, 365 * 86_400],
  [1e300, 365 * 86_400],
  ['Infinity', 365 * 86_400],
  [true, 300],
  [[3600], 300],
  [{}, 300],
]

test.each(lifetimes)('R9: expires_in %j is taken for %i s', async (lifetime, seconds) => {
  const server = testAuthorizationServer({ lifetime })
  const source = clientCredentials(sourceAt(server).options)
  const { expiresAt, issuedAt } = await source.getTokenSet()
  expect([issuedAt, expiresAt]).toEqual([Date.now(), Date.now() + seconds * SECOND])
  for (let call = 0; call < 100; call++) await source.getAccessToken()
  expect(server.tokenRequests()).toHaveLength(1)
})

test.each([0.001, '0.0001', 1e-300, Number.MIN_VALUE])(
  'R9: expires_in %j does not buy a request per call',
  async (lifetime) => {
    const server = testAuthorizationServer({ lifetime })
    const source = clientCredentials(sourceAt(server).options)
    for (let call = 0; call < 100; call++) {
      await source.getAccessToken()
      vi.advanceTimersByTime(10)
    }
    expect(server.tokenRequests().length).toBeLessThanOrEqual(4)
  },
)

test('R9: renewals are no more than time ÷ (0.75 × lifetime) + 1, and no expired token is handed out', async () => {
  for (const lifetime of [1, 5, 60, '120', null, 3600]) {
    const server = testAuthorizationServer({ lifetime })
    const source = refreshToken({ ...sourceAt(server).options, refreshToken: server.newRefreshToken() })
    const seconds = Number(lifetime) || 300
    const span = seconds * 20
    for (let time = 0; time < span; time += seconds / 20) {
      const { accessToken, expiresAt } = await source.getTokenSet()
      expect(expiresAt).toBeGreaterThan(Date.now())
      expect(accessToken).toMatch(/^access-token/)
      await elapse((seconds / 20) * SECOND, (seconds / 20) * SECOND)
    }
    expect(server.tokenRequests().length).toBeLessThanOrEqual(span / (0.75 * seconds) + 1)
  }
})

test('R9: the lifetime counts from before the request was sent', async () => {
  const server = testAuthorizationServer({ lifetime: 60 })
  const source = clientCredentials(sourceAt(server).options)
  server.next([{ delay: 8 * SECOND }])
  const sentAt = Date.now()
  await settled(source.getAccessToken(), 10 * SECOND)
  expect((await source.getTokenSet()).expiresAt).toBe(sentAt + MINUTE)
})

test('R9: refresh_token null is none', async () => {
  const server = testAuthorizationServer()
  const source = password({ ...sourceAt(server).options, ...USER })
  server.next([{ change: (answer) => ({ ...answer, refresh_token: null }) }])
  expect(await source.getAccessToken()).toBeDefined()
  await elapse(2 * HOUR, MINUTE)
  await source.getAccessToken()
  expect(server.tokenRequests().map(({ grantType }) => grantType)).toEqual(['password', 'password'])
})

test('R9: a challenge that comes with a 400 invalid_grant does not hide the code', async () => {
  const server = testAuthorizationServer()
  const source = refreshToken({ ...sourceAt(server).options, refreshToken: server.newRefreshToken() })
  const headers = { 'www-authenticate': 'Bearer error="invalid_token"' }
  server.next([{ status: 400, body: { error: 'invalid_grant' }, headers }])
  expect((await outcome(source.getAccessToken())).error).toMatchObject({ code: 'session-ended' })
  expect(source.session).toMatchObject({ ended: { error: 'invalid_grant' } })
})

test.each([
  ['an empty object', {}],
  ['an access token that is no text', { access_token: 5, token_type: 'bearer' }],
  ['no token type', { access_token: 'a' }],
  ['a DPoP token that nobody asked for', { access_token: 'a', token_type: 'DPoP' }],
  ['an array', [{ access_token: 'a', token_type: 'bearer' }]],
  ['2 MB', { access_token: 'a'.repeat(2_000_000), token_type: 'bearer' }],
  ['half of it', '{"access_token":"a","token_ty'],
  ['null', 'null'],
  ['nothing', ''],
])('R9: a 200 with %s is an error that may pass', async (_, body) => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  server.always({ body })
  const { error } = await outcome(source.getAccessToken())
  expect(error).toMatchObject({ name: 'TokenUnavailableError', code: 'invalid-response', retryable: true })
  server.always(undefined)
  await elapse(SECOND)
  expect(server.accepts(await source.getAccessToken())).toBe(true)
})

test.each([
  ['an unknown member', { __proto__: { polluted: true }, constructor: 1, unknown: {} }],
  ['a type in capitals', { token_type: 'BEARER' }],
  ['scope as a list', { scope: ['a', 'b'] }],
  ['an error that is null', { error: null, error_description: null }],
])('R9: %s does not break an answer that can be used', async (_, members) => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  server.next([{ change: (answer) => ({ ...answer, ...members }) }])
  expect(server.accepts(await source.getAccessToken())).toBe(true)
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined()
  await turns()
})
