import { memoryStore, refreshToken, type SourceOptions, type StoredRecord } from '@keyturn/core'
import { expect, test, vi } from 'vitest'
import { testAuthorizationServer } from './authorization-server.ts'
import { elapse, HOUR, MINUTE, movedTime, outcome, SECOND, settled, sourceAt, turns } from './renewal-harness.ts'

movedTime()

const DAY = 24 * HOUR
const OUTBOX = JSON.stringify(['https://as.example', 'client', 'revocations'])

/** Somebody who signs out while the revocation endpoint is out of reach. */
async function signedOutOffline(more: Partial<SourceOptions> = {}) {
  const server = testAuthorizationServer()
  const store = memoryStore()
  const { options, warnings } = sourceAt(server, { store, ...more })
  const seed = server.newRefreshToken()
  const start = () => refreshToken({ ...options, refreshToken: seed })
  const source = start()
  const token = (await source.getTokenSet()).accessToken
  server.always({ lost: 'request' }, 'revocation')
  await source.revoke()
  const sent = () =>
    server.requests.filter(({ endpoint }) => endpoint === 'revocation').map(({ parameters }) => parameters)
  const isDead = () => !server.accepts(token)
  /** The process is gone; what it would have done later does not happen. */
  const gone = () => source[Symbol.asyncDispose]()
  return { server, store, warnings, start, source, sent, isDead, gone, outbox: () => store.get(OUTBOX) }
}

test('a sign-out while the server is out of reach is finished at the next start, once, and nothing is left', async () => {
  const { server, start, sent, isDead, gone, outbox, warnings } = await signedOutOffline()
  await gone()
  expect(isDead()).toBe(false)
  expect(JSON.stringify(await outbox())).toContain('refresh-token')
  server.always(undefined, 'revocation')
  await elapse(HOUR)
  expect(sent()).toHaveLength(1)
  start().subscribe(() => {})
  await turns(10)
  expect(isDead()).toBe(true)
  expect(await outbox()).toBeUndefined()
  for (const again of [start(), start()]) again.subscribe(() => {})
  await elapse(HOUR)
  expect(sent()).toHaveLength(2)
  expect(sent()[1]?.get('token_type_hint')).toBe('refresh_token')
  expect(warnings).toEqual([])
})

test('what waits to be revoked is no session, not even in the place of one', async () => {
  const { server, start, store, gone, outbox } = await signedOutOffline()
  await gone()
  const waiting = await outbox()
  const before = server.tokenRequests().length
  expect((await outcome(start().getAccessToken())).error).toMatchObject({ code: 'session-ended' })
  const keys = new Set<string>()
  const get: typeof store.get = async (key) => {
    keys.add(key)
    return waiting
  }
  const { options } = sourceAt(server, { store: { ...store, get, replace: async () => true } })
  const misled = refreshToken({ ...options, refreshToken: server.newRefreshToken() })
  await misled.revoke()
  expect([...keys].length).toBeGreaterThan(1)
  expect((await outcome(misled.getAccessToken())).error).toMatchObject({ name: 'LoginRequiredError' })
  expect(server.tokenRequests()).toHaveLength(before)
})

test('of many who share the store one sends', async () => {
  const { server, start, sent, isDead, gone } = await signedOutOffline()
  await gone()
  server.always({ delay: SECOND }, 'revocation')
  await elapse(MINUTE)
  for (let count = 0; count < 8; count++) start().subscribe(() => {})
  await elapse(10 * SECOND)
  expect(isDead()).toBe(true)
  expect(sent()).toHaveLength(2)
})

test('a day of outage costs no more than 1,000 requests, and the sign-out is finished within 2 minutes of its end', async () => {
  const { server, start, sent, isDead } = await signedOutOffline()
  for (let count = 0; count < 3; count++) start().subscribe(() => {})
  await elapse(DAY, 4 * SECOND)
  expect(sent().length).toBeGreaterThan(100)
  expect(sent().length).toBeLessThan(1000)
  server.always(undefined, 'revocation')
  await elapse(2 * MINUTE, SECOND)
  expect(isDead()).toBe(true)
})

test('the server says when it wants to be told again', async () => {
  const { server, source, sent, isDead } = await signedOutOffline()
  server.always({ status: 503, headers: { 'retry-after': '1800' } }, 'revocation')
  await elapse(2 * SECOND)
  expect(sent()).toHaveLength(2)
  server.always(undefined, 'revocation')
  await elapse(29 * MINUTE)
  expect(sent()).toHaveLength(2)
  await elapse(2 * MINUTE)
  expect(isDead()).toBe(true)
  expect(source.session).toMatchObject({ status: 'signedOut' })
})

