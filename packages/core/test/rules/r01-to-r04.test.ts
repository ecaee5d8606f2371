import { clientCredentials, password, refreshToken } from '@keyturn/core'
import { expect, test, vi } from 'vitest'
import { testAuthorizationServer, USER } from '../authorization-server.ts'
import {
  elapse,
  HOUR,
  MINUTE,
  movedTime,
  outcome,
  SECOND,
  setClock,
  settled,
  sourceAt,
  troubledStore,
  turns,
} from '../renewal-harness.ts'

movedTime()

test('R1: a fresh token comes from memory: no store, lock, timer or request', async () => {
  const server = testAuthorizationServer()
  const { store, calls } = troubledStore()
  const source = clientCredentials(sourceAt(server, { store }).options)
  const token = await source.getAccessToken()
  const before = { ...calls }
  const timer = vi.spyOn(globalThis, 'setTimeout')
  for (let call = 0; call < 1000; call++) expect(await source.getAccessToken()).toBe(token)
  expect(calls).toEqual(before)
  expect(timer).not.toHaveBeenCalled()
  expect(server.tokenRequests()).toHaveLength(1)
  expect(source.stats().tokensServedFromMemory).toBe(1000)
})

test('R1: a fresh token is one promise away', async () => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  const token = await source.getAccessToken()
  let got: string | undefined
  void source.getAccessToken().then((value) => {
    got = value
  })
  await Promise.resolve()
  expect(got).toBe(token)
})

test('R1: after a gap in the clock the store is read again before memory is trusted', async () => {
  const server = testAuthorizationServer()
  const { store, change, calls } = troubledStore()
  const source = refreshToken({
    ...sourceAt(server, { store: { get: store.get, replace: store.replace, lock: store.lock } }).options,
    refreshToken: server.newRefreshToken(),
  })
  await source.getAccessToken()
  await change(({ tokens: _, refreshToken: __, ...rest }) => ({
    ...rest,
    tokens: {},
    ended: { reason: 'signed-out', origin: 'user', at: Date.now() },
  }))
  setClock(10 * SECOND)
  const reads = calls.get
  const { error } = await outcome(source.getAccessToken())
  expect(error?.name).toBe('LoginRequiredError')
  expect(calls.get).toBeGreaterThan(reads)
  expect(source.session).toMatchObject({ status: 'signedOut', ended: { origin: 'another' } })
})

test.each([
  { lifetime: 1, should: [0.75, 0.85], must: 0.95 },
  { lifetime: 5, should: [3.75, 4.25], must: 4.75 },
  { lifetime: 300, should: [225, 255], must: 290 },
  { lifetime: 3600, should: [3225, 3375], must: 3590 },
  { lifetime: 86_400, should: [86_025, 86_175], must: 86_390 },
])(
  'R2: a token of $lifetime s is renewed behind its callers between $should.0 and $should.1 s, before them from $must s on',
  async (row) => {
    const [earliest = 0, latest = 0] = row.should
    const aged = async (age: number) => {
      const server = testAuthorizationServer({ lifetime: row.lifetime })
      const source = clientCredentials(sourceAt(server).options)
      const first = await source.getAccessToken()
      vi.advanceTimersByTime(age * SECOND)
      const same = (await source.getAccessToken()) === first
      await turns()
      return { same, requests: server.tokenRequests().length }
    }
    expect(await aged(earliest - 0.01)).toEqual({ same: true, requests: 1 })
    expect(await aged(latest + 0.01)).toEqual({ same: true, requests: 2 })
    expect(await aged(row.must - 0.01)).toEqual({ same: true, requests: 2 })
    expect(await aged(row.must + 0.01)).toEqual({ same: false, requests: 2 })
  },
)

test('R2: managers draw different times of renewal, each its own for good', async () => {
  vi.spyOn(Math, 'random').mockReturnValueOnce(0).mockReturnValueOnce(0.999)
  const server = testAuthorizationServer()
  const [early, late] = [0, 1].map(() => clientCredentials(sourceAt(server).options)) as [
    ReturnType<typeof clientCredentials>,
    ReturnType<typeof clientCredentials>,
  ]
  await Promise.all([early.getAccessToken(), late.getAccessToken()])
  vi.advanceTimersByTime(3300 * SECOND)
  await Promise.all([early.getAccessToken(), late.getAccessToken()])
  await turns()
  expect([early.stats().tokenRequests, late.stats().tokenRequests]).toEqual([1, 2])
})

