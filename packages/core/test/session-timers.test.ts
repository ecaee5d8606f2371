import {
  clientCredentials,
  type Grant,
  LoginRequiredError,
  memoryStore,
  password,
  refreshToken,
  TokenManager,
} from '@keyturn/core'
import { expect, test, vi } from 'vitest'
import { testAuthorizationServer, USER } from './authorization-server.ts'
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
} from './renewal-harness.ts'

movedTime()

test('what could not be written is tried again after a second, then ever more seldom, at last every minute', async () => {
  const server = testAuthorizationServer()
  const { store, trouble, record } = troubledStore()
  const source = clientCredentials(sourceAt(server, { store }).options)
  const tries: number[] = []
  const replace = store.replace.bind(store)
  vi.spyOn(store, 'replace').mockImplementation((...all) => {
    tries.push(Math.round(performance.now() / 100) / 10)
    return replace(...all)
  })
  const gaps = () => tries.slice(1).map((at, index) => Math.round(at - (tries[index] ?? 0)))
  trouble.replace = 'throws'
  await source.getAccessToken()
  await elapse(5 * MINUTE, 100)
  expect(gaps()).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60])
  trouble.replace = undefined
  await elapse(MINUTE, 100)
  expect(Object.keys((await record())?.tokens ?? {})).toHaveLength(1)
  const written = tries.length
  await elapse(10 * MINUTE, SECOND)
  expect(tries).toHaveLength(written)
  tries.splice(0)
  trouble.replace = 'throws'
  await source.getAccessToken({ rejectedToken: await source.getAccessToken() })
  await elapse(8 * SECOND, 100)
  expect(gaps()).toEqual([1, 2, 4])
})

test('a session is renewed by its timer for those who listen, and for those who have used its token', async () => {
  for (const [looks, uses, renewed] of [
    [true, false, 2],
    [false, true, 2],
    [false, false, 1],
  ] as const) {
    const server = testAuthorizationServer({ lifetime: 1000 })
    const { store } = troubledStore()
    const { options } = sourceAt(server, { store })
    const seed = server.newRefreshToken()
    const first = refreshToken({ ...options, refreshToken: seed })
    await first.getAccessToken()
    await first[Symbol.asyncDispose]()
    const source = refreshToken({ ...options, refreshToken: seed })
    const stop = source.subscribe(() => {})
    await turns(5)
    if (uses) await source.getAccessToken()
    if (!looks) stop()
    await elapse(700 * SECOND, SECOND)
    expect(server.tokenRequests()).toHaveLength(1)
    await elapse(200 * SECOND, SECOND)
    expect(server.tokenRequests()).toHaveLength(renewed)
    await source[Symbol.asyncDispose]()
  }
})

test('a token that nobody can renew is told to be over as soon as it is', async () => {
  let over = false
  const grant: Grant = async () => {
    if (over) throw new LoginRequiredError('login-required', 'Nobody is there')
    return { accessToken: 'a', expiresAt: Date.now() + HOUR }
  }
  const kind = { name: 'person', oneSession: true, asksAgain: false }
  const source = new TokenManager(grant, sourceAt(testAuthorizationServer()).options, kind)
  await source.getAccessToken()
  over = true
  const told = vi.fn()
  source.subscribe(told)
  await elapse(HOUR - SECOND, 10 * SECOND)
  expect(told).not.toHaveBeenCalled()
  await elapse(2 * SECOND, SECOND)
  expect(told).toHaveBeenCalledOnce()
})

test.each([
  [3600, SECOND],
  [1, SECOND / 2],
])('a store that hangs keeps a token of %i s from nobody for longer than %i ms', async (lifetime, most) => {
  const server = testAuthorizationServer({ lifetime })
  const { store, trouble } = troubledStore()
  const source = clientCredentials(sourceAt(server, { store }).options)
  const token = await source.getAccessToken()
  trouble.get = 'hangs'
  vi.setSystemTime(Date.now() - 10 * SECOND) // the store has to be looked at again
  const { value, after } = await settled(source.getAccessToken(), MINUTE)
  expect(value).toBe(token)
  expect(after).toBe(most)
})

test.each([
  ['that fails to lock', undefined],
  ['that hangs', 'hangs'],
] as const)(
  'with a store %s a callback that never answers costs its callers five time-outs, and they are told',
  async (_, get) => {
    const server = testAuthorizationServer()
    const { store, trouble } = troubledStore()
    const { options } = sourceAt(server, { store, timeout: 2 * SECOND, clientSecret: () => new Promise(() => {}) })
    const source = password({ ...options, ...USER, password: () => new Promise(() => {}) })
    Object.assign(trouble, { lock: 'hangs', get })
    const { error, after } = await settled(source.getAccessToken(), MINUTE)
    expect(error).toMatchObject({ code: 'timeout', message: 'No token within 10000 ms' })
    expect(after).toBeGreaterThanOrEqual(10 * SECOND)
    expect(after).toBeLessThan(11 * SECOND)
  },
)