test('after seven days it is given up and said', async () => {
  const { start, sent, gone, outbox, warnings } = await signedOutOffline()
  await gone()
  await elapse(7 * DAY - MINUTE, HOUR)
  const late = start()
  late.subscribe(() => {})
  await turns(10)
  await late[Symbol.asyncDispose]()
  expect(sent()).toHaveLength(2)
  expect(warnings).toEqual([])
  await elapse(MINUTE)
  start().subscribe(() => {})
  await turns(10)
  expect(sent()).toHaveLength(2)
  expect(await outbox()).toBeUndefined()
  expect(warnings).toEqual(['The server was never told of a sign-out, and its tokens live on'])
})

test.each([200, 400, 401, 403, 302])(
  'an answer of the server, such as %i, is one: it is not told again, and one that says no is a warning',
  async (status) => {
    const { server, start, sent, gone, outbox, warnings } = await signedOutOffline()
    await gone()
    server.always({ status }, 'revocation')
    await elapse(MINUTE)
    start().subscribe(() => {})
    await turns(10)
    expect(sent()).toHaveLength(2)
    expect(await outbox()).toBeUndefined()
    const isNo = status !== 200
    expect(warnings).toEqual(isNo ? [`A token could not be revoked: The authorization server said ${status}`] : [])
  },
)

test('whoever signs out and is gone before an answer came has written it down', async () => {
  const server = testAuthorizationServer()
  const { options } = sourceAt(server, { store: memoryStore(), timeout: 3 * SECOND })
  const seed = server.newRefreshToken()
  const start = () => refreshToken({ ...options, refreshToken: seed })
  const source = start()
  const { accessToken } = await source.getTokenSet()
  // From the moment on at which the revocation leaves nothing reaches that page any more.
  const fetch: typeof server.fetch = (input, init) =>
    String(input).endsWith('/revoke') ? new Promise(() => {}) : server.fetch(input, init)
  const closing = refreshToken({ ...options, refreshToken: seed, fetch })
  void closing.revoke()
  await turns(10)
  await closing[Symbol.asyncDispose]()
  start().subscribe(() => {})
  await turns(10)
  expect(server.accepts(accessToken)).toBe(true) // it may still be on its way
  await elapse(10 * SECOND)
  expect(server.accepts(accessToken)).toBe(false)
})

test('where the store fails it waits in memory, and is sent when the server is back', async () => {
  const inner = memoryStore()
  let fails = false
  const broken = {
    ...inner,
    replace: (...change: Parameters<typeof inner.replace>) => {
      if (fails) throw new Error('the disk is full')
      return inner.replace(...change)
    },
  }
  const server = testAuthorizationServer()
  const { options } = sourceAt(server, { store: broken })
  const source = refreshToken({ ...options, refreshToken: server.newRefreshToken() })
  const { accessToken } = await source.getTokenSet()
  server.always({ lost: 'request' }, 'revocation')
  fails = true
  await source.revoke()
  expect(source.session.status).toBe('signedOut')
  server.always(undefined, 'revocation')
  await elapse(MINUTE)
  expect(server.accepts(accessToken)).toBe(false)
})

test('without a store it waits in the memory of the process', async () => {
  const { server, isDead } = await signedOutOffline({ store: undefined })
  server.always(undefined, 'revocation')
  await elapse(MINUTE)
  expect(isDead()).toBe(true)
})

test('no more than a hundred wait: the oldest is given up first, and that is said', async () => {
  const server = testAuthorizationServer()
  const store = memoryStore()
  const { options, warnings } = sourceAt(server, { store })
  server.always({ lost: 'request' }, 'revocation')
  for (let count = 0; count < 101; count++) {
    const source = refreshToken({ ...options, refreshToken: server.newRefreshToken(), sessionKey: `user ${count}` })
    await source.revoke()
    await source[Symbol.asyncDispose]()
  }
  const { revocations } = Object(await store.get(OUTBOX))
  expect(revocations).toHaveLength(100)
  expect(revocations[0].token).toBe('refresh-token-2')
  expect(warnings).toEqual(['The server was never told of a sign-out, and its tokens live on'])
})

test.each([
  null,
  'text',
  { version: 'one' },
  { format: 1, version: 5, tokens: {}, revocations: 'all' },
  {
    format: 1,
    version: 5,
    tokens: {},
    revocations: [null, 7, { token: 7 }, { token: 'a', kind: 'password', until: 1e300 }],
  },
  {
    format: 1,
    version: 5,
    tokens: {},
    revocations: [{ token: 'forever', kind: 'refresh_token', until: 1e300 }],
    failures: { '': { count: 'x' } },
  },
])('damage in the outbox (%#) breaks nothing, and does not last longer than seven days', async (damage) => {
  const server = testAuthorizationServer()
  const store = memoryStore()
  const get: typeof store.get = async (key) =>
    (await store.get(key)) ?? (key === OUTBOX ? (damage as unknown as StoredRecord) : undefined)
  const replace: typeof store.replace = (key, expected, next) =>
    store.replace(key, expected === Object(damage).version && key === OUTBOX ? undefined : expected, next)
  const { options } = sourceAt(server, { store: { ...store, get, replace } })
  server.always({ lost: 'request' }, 'revocation')
  const source = refreshToken({ ...options, refreshToken: server.newRefreshToken() })
  await source.getAccessToken()
  await settled(source.revoke(), MINUTE)
  await elapse(MINUTE)
  const { revocations = [] } = Object(await store.get(OUTBOX))
  expect(revocations.at(-1)).toMatchObject({ kind: 'refresh_token', token: 'refresh-token-2' })
  for (const { until } of revocations) expect(until).toBeLessThanOrEqual(Date.now() + 7 * DAY)
  expect(server.requests.filter(({ endpoint }) => endpoint === 'revocation').length).toBeLessThan(30)
})

