import { clientCredentials, memoryStore, type OAuthError, refreshToken } from '@keyturn/core'
import { setupServer } from 'msw/node'
import { expect, test, vi } from 'vitest'
import { testAuthorizationServer } from './authorization-server.ts'
import { elapse, HOUR, movedTime, outcome, SECOND, settled, sourceAt, turns } from './renewal-harness.ts'

movedTime()

const CALLERS = 1000
const kinds = ['clientCredentials', 'refreshToken'] as const

function sourceOf(kind: (typeof kinds)[number], server: ReturnType<typeof testAuthorizationServer>) {
  const { options, warnings } = sourceAt(server)
  const source =
    kind === 'clientCredentials'
      ? clientCredentials(options)
      : refreshToken({ ...options, refreshToken: server.newRefreshToken() })
  const crowd = () => Promise.all(Array.from({ length: CALLERS }, () => outcome(source.getAccessToken())))
  return { source, crowd, warnings }
}

const codes = (results: { error?: OAuthError | undefined }[]) => [...new Set(results.map(({ error }) => error?.code))]

test.each(kinds)('a thousand callers on a cold %s source cost one request, and one at every expiry', async (kind) => {
  const server = testAuthorizationServer()
  const { source, crowd, warnings } = sourceOf(kind, server)
  for (let expiry = 1; expiry <= 5; expiry++) {
    const results = await crowd()
    expect(codes(results)).toEqual([undefined])
    expect(new Set(results.map(({ value }) => value)).size).toBe(1)
    expect(server.accepts(results[0]?.value ?? '')).toBe(true)
    expect(server.tokenRequests()).toHaveLength(expiry)
    vi.setSystemTime(Date.now() + 3601 * SECOND) // no timer of ours has run by the time they come
  }
  expect(source.stats()).toMatchObject({ tokenRequests: 5, failures: 0, degradations: 0 })
  expect(warnings).toEqual([])
})

test.each(kinds)(
  'a thousand callers of a %s source with 30 s left cost one request and wait for nothing',
  async (kind) => {
    const server = testAuthorizationServer()
    const { source, crowd } = sourceOf(kind, server)
    const first = await source.getAccessToken()
    vi.setSystemTime(Date.now() + 3570 * SECOND)
    server.next([{ delay: SECOND }])
    const results = await crowd()
    expect(new Set(results.map(({ value }) => value))).toEqual(new Set([first]))
    expect(Math.max(...results.map(({ after }) => after))).toBe(0)
    await elapse(2 * SECOND)
    expect(server.tokenRequests()).toHaveLength(2)
    expect(await source.getAccessToken()).not.toBe(first)
  },
)

test.each(kinds)('a thousand callers of a %s source and 429 with Retry-After cost one request', async (kind) => {
  const server = testAuthorizationServer()
  const { crowd } = sourceOf(kind, server)
  server.next([{ status: 429, headers: { 'retry-after': '20' } }])
  expect(codes(await crowd())).toEqual(['throttled'])
  await elapse(19 * SECOND)
  expect(codes(await crowd())).toEqual(['throttled'])
  expect(server.tokenRequests()).toHaveLength(1)
  await elapse(2 * SECOND)
  expect(codes(await crowd())).toEqual([undefined])
  expect(server.tokenRequests()).toHaveLength(2)
})

test('a thousand callers and a server that hangs cost one request, and all settle after one time-out', async () => {
  const server = testAuthorizationServer()
  const { crowd } = sourceOf('clientCredentials', server)
  server.next([{ hang: 'request' }])
  const { value: results = [] } = await settled(crowd(), 11 * SECOND)
  expect(codes(results)).toEqual(['timeout'])
  expect(Math.max(...results.map(({ after }) => after))).toBeLessThanOrEqual(10.5 * SECOND)
  expect(server.tokenRequests()).toHaveLength(1)
})