test('a source that was disposed of serves on, and neither watches nor sets a timer', async () => {
  const server = testAuthorizationServer({ lifetime: 60 })
  const { store, calls } = troubledStore()
  const source = refreshToken({ ...sourceAt(server, { store }).options, refreshToken: server.newRefreshToken() })
  await source.getAccessToken()
  expect(calls.watch).toBe(1)
  await source[Symbol.asyncDispose]()
  await elapse(2 * MINUTE, SECOND)
  expect(server.tokenRequests()).toHaveLength(1)
  setClock(10 * SECOND)
  expect(server.accepts(await source.getAccessToken())).toBe(true)
  expect(calls.watch).toBe(1)
  expect(vi.getTimerCount()).toBe(0)
})

test('a sign-out says when, by whom, and when the session worked last', async () => {
  const server = testAuthorizationServer()
  const source = password({ ...sourceAt(server).options, ...USER })
  await source.getAccessToken()
  const lastSuccessAt = Date.now()
  await elapse(MINUTE)
  await source.revoke()
  const ended = { reason: 'signed-out', origin: 'user', at: Date.now(), lastSuccessAt }
  expect(source.session).toEqual({ status: 'signedOut', ended })
  expect(source.explain()).toEqual([
    { at: lastSuccessAt, event: 'issued', detail: undefined },
    { at: Date.now(), event: 'ended', detail: 'signed-out' },
  ])
})

test('without a store those who want several tokens of one session have them one after another', async () => {
  const server = testAuthorizationServer()
  const source = refreshToken({ ...sourceAt(server).options, refreshToken: server.newRefreshToken() })
  const tokens = await Promise.all([1, 2, 3].map((n) => source.getAccessToken({ scope: `scope-${n}` })))
  expect(new Set(tokens).size).toBe(3)
  expect(server.reuses).toEqual([])
  expect(server.tokenRequests()).toHaveLength(3)
})

test('a failure of one token of a session keeps the others from nothing', async () => {
  const server = testAuthorizationServer()
  const source = refreshToken({ ...sourceAt(server).options, refreshToken: server.newRefreshToken() })
  server.next([{ status: 400, body: { error: 'invalid_scope' } }])
  const [refused, granted] = await Promise.all(
    ['too much', 'just right'].map((scope) => outcome(source.getAccessToken({ scope }))),
  )
  expect(refused?.error).toMatchObject({ code: 'request-refused' })
  expect(server.accepts(granted?.value ?? '')).toBe(true)
})

test('a token that should be renewed is handed out at once, while its renewal hangs behind it', async () => {
  timersNeverFire()
  const server = testAuthorizationServer({ lifetime: 1000 })
  const source = clientCredentials({ ...sourceAt(server).options, store: memoryStore() })
  const token = await source.getAccessToken()
  vi.advanceTimersByTime(900 * SECOND)
  server.always({ hang: 'request' })
  const { value, after } = await outcome(source.getAccessToken())
  expect([value, after]).toEqual([token, 0])
  await turns(5)
  expect(server.tokenRequests()).toHaveLength(2)
})

test('whoever has no valid token waits five time-outs at most, whatever hangs: store, lock and server together', async () => {
  const server = testAuthorizationServer()
  const { store, trouble } = troubledStore()
  const source = clientCredentials(sourceAt(server, { store, timeout: 3000 }).options)
  Object.assign(trouble, { get: 'hangs', lock: 'hangs', replace: 'hangs' })
  server.always({ hang: 'request' })
  const { error, after } = await settled(source.getAccessToken(), HOUR)
  expect(error).toMatchObject({ name: 'TokenUnavailableError', code: 'timeout', retryable: true })
  expect(after).toBeLessThanOrEqual(15 * SECOND + 100)
})

test('a store that cannot be read holds a sign-out up for two of its calls, not for ten', async () => {
  const { store, trouble, record } = troubledStore()
  const source = password({ ...sourceAt(testAuthorizationServer(), { store }).options, ...USER })
  await source.getAccessToken()
  trouble.get = 'hangs'
  const revoked = source.revoke()
  expect(source.session).toMatchObject({ status: 'signedOut', ended: { reason: 'signed-out' } })
  const { error, after } = await settled(revoked, HOUR)
  expect(error).toBeUndefined()
  expect(after).toBeLessThan(30 * SECOND) // two for the session, two for what waits to be revoked
  trouble.get = undefined
  await elapse(2 * MINUTE)
  expect(await record()).toMatchObject({ ended: { reason: 'signed-out' }, tokens: {} })
})