test('R2: a renewal that callers have to wait for and that fails gives them the token that is still valid', async () => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  const first = await source.getAccessToken()
  vi.advanceTimersByTime(3595 * SECOND)
  server.next([{ status: 503 }])
  expect(await source.getAccessToken()).toBe(first)
  expect(server.tokenRequests()).toHaveLength(2)
})

test('R2: a renewal that hangs keeps nobody from a token that is still valid', async () => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  const first = await source.getAccessToken()
  vi.advanceTimersByTime(3592 * SECOND)
  server.always({ hang: 'request' })
  const { value, after } = await settled(source.getAccessToken(), 8 * SECOND)
  expect(value).toBe(first)
  expect(after).toBeLessThan(8 * SECOND)
})

const faults = {
  503: { status: 503 },
  429: { status: 429, headers: { 'retry-after': '30' } },
  hang: { hang: 'request' },
  reset: { lost: 'request' },
  'HTML 200': { status: 200, body: '<html>Welcome to the hotel</html>', headers: { 'content-type': 'text/html' } },
  'a 400 of the server': { status: 400, body: { error: 'invalid_request' } },
  'no JSON object': { body: '[]' },
} as const

test.each(Object.entries(faults))('R3: while a token is valid %s is noticed by no caller', async (_, fault) => {
  const server = testAuthorizationServer()
  const seed = server.newRefreshToken()
  const source = refreshToken({ ...sourceAt(server).options, refreshToken: seed })
  const first = await source.getAccessToken()
  vi.advanceTimersByTime(3400 * SECOND)
  server.always(fault)
  for (let second = 0; second < 150; second++) {
    const calls = Array.from({ length: 7 }, () => outcome(source.getAccessToken()))
    for (const { value, after } of await Promise.all(calls)) expect([value, after]).toEqual([first, 0])
    await elapse(SECOND, SECOND)
  }
  server.always(undefined)
  expect(source.session).toMatchObject({ status: 'signedIn', freshness: 'stale' })
})

test.each(['get', 'replace', 'lock', 'unlock'] as const)(
  'R3: while a token is valid a store whose %s throws is noticed by no caller',
  async (operation) => {
    const server = testAuthorizationServer()
    const { store, trouble } = troubledStore()
    const { options } = sourceAt(server, { store })
    const source = refreshToken({ ...options, refreshToken: server.newRefreshToken() })
    const first = await source.getAccessToken()
    vi.advanceTimersByTime(3400 * SECOND)
    trouble[operation] = 'throws'
    for (let second = 0; second < 60; second++) {
      const { value, after } = await outcome(source.getAccessToken())
      expect(server.accepts(value ?? '')).toBe(true)
      expect(after).toBe(0)
      await elapse(SECOND, SECOND)
    }
    expect(first).toBeDefined()
  },
)

test('R3: while renewals back off, a token that is still valid costs neither lock nor store', async () => {
  const server = testAuthorizationServer()
  const { store, calls } = troubledStore()
  const source = clientCredentials(sourceAt(server, { store }).options)
  const token = await source.getAccessToken()
  vi.advanceTimersByTime(3400 * SECOND)
  server.always({ status: 429, headers: { 'retry-after': '600' } })
  expect(await source.getAccessToken()).toBe(token)
  await turns()
  const before = { ...calls }
  for (let second = 0; second < 190; second++) {
    expect(await source.getAccessToken()).toBe(token)
    await elapse(SECOND, SECOND)
  }
  expect(calls).toEqual(before)
})

test('R3: a token that an API refused is not valid: where its renewal fails the caller hears of it', async () => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  const refused = await source.getAccessToken()
  server.always({ status: 503 })
  const { error } = await outcome(source.getAccessToken({ rejectedToken: refused }))
  expect(error).toMatchObject({ name: 'TokenUnavailableError', code: 'server-error', retryable: true })
})

test('R4: a thousand callers of a cold source share one request', async () => {
  const server = testAuthorizationServer()
  const { options, warnings } = sourceAt(server)
  const source = clientCredentials(options)
  const tokens = await Promise.all(Array.from({ length: 1000 }, () => source.getAccessToken()))
  expect(new Set(tokens).size).toBe(1)
  expect(server.tokenRequests()).toHaveLength(1)
  expect(source.stats()).toMatchObject({ tokenRequests: 1, renewals: 0, failures: 0, degradations: 0 })
  expect(warnings).toEqual([])
})

