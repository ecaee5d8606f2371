import { clientCredentials, memoryStore, password, refreshToken, TokenManager } from '@keyturn/core'
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
  timersNeverFire,
  troubledStore,
  turns,
} from '../renewal-harness.ts'

movedTime()

test.each([-3 * HOUR, 3 * HOUR])("R10: a server's clock that is %i ms ahead changes nothing", async (skew) => {
  const server = testAuthorizationServer({ skew })
  const { options, warnings } = sourceAt(server, { scope: 'openid' })
  const source = password({ ...options, ...USER })
  for (let hour = 0; hour < 10; hour++) {
    const { accessToken, claims } = await source.getTokenSet()
    expect(server.accepts(accessToken)).toBe(true)
    expect(claims).toMatchObject({ sub: USER.username })
    await elapse(HOUR, 10 * SECOND)
  }
  expect(server.tokenRequests().length).toBeLessThanOrEqual(14)
  expect(source.stats()).toMatchObject({ failures: 0, degradations: 0 })
  expect(warnings).toEqual([])
})

test.each([HOUR, -HOUR])(
  'R10: a clock that jumps by %i ms costs one renewal at most, and no expired token is used',
  async (by) => {
    const server = testAuthorizationServer({ lifetime: 3 * 3600 })
    const source = refreshToken({ ...sourceAt(server).options, refreshToken: server.newRefreshToken() })
    await source.getAccessToken()
    const from = performance.now()
    setClock(by)
    for (let minute = 0; minute < 170; minute++) {
      const token = await source.getAccessToken()
      const issued = server.requests.length
      expect(token).toMatch(/^access-token/)
      expect(issued).toBeLessThanOrEqual(4)
      await elapse(MINUTE, 10 * SECOND)
    }
    expect(performance.now() - from).toBeLessThan(3 * HOUR)
    expect(server.tokenRequests().length).toBeLessThanOrEqual(2)
  },
)

test('R10: a wall clock that is set back does not make a token live longer', async () => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  const first = await source.getAccessToken()
  for (let hour = 0; hour < 3; hour++) setClock(-HOUR)
  await source.getAccessToken()
  vi.advanceTimersByTime(3601 * SECOND)
  expect(await source.getAccessToken()).not.toBe(first)
})

test('R10: a monotonic clock that stood still while the machine slept does not make a token live longer', async () => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  const first = await source.getAccessToken()
  setClock(3601 * SECOND)
  expect(await source.getAccessToken()).not.toBe(first)
  expect(server.tokenRequests()).toHaveLength(2)
})

test('R10: a clock before the issue of a stored token means renew, and serves it until that worked', async () => {
  const server = testAuthorizationServer()
  const { options } = sourceAt(server, { store: memoryStore() })
  const first = await clientCredentials(options).getAccessToken()
  setClock(-2 * HOUR)
  server.next([{ status: 503 }])
  const restarted = clientCredentials(options)
  expect(await restarted.getAccessToken()).toBe(first)
  expect(server.tokenRequests()).toHaveLength(2)
  await elapse(2 * SECOND)
  expect(await restarted.getAccessToken()).not.toBe(first)
})

test('R10: timers that never fire cost nothing but the renewal behind the scenes', async () => {
  const server = testAuthorizationServer()
  const source = refreshToken({ ...sourceAt(server).options, refreshToken: server.newRefreshToken() })
  timersNeverFire()
  for (let hour = 0; hour < 20; hour++) {
    const token = await source.getAccessToken()
    expect(server.accepts(token)).toBe(true)
    vi.advanceTimersByTime(HOUR)
  }
  expect(server.tokenRequests()).toHaveLength(20)
})