test('what a renewal brings after the sign-out, and cannot be revoked either, waits with the rest', async () => {
  const server = testAuthorizationServer()
  const store = memoryStore()
  const { options } = sourceAt(server, { store })
  const source = refreshToken({ ...options, refreshToken: server.newRefreshToken() })
  const rejectedToken = await source.getAccessToken()
  server.always({ lost: 'request' }, 'revocation')
  server.next([{ delay: SECOND }])
  const renewal = outcome(source.getAccessToken({ rejectedToken }))
  await turns(5)
  const revoked = source.revoke()
  await elapse(5 * SECOND)
  await Promise.all([renewal, revoked])
  const { revocations } = Object(await store.get(OUTBOX))
  expect(revocations.map(({ token }: { token: string }) => token).sort()).toEqual([
    'refresh-token-2',
    'refresh-token-4',
  ])
})

test('after asyncDispose nothing is sent', async () => {
  const { server, sent, gone } = await signedOutOffline()
  await gone()
  server.always(undefined, 'revocation')
  await elapse(HOUR)
  expect(sent()).toHaveLength(1)
  expect(vi.getTimerCount()).toBe(0)
})

test('a store that fails for a while loses nothing that waits in it', async () => {
  const inner = memoryStore()
  let fails = false
  const get: typeof inner.get = (key) => (fails ? Promise.reject(new Error('the disk is gone')) : inner.get(key))
  const { server, isDead } = await signedOutOffline({ store: { ...inner, get } })
  fails = true
  await elapse(10 * MINUTE)
  fails = false
  server.always(undefined, 'revocation')
  await elapse(3 * MINUTE)
  expect(isDead()).toBe(true)
})

test('a captive portal in the place of the metadata is an outage, a mistake in them is given up and said', async () => {
  for (const [fault, waits] of [
    [{ body: '<html>Welcome</html>' }, true],
    [{ body: { issuer: 'https://as.example', revocation_endpoint: 'http://as.example/revoke' } }, false],
  ] as const) {
    const server = testAuthorizationServer()
    const store = memoryStore()
    const { options, warnings } = sourceAt(server, { store })
    server.always(fault, 'discovery')
    const source = refreshToken({ ...options, refreshToken: server.newRefreshToken() })
    await source.revoke()
    expect((await store.get(OUTBOX)) !== undefined).toBe(waits)
    expect(warnings).toHaveLength(waits ? 0 : 1)
    await source[Symbol.asyncDispose]()
  }
})

test.each([{ version: {} }, { version: Number.NaN }, { version: 0 }])(
  'damage without a version that can be compared (%j) is written over, as stores allow',
  async (damage) => {
    const server = testAuthorizationServer()
    const store = memoryStore()
    await store.replace(OUTBOX, undefined, damage as unknown as StoredRecord)
    const { options } = sourceAt(server, { store })
    server.always({ lost: 'request' }, 'revocation')
    const source = refreshToken({ ...options, refreshToken: server.newRefreshToken() })
    await source.revoke()
    expect(Object(await store.get(OUTBOX)).revocations).toHaveLength(1)
  },
)

test('a sign-out that the server hears of takes along what waited before', async () => {
  const server = testAuthorizationServer()
  const { options } = sourceAt(server, { store: memoryStore() })
  const [one, two] = ['one', 'two'].map((sessionKey) => {
    return refreshToken({ ...options, sessionKey, refreshToken: server.newRefreshToken() })
  })
  await one?.getAccessToken()
  await two?.getAccessToken()
  server.always({ status: 503, headers: { 'retry-after': '1800' } }, 'revocation')
  await one?.revoke()
  await one?.[Symbol.asyncDispose]()
  expect(server.isRevoked('refresh-token-1')).toBe(false)
  server.always(undefined, 'revocation')
  await two?.revoke()
  await elapse(HOUR)
  expect(server.isRevoked('refresh-token-2')).toBe(true)
  expect(server.isRevoked('refresh-token-1')).toBe(true)
})