test('R4: renewals of get, refusal and timer are one', async () => {
  const server = testAuthorizationServer()
  const source = refreshToken({ ...sourceAt(server).options, refreshToken: server.newRefreshToken() })
  const first = await source.getAccessToken()
  source.subscribe(() => {})
  server.next([{ delay: 2.5 * SECOND }])
  await elapse(3200 * SECOND, 10 * SECOND)
  while (server.tokenRequests().length < 2) await elapse(SECOND, SECOND)
  const calls = [source.getAccessToken(), source.getAccessToken({ rejectedToken: first }), source.getTokenSet()]
  for (const { error } of [await settled(Promise.all(calls), MINUTE)]) expect(error).toBeUndefined()
  expect(server.tokenRequests()).toHaveLength(2)
})

test('R4: those who wait share the failure', async () => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  server.next([{ status: 503 }])
  const errors = await Promise.all(
    Array.from({ length: 1000 }, async () => (await outcome(source.getAccessToken())).error),
  )
  expect(new Set(errors.map((error) => error?.code))).toEqual(new Set(['server-error']))
  expect(server.tokenRequests()).toHaveLength(1)
})

test('R4: several tokens of one session never send one refresh token twice', async () => {
  const server = testAuthorizationServer()
  const { store } = troubledStore()
  const { options } = sourceAt(server, { store })
  const source = refreshToken({ ...options, refreshToken: server.newRefreshToken() })
  const twin = refreshToken({ ...options, refreshToken: server.tokenRequests()[0]?.refreshToken ?? 'refresh-token-1' })
  for (let round = 0; round < 5; round++) {
    const wishes = ['a', 'b', 'c', 'd'].flatMap((name) => [
      { scope: name },
      { resource: `https://${name}.example/` },
      { parameters: { audience: name } },
    ])
    const tokens = await Promise.all(
      [source, twin].flatMap((manager) => [
        manager.getAccessToken(),
        ...wishes.map((wish) => manager.getAccessToken(wish)),
      ]),
    )
    expect(new Set(tokens).size).toBe(13)
    await elapse(2 * HOUR, 5 * SECOND)
  }
  expect(server.reuses).toEqual([])
  const sent = server.tokenRequests('refresh_token').map((request) => request.refreshToken)
  expect(new Set(sent).size).toBe(sent.length)
  expect(sent.length).toBeGreaterThanOrEqual(5 * 13)
})

test('R4: a listener may call anything from any event', async () => {
  const server = testAuthorizationServer({ lifetime: 60 })
  const { options } = sourceAt(server)
  const source = password({ ...options, ...USER })
  const heard: string[] = []
  const calls: Promise<unknown>[] = []
  let revocations = 0
  source.subscribe(() => {
    heard.push(source.session.status)
    calls.push(outcome(source.getAccessToken()), outcome(source.getTokenSet({ scope: 'b' })))
    source.subscribe(() => {})()
    source.explain()
    if (heard.length === 2 && revocations++ === 0) calls.push(source.revoke())
  })
  await settled(source.getAccessToken(), MINUTE)
  await elapse(5 * MINUTE)
  while (calls.length > 0) await settled(Promise.all(calls.splice(0)), MINUTE)
  expect(heard.length).toBeGreaterThan(2)
  expect(revocations).toBe(1)
})

test('R4: no listener is called under the lock', async () => {
  const server = testAuthorizationServer()
  const { store } = troubledStore()
  let locked = 0
  const lock: typeof store.lock = (key, critical, duration) =>
    store.lock(
      key,
      async (lease) => {
        locked++
        return critical(lease).finally(() => locked--)
      },
      duration,
    )
  const unwatched = { get: store.get, replace: store.replace, lock }
  const source = password({ ...sourceAt(server, { store: unwatched }).options, ...USER })
  const underLock: number[] = []
  source.subscribe(() => underLock.push(locked))
  await source.getAccessToken()
  server.always({ status: 503 })
  vi.advanceTimersByTime(2 * HOUR)
  await outcome(source.getAccessToken())
  await turns()
  expect(underLock.length).toBeGreaterThan(1)
  expect(new Set(underLock)).toEqual(new Set([0]))
})