test('R10: no timer is longer than a platform can count', async () => {
  const server = testAuthorizationServer({ lifetime: 1e12 })
  const delays: unknown[] = []
  const real = globalThis.setTimeout
  vi.spyOn(globalThis, 'setTimeout').mockImplementation(((run: () => void, delay: number) => {
    delays.push(delay)
    return real(run, delay)
  }) as typeof setTimeout)
  const source = refreshToken({ ...sourceAt(server).options, refreshToken: server.newRefreshToken() })
  await source.getAccessToken()
  expect(Math.max(...delays.map(Number))).toBe(2 ** 31 - 1)
  await elapse(2 ** 31, HOUR)
  expect(server.tokenRequests()).toHaveLength(1)
})

const losses = [{ lost: 'answer' }, { lost: 'rest' }, { hang: 'answer' }] as const

test.each(losses)(
  'R11: after a lost answer (%o) the same refresh token is sent once more, which with grace is enough',
  async (fault) => {
    const server = testAuthorizationServer({ grace: MINUTE })
    const source = refreshToken({ ...sourceAt(server).options, refreshToken: server.newRefreshToken() })
    server.next([fault])
    const { value } = await settled(source.getAccessToken(), 20 * SECOND)
    expect(server.accepts(value ?? '')).toBe(true)
    const [first, second, ...more] = server.tokenRequests()
    expect(second?.refreshToken).toBe(first?.refreshToken)
    expect(more).toEqual([])
    expect(source.session).toMatchObject({ status: 'signedIn', freshness: 'fresh' })
  },
)

test.each(losses)('R11: without grace a lost answer (%o) is one typed end', async (fault) => {
  const server = testAuthorizationServer()
  const source = refreshToken({ ...sourceAt(server).options, refreshToken: server.newRefreshToken() })
  server.next([fault])
  const { error } = await settled(source.getAccessToken(), 20 * SECOND)
  expect(error).toMatchObject({ name: 'LoginRequiredError', code: 'session-ended' })
  expect(source.session).toMatchObject({ status: 'signedOut', ended: { reason: 'rotation-lost', origin: 'server' } })
  for (let call = 0; call < 10; call++) await settled(outcome(source.getAccessToken()), MINUTE)
  expect(server.tokenRequests()).toHaveLength(2)
})

test('R11: there is one immediate retry per episode, then the back-off', async () => {
  const server = testAuthorizationServer({ rotate: false })
  const source = refreshToken({ ...sourceAt(server).options, refreshToken: server.newRefreshToken() })
  server.always({ lost: 'answer' })
  const sent: number[] = []
  for (let round = 0; round < 4; round++) {
    const before = server.tokenRequests().length
    await outcome(source.getAccessToken())
    await outcome(source.getAccessToken())
    sent.push(server.tokenRequests().length - before)
    await elapse(10 * SECOND)
  }
  expect(sent).toEqual([2, 1, 1, 1])
})

test('R11: the journal lets the next process know that an answer was lost', async () => {
  const server = testAuthorizationServer()
  const { store } = troubledStore()
  const { options } = sourceAt(server, { store, timeout: SECOND })
  const seed = server.newRefreshToken()
  server.next([{ hang: 'answer' }])
  void outcome(refreshToken({ ...options, refreshToken: seed }).getAccessToken())
  await turns() // … and here that process is gone, with the lock in its hand
  expect(server.tokenRequests()).toHaveLength(1)
  const next = refreshToken({ ...options, store: { ...store, lock: memoryStore().lock }, refreshToken: seed })
  const { error } = await outcome(next.getAccessToken())
  expect(error).toMatchObject({ code: 'session-ended' })
  expect(next.session).toMatchObject({ ended: { reason: 'rotation-lost' } })
  expect(server.tokenRequests()).toHaveLength(2)
})