test('two managers on one store live through 20 expiries of strict rotation without a reuse', async () => {
  const server = testAuthorizationServer({ lifetime: 60 })
  const store = memoryStore()
  const { options, warnings } = sourceAt(server, { store })
  const seed = server.newRefreshToken()
  const [one, two] = [1, 2].map(() => refreshToken({ ...options, refreshToken: seed })) as [
    ReturnType<typeof refreshToken>,
    ReturnType<typeof refreshToken>,
  ]
  for (const source of [one, two]) source.subscribe(() => {})
  for (let expiry = 0; expiry < 20; expiry++) {
    const tokens = await Promise.all(Array.from({ length: 20 }, (_, n) => (n % 2 ? one : two).getAccessToken()))
    for (const token of tokens) expect(server.accepts(token)).toBe(true)
    await elapse(61 * SECOND, SECOND / 2)
  }
  expect(server.reuses).toEqual([])
  const sent = server.tokenRequests().map((request) => request.refreshToken)
  expect(new Set(sent).size).toBe(sent.length)
  expect(sent.length).toBeLessThanOrEqual((20 * 61) / (0.75 * 60) + 1)
  for (const source of [one, two]) {
    expect(source.session).toMatchObject({ status: 'signedIn', freshness: 'fresh' })
    expect(source.stats()).toMatchObject({ failures: 0, degradations: 0 })
  }
  expect(warnings).toEqual([])
})

test('managers of a fleet that share a store share its machine token', async () => {
  const server = testAuthorizationServer()
  const { options } = sourceAt(server, { store: memoryStore() })
  const fleet = Array.from({ length: 10 }, () => clientCredentials(options))
  expect(new Set(await Promise.all(fleet.map((source) => source.getAccessToken()))).size).toBe(1)
  vi.setSystemTime(Date.now() + 2 * HOUR)
  expect(new Set(await Promise.all(fleet.map((source) => source.getAccessToken()))).size).toBe(1)
  expect(server.tokenRequests()).toHaveLength(2)
})

test('a thousand refusals of one token at once are one renewal and a thousand successes', async () => {
  const server = testAuthorizationServer()
  const { source } = sourceOf('refreshToken', server)
  const rejectedToken = await source.getAccessToken()
  const tokens = await Promise.all(Array.from({ length: CALLERS }, () => source.getAccessToken({ rejectedToken })))
  expect(new Set(tokens).size).toBe(1)
  expect(tokens[0]).not.toBe(rejectedToken)
  expect(server.tokenRequests()).toHaveLength(2)
})

test('a thousand refusals that arrive late do not renew again', async () => {
  const server = testAuthorizationServer()
  const { source } = sourceOf('refreshToken', server)
  const rejectedToken = await source.getAccessToken()
  const renewed = await source.getAccessToken({ rejectedToken })
  const tokens = await Promise.all(Array.from({ length: CALLERS }, () => source.getAccessToken({ rejectedToken })))
  expect(new Set(tokens)).toEqual(new Set([renewed]))
  expect(server.tokenRequests()).toHaveLength(2)
})

test('a refusal that arrives during the renewal it does not know of shares that renewal', async () => {
  const server = testAuthorizationServer()
  const { source } = sourceOf('refreshToken', server)
  const rejectedToken = await source.getAccessToken()
  vi.setSystemTime(Date.now() + 3570 * SECOND)
  server.next([{ delay: SECOND }])
  expect(await source.getAccessToken()).toBe(rejectedToken)
  await turns()
  const { value } = await settled(source.getAccessToken({ rejectedToken }), 5 * SECOND)
  expect(value).not.toBe(rejectedToken)
  expect(server.tokenRequests()).toHaveLength(2)
})

test('a refusal that arrives when a token was adopted, and not yet handed out, does not get that token', async () => {
  const server = testAuthorizationServer()
  const store = memoryStore()
  const rejectedToken = await clientCredentials(sourceAt(server, { store }).options).getAccessToken()
  let reads = 0
  const get = async (key: string) => (reads++ === 0 ? undefined : store.get(key))
  const lock: typeof store.lock = async (key, critical, duration) => {
    const value = await store.lock(key, critical, duration)
    await new Promise((resolve) => setTimeout(resolve, SECOND))
    return value
  }
  const source = clientCredentials(sourceAt(server, { store: { get, replace: store.replace, lock } }).options)
  const first = outcome(source.getAccessToken())
  await turns(5)
  const second = outcome(source.getAccessToken({ rejectedToken }))
  await elapse(5 * SECOND, 100)
  expect((await first).value).toBe(rejectedToken)
  const { value } = await second
  expect(value).not.toBe(rejectedToken)
  expect(server.accepts(value ?? '')).toBe(true)
})