test.each(['get', 'lock', 'replace', 'unlock', 'watch'] as const)(
  'R12: a grant that can ask again goes on from memory when %s of the store throws',
  async (operation) => {
    const server = testAuthorizationServer()
    const { store, trouble } = troubledStore()
    trouble[operation] = 'throws'
    const { options, warnings } = sourceAt(server, { store })
    for (const source of [clientCredentials(options), password({ ...options, ...USER })]) {
      const first = await source.getAccessToken()
      for (let call = 0; call < 100; call++) expect(await source.getAccessToken()).toBe(first)
      await elapse(2 * HOUR, 10 * SECOND)
      expect(server.accepts(await source.getAccessToken())).toBe(true)
      expect(source.stats().degradations).toBeGreaterThan(0)
    }
    expect(server.tokenRequests().length).toBeLessThanOrEqual(6)
    expect(warnings.length).toBeGreaterThan(0)
    expect(new Set(warnings).size * 2).toBeGreaterThanOrEqual(warnings.length)
  },
)

test.each(['get', 'lock', 'replace', 'unlock'] as const)(
  'R12: a grant that can ask again goes on from memory when %s of the store hangs',
  async (operation) => {
    const server = testAuthorizationServer()
    const { store, trouble } = troubledStore()
    trouble[operation] = 'hangs'
    const { options } = sourceAt(server, { store })
    for (const source of [clientCredentials(options), password({ ...options, ...USER })]) {
      const { value: first } = await settled(source.getAccessToken(), 50 * SECOND)
      expect(server.accepts(first ?? '')).toBe(true)
      const { value, after } = await outcome(source.getAccessToken())
      expect([value, after]).toEqual([first, 0])
      await elapse(2 * HOUR, 10 * SECOND)
      const later = await settled(source.getAccessToken(), 50 * SECOND)
      expect(server.accepts(later.value ?? '')).toBe(true)
    }
  },
)

test.each([
  ['get', 'throws'],
  ['get', 'hangs'],
  ['lock', 'throws'],
  ['lock', 'hangs'],
] as const)('R12: a refresh token is not sent when %s of the store %s', async (operation, how) => {
  const server = testAuthorizationServer()
  const { store, trouble } = troubledStore()
  const { options } = sourceAt(server, { store, timeout: 5 * SECOND })
  const source = refreshToken({ ...options, refreshToken: server.newRefreshToken() })
  trouble[operation] = how
  const { error } = await settled(source.getAccessToken(), 30 * SECOND)
  expect(error).toMatchObject({ name: 'TokenUnavailableError', code: 'storage', retryable: true })
  expect(server.tokenRequests()).toEqual([])
  trouble[operation] = undefined
  const { value } = await settled(source.getAccessToken(), 30 * SECOND)
  expect(server.accepts(value ?? '')).toBe(true)
  expect(source.session).toMatchObject({ status: 'signedIn' })
})

test('R12: a refresh token that is still in the store is not sent without its lock, though the last write failed', async () => {
  const server = testAuthorizationServer()
  const { store, trouble, change } = troubledStore()
  const { options } = sourceAt(server, { store })
  const source = refreshToken({ ...options, refreshToken: server.newRefreshToken() })
  await source.getAccessToken()
  await elapse(3200 * SECOND, 10 * SECOND)
  trouble.replace = 'throws'
  server.always({ status: 503 })
  await elapse(10 * MINUTE, SECOND) // the journal and the failure could not be written
  trouble.get = trouble.lock = 'throws' // now this process is cut off, and a sibling is not
  await change((record) => ({
    ...record,
    refreshToken: server.refreshElsewhere(record.refreshToken ?? '').refreshToken,
  }))
  server.always(undefined)
  await elapse(10 * MINUTE, SECOND)
  await outcome(source.getAccessToken())
  expect(server.reuses).toEqual([])
})

test('R12: a store that is down is not asked in a tight loop', async () => {
  const server = testAuthorizationServer()
  const { store, trouble, calls } = troubledStore()
  const source = refreshToken({ ...sourceAt(server, { store }).options, refreshToken: server.newRefreshToken() })
  await source.getAccessToken()
  source.subscribe(() => {})
  await elapse(3000 * SECOND, 10 * SECOND)
  const before = calls.lock
  trouble.lock = 'throws'
  await elapse(12 * MINUTE, 200)
  expect(calls.lock - before).toBeGreaterThan(0)
  expect(calls.lock - before).toBeLessThan(100)
})

test('R12: where only the write after a rotation fails, the new tokens live in memory and are written when that works', async () => {
  const server = testAuthorizationServer()
  const { store, trouble, record, calls } = troubledStore()
  const { options, warnings } = sourceAt(server, { store })
  const seed = server.newRefreshToken()
  const source = refreshToken({ ...options, refreshToken: seed })
  server.next([{ meanwhile: () => (trouble.replace = 'throws') }])
  const token = await source.getAccessToken()
  expect(server.accepts(token)).toBe(true)
  expect((await record())?.refreshToken).toBe(seed)
  expect(warnings).toHaveLength(1)
  await elapse(5 * MINUTE)
  expect(calls.replace).toBeLessThan(30)
  expect(await source.getAccessToken()).toBe(token)
  trouble.replace = undefined
  await elapse(MINUTE)
  expect((await record())?.refreshToken).not.toBe(seed)
  const twin = refreshToken({ ...options, refreshToken: seed })
  expect(await twin.getAccessToken()).toBe(token)
  expect(server.reuses).toEqual([])
  expect(source.explain().some(({ event }) => event === 'degraded')).toBe(true)
})

test('R12: with a store that never writes, a session still renews', async () => {
  const server = testAuthorizationServer()
  const { store, trouble } = troubledStore()
  trouble.replace = 'throws'
  const source = refreshToken({ ...sourceAt(server, { store }).options, refreshToken: server.newRefreshToken() })
  for (let hour = 0; hour < 10; hour++) {
    expect(server.accepts(await source.getAccessToken())).toBe(true)
    await elapse(HOUR, 10 * SECOND)
  }
  expect(server.reuses).toEqual([])
})

test('R13: no promise outlives its deadline, whatever hangs', async () => {
  const never = () => new Promise<never>(() => {})
  const server = testAuthorizationServer()
  const { options } = sourceAt(server, { timeout: SECOND })
  const sources = {
    secret: clientCredentials({ ...options, clientSecret: never }),
    fetch: clientCredentials({ ...options, fetch: never }),
    authentication: clientCredentials({ ...options, clientAuthentication: never }),
    grant: new TokenManager(never, options),
    password: password({ ...options, ...USER, password: never }),
    username: password({ ...options, ...USER, username: never }),
    'lock, then grant': new TokenManager(never, { ...options, store: { ...memoryStore(), lock: never } }),
  }
  const results = Object.entries(sources).map(async ([name, source]) => {
    const { error } = await settled(source.getAccessToken(), 6 * SECOND).catch((error) => ({ error }))
    return [name, error?.code]
  })
  expect(Object.fromEntries(await Promise.all(results))).toEqual({
    secret: 'timeout',
    fetch: 'timeout',
    authentication: 'timeout',
    grant: 'timeout',
    password: 'timeout',
    username: 'timeout',
    'lock, then grant': 'timeout',
  })
})

test.each(['grant', 'password', 'username', 'secret'] as const)(
  'R13: a %s that hung once does not hang for ever',
  async (which) => {
    const server = testAuthorizationServer()
    const { options } = sourceAt(server, { timeout: SECOND })
    let calls = 0
    const hangsOnce = async (value: string) => (calls++ === 0 ? new Promise<never>(() => {}) : value)
    const source =
      which === 'grant'
        ? new TokenManager(
            async () => ({ accessToken: await hangsOnce('a'), tokenType: 'Bearer', expiresAt: Date.now() + HOUR }),
            options,
          )
        : password({
            ...options,
            clientSecret: which === 'secret' ? () => hangsOnce('client-secret') : 'client-secret',
            username: which === 'username' ? () => hangsOnce(USER.username) : USER.username,
            password: which === 'password' ? () => hangsOnce(USER.password) : USER.password,
          })
    void outcome(source.getAccessToken())
    await elapse(MINUTE)
    const { value, error } = await settled(source.getAccessToken(), 6 * SECOND)
    expect(error).toBeUndefined()
    expect(value).toBeDefined()
  },
)