test('a refusal of a token that nobody knows gives the valid one', async () => {
  const server = testAuthorizationServer()
  const { source } = sourceOf('clientCredentials', server)
  const token = await source.getAccessToken()
  expect(await source.getAccessToken({ rejectedToken: 'of another time' })).toBe(token)
  expect(server.tokenRequests()).toHaveLength(1)
})

test('a sibling that was told of a refusal first renews for all who share the store', async () => {
  const server = testAuthorizationServer()
  const { options } = sourceAt(server, { store: memoryStore() })
  const [one, two] = [clientCredentials(options), clientCredentials(options)]
  const rejectedToken = await one.getAccessToken()
  expect(await two.getAccessToken()).toBe(rejectedToken)
  const renewed = await one.getAccessToken({ rejectedToken })
  expect(await two.getAccessToken({ rejectedToken })).toBe(renewed)
  expect(server.tokenRequests()).toHaveLength(2)
})

test('an aborted signal rejects with its own reason and leaves the renewal alive', async () => {
  const server = testAuthorizationServer()
  const { source } = sourceOf('refreshToken', server)
  server.next([{ delay: 2 * SECOND }])
  const controller = new AbortController()
  const reason = new Error('the user left the page')
  const left = outcome(source.getAccessToken({ signal: controller.signal }))
  const stays = outcome(source.getAccessToken())
  await elapse(SECOND)
  controller.abort(reason)
  expect((await left).error).toBe(reason)
  await elapse(2 * SECOND)
  expect(server.accepts((await stays).value ?? '')).toBe(true)
  expect(server.tokenRequests()).toHaveLength(1)
})

test('a signal that is aborted already asks for nothing', async () => {
  const server = testAuthorizationServer()
  const { source } = sourceOf('clientCredentials', server)
  const reason = new Error('too late')
  expect((await outcome(source.getAccessToken({ signal: AbortSignal.abort(reason) }))).error).toBe(reason)
  const { error } = await outcome(source.getAccessToken({ signal: AbortSignal.abort() }))
  expect(error).toMatchObject({ name: 'AbortError' })
  expect(server.requests).toEqual([])
})

test('a renewal that everybody abandoned goes on, and its token is there for the next', async () => {
  const server = testAuthorizationServer()
  const { source } = sourceOf('clientCredentials', server)
  server.next([{ delay: SECOND }])
  const controller = new AbortController()
  const left = Array.from({ length: 10 }, () => outcome(source.getAccessToken({ signal: controller.signal })))
  await turns()
  controller.abort()
  for (const { error } of await Promise.all(left)) expect(error).toMatchObject({ name: 'AbortError' })
  await elapse(2 * SECOND)
  expect((await outcome(source.getAccessToken())).after).toBe(0)
  expect(server.tokenRequests()).toHaveLength(1)
})

test('a caller who leaves at any instant of a renewal that fails leaves no rejection behind', async () => {
  for (let microtasks = 0; microtasks < 10; microtasks++) {
    const server = testAuthorizationServer()
    const { source } = sourceOf('clientCredentials', server)
    await source.getAccessToken()
    vi.advanceTimersByTime(3595 * SECOND)
    server.always({ status: 503, delay: SECOND })
    const controller = new AbortController()
    const call = outcome(source.getAccessToken({ signal: controller.signal }))
    for (let count = 0; count < microtasks; count++) await Promise.resolve()
    controller.abort()
    expect((await call).error).toMatchObject({ name: 'AbortError' })
    await source.revoke()
    await elapse(5 * SECOND)
  } // that nothing was unhandled is looked at after every test
})

test('through the real fetch a thousand callers share one request as well', async () => {
  const server = testAuthorizationServer()
  const network = setupServer(...server.handlers)
  network.listen({ onUnhandledFrame: 'error' })
  try {
    const source = clientCredentials(sourceAt(server, { fetch: undefined }).options)
    const tokens = await Promise.all(Array.from({ length: CALLERS }, () => source.getAccessToken()))
    expect(new Set(tokens).size).toBe(1)
    server.next([{ lost: 'request' }])
    const { error } = await outcome(source.getAccessToken({ rejectedToken: tokens[0] }))
    expect(error).toMatchObject({ code: 'network', retryable: true })
    expect(server.tokenRequests()).toHaveLength(2)
  } finally {
    network.close()
  }
})