test('R13: a failure in the background is handled, whatever throws', async () => {
  const boom = () => {
    throw new Error('boom')
  }
  const server = testAuthorizationServer({ lifetime: 60 })
  const { options } = sourceAt(server)
  let broken = false
  const source = refreshToken({
    ...options,
    refreshToken: server.newRefreshToken(),
    clientSecret: () => (broken ? boom() : 'client-secret'),
  })
  source.subscribe(() => {})
  await source.getAccessToken()
  broken = true
  await elapse(10 * MINUTE, SECOND)
  expect((await outcome(source.getAccessToken())).error).toMatchObject({ code: 'callback-failed', retryable: true })
  broken = false
  await elapse(3 * MINUTE, SECOND)
  expect(server.accepts(await source.getAccessToken())).toBe(true)
})

test.each(['throws', 'rejects'])('R13: an onWarning that %s breaks nothing', async (how) => {
  const server = testAuthorizationServer()
  const { store, trouble } = troubledStore()
  const { options } = sourceAt(server, { store })
  trouble.get = trouble.replace = 'throws'
  const onWarning = () => {
    if (how === 'rejects') return Promise.reject(new Error('boom'))
    throw new Error('boom')
  }
  const source = clientCredentials({ ...options, onWarning })
  source.subscribe(() => {})
  await turns(10)
  expect((await outcome(source.getAccessToken())).error).toBeUndefined()
})

test.each(['idle', 'renewing', 'loading'])('R13: after asyncDispose no timer is left (%s)', async (when) => {
  const server = testAuthorizationServer()
  const { store } = troubledStore()
  const watching = new Set<() => void>()
  const watch = (_: string, listener: () => void) => {
    watching.add(listener)
    return () => void watching.delete(listener)
  }
  const source = refreshToken({
    ...sourceAt(server, { store: { ...store, watch } }).options,
    refreshToken: server.newRefreshToken(),
  })
  source.subscribe(() => {})
  if (when !== 'loading') await source.getAccessToken()
  if (when === 'renewing') {
    server.next([{ delay: SECOND }])
    while (server.tokenRequests().length < 2) await elapse(SECOND, SECOND)
  }
  await source[Symbol.asyncDispose]()
  await elapse(5 * SECOND)
  expect(vi.getTimerCount()).toBe(0)
  expect(watching.size).toBe(0)
})

test('R13: no timer of ours keeps a process alive while nothing is under way', async () => {
  const server = testAuthorizationServer()
  const referenced: unknown[] = []
  const real = globalThis.setTimeout
  const timers = new Set<NodeJS.Timeout>()
  vi.spyOn(globalThis, 'setTimeout').mockImplementation(((run: () => void, delay: number) => {
    const timer = real(run, delay)
    timers.add(timer)
    return timer
  }) as typeof setTimeout)
  const clear = globalThis.clearTimeout
  vi.spyOn(globalThis, 'clearTimeout').mockImplementation((timer) => {
    timers.delete(timer as NodeJS.Timeout)
    clear(timer)
  })
  const source = refreshToken({ ...sourceAt(server).options, refreshToken: server.newRefreshToken() })
  await source.getAccessToken()
  for (const timer of timers) if (timer.hasRef()) referenced.push(timer)
  expect(timers.size).toBe(1)
  expect(referenced).toEqual([])
})

test('R14: a refresh token that the server does not return again is kept', async () => {
  const server = testAuthorizationServer({ rotate: false })
  const { store, record } = troubledStore()
  const seed = server.newRefreshToken()
  const source = refreshToken({ ...sourceAt(server, { store }).options, refreshToken: seed })
  for (let hour = 0; hour < 5; hour++) {
    expect(server.accepts(await source.getAccessToken())).toBe(true)
    expect((await record())?.refreshToken).toBe(seed)
    await elapse(HOUR, 10 * SECOND)
  }
  expect(new Set(server.tokenRequests().map((request) => request.refreshToken))).toEqual(new Set([seed]))
})
