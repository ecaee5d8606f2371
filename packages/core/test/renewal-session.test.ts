import {
  clientCredentials,
  type Grant,
  LoginRequiredError,
  memoryStore,
  password,
  refreshToken,
  type StoredRecord,
  TokenManager,
  type TokenStore,
  versionOf,
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
  START,
  settled,
  sourceAt,
  timersNeverFire,
  troubledStore,
  turns,
} from './renewal-harness.ts'

movedTime()

test('the session is one frozen object that is replaced only when something changes', async () => {
  const server = testAuthorizationServer()
  const source = refreshToken({ ...sourceAt(server).options, refreshToken: server.newRefreshToken() })
  const listener = vi.fn()
  expect(source.session).toEqual({ status: 'unknown' })
  expect(source.session).toBe(source.session)
  source.subscribe(listener)
  await source.getAccessToken()
  await turns()
  const signedIn = source.session
  expect(signedIn).toEqual({ status: 'signedIn', claims: undefined, freshness: 'fresh', renewable: true })
  expect(Object.isFrozen(signedIn)).toBe(true)
  expect(listener).toHaveBeenCalledTimes(1)
  await elapse(3 * HOUR, 10 * SECOND)
  expect(server.tokenRequests().length).toBeGreaterThan(2)
  expect(source.session).toBe(signedIn)
  expect(listener).toHaveBeenCalledTimes(1)
})

test('a failure makes it stale, the next success fresh, and the end carries reason and origin', async () => {
  const server = testAuthorizationServer()
  const source = refreshToken({ ...sourceAt(server).options, refreshToken: server.newRefreshToken() })
  const seen: unknown[] = []
  source.subscribe(() => seen.push(source.session))
  await source.getAccessToken()
  server.next([{ status: 503 }])
  await elapse(HOUR, SECOND)
  server.always({ status: 400, body: { error: 'invalid_grant', error_description: 'revoked by the administrator' } })
  await elapse(2 * HOUR, SECOND)
  expect(seen).toMatchObject([
    { status: 'signedIn', freshness: 'fresh' },
    { status: 'signedIn', freshness: 'stale' },
    { status: 'signedIn', freshness: 'fresh' },
    { status: 'signedOut', ended: { reason: 'refused', origin: 'server', error: 'invalid_grant' } },
  ])
  const { session } = source
  expect(session.status === 'signedOut' && session.ended?.lastSuccessAt).toBeGreaterThan(START)
  expect(session.status === 'signedOut' && session.ended?.at).toBeGreaterThan(START + HOUR)
})

test('no instant shows "signed out" before the store was read', async () => {
  const server = testAuthorizationServer()
  const { options } = sourceAt(server, { store: memoryStore() })
  const seed = server.newRefreshToken()
  await refreshToken({ ...options, refreshToken: seed }).getAccessToken()
  const restarted = refreshToken({ ...options, refreshToken: seed })
  const seen: string[] = [restarted.session.status]
  restarted.subscribe(() => seen.push(restarted.session.status))
  await turns(10)
  expect(seen).toEqual(['unknown', 'signedIn'])
})

test.each(['timers', 'no timers'])(
  'no instant shows "signed in" after a token that nothing renews has ended (%s)',
  async (how) => {
    const server = testAuthorizationServer()
    let yields = 1
    const grant = async () => {
      if (yields-- <= 0) throw new LoginRequiredError('login-required', 'Nobody is signed in')
      return { accessToken: 'a', tokenType: 'Bearer', expiresAt: Date.now() + HOUR } as const
    }
    const kind = { name: 'once', oneSession: true, asksAgain: false }
    const source = new TokenManager(grant, sourceAt(server).options, kind)
    if (how === 'no timers') timersNeverFire()
    await source.getAccessToken()
    expect(source.session).toMatchObject({ status: 'signedIn', renewable: false })
    for (let minute = 0; minute < 59; minute++) {
      expect(source.session.status).toBe('signedIn')
      vi.advanceTimersByTime(MINUTE)
      await turns()
    }
    vi.advanceTimersByTime(MINUTE + SECOND)
    await turns()
    expect(source.session.status).toBe('signedOut')
  },
)

test('a listener that was taken away is not called any more', async () => {
  const server = testAuthorizationServer()
  const source = password({ ...sourceAt(server).options, ...USER })
  const listener = vi.fn()
  source.subscribe(listener)()
  await source.getAccessToken()
  await turns()
  expect(listener).not.toHaveBeenCalled()
  const late = vi.fn()
  const stop = source.subscribe(late)
  const revoked = source.revoke() // the change has happened; the listener is about to hear of it
  stop()
  await revoked
  await turns()
  expect(late).not.toHaveBeenCalled()
})

test('a listener that throws takes nothing from the others', async () => {
  const server = testAuthorizationServer()
  const source = password({ ...sourceAt(server).options, ...USER })
  const uncaught: unknown[] = []
  const note = (error: unknown) => uncaught.push(error)
  process.prependListener('uncaughtException', note)
  const others = process.listeners('uncaughtException').filter((one) => one !== note)
  for (const other of others) process.off('uncaughtException', other)
  const heard = vi.fn()
  source.subscribe(() => {
    throw new Error('boom')
  })
  source.subscribe(heard)
  expect((await outcome(source.getAccessToken())).error).toBeUndefined()
  await turns()
  for (const other of others) process.on('uncaughtException', other)
  process.off('uncaughtException', note)
  expect(heard).toHaveBeenCalled()
})

test.each(['refreshToken', 'password', 'clientCredentials'] as const)(
  'revoke() forgets at once, tells the server, and is final for those who share the store (%s)',
  async (kind) => {
    const server = testAuthorizationServer()
    const { store, record } = troubledStore()
    const { options } = sourceAt(server, { store })
    const seed = server.newRefreshToken()
    const make = {
      refreshToken: () => refreshToken({ ...options, refreshToken: seed }),
      password: () => password({ ...options, ...USER }),
      clientCredentials: () => clientCredentials(options),
    }[kind]
    const [source, sibling] = [make(), make()]
    sibling.subscribe(() => {})
    const token = await source.getAccessToken()
    expect(await sibling.getAccessToken()).toBe(token)
    const revoked = source.revoke()
    expect(source.session).toMatchObject({ status: 'signedOut', ended: { reason: 'signed-out', origin: 'user' } })
    await revoked
    await turns()
    expect(server.accepts(token)).toBe(false)
    expect(sibling.session).toMatchObject({ status: 'signedOut', ended: { reason: 'signed-out', origin: 'another' } })
    expect((await record())?.tokens).toEqual({})
    if (kind === 'refreshToken') {
      for (const one of [source, sibling, make()]) {
        expect((await outcome(one.getAccessToken())).error).toMatchObject({ code: 'session-ended' })
      }
      expect(server.tokenRequests()).toHaveLength(1)
    }
  },
)

test('revoke() before anything was read revokes the stored session, and the seed does not come back to life', async () => {
  const server = testAuthorizationServer()
  const { options } = sourceAt(server, { store: memoryStore() })
  const seed = server.newRefreshToken()
  await refreshToken({ ...options, refreshToken: seed }).getAccessToken()
  await refreshToken({ ...options, refreshToken: seed }).revoke()
  expect(server.isRevoked(seed)).toBe(true)
  const restarted = refreshToken({ ...options, refreshToken: seed })
  expect((await outcome(restarted.getAccessToken())).error).toMatchObject({ code: 'session-ended' })
  expect(server.tokenRequests()).toHaveLength(1)
})

test('revoke() of a seed that was never used revokes the seed', async () => {
  const server = testAuthorizationServer()
  const { options } = sourceAt(server, { store: memoryStore() })
  const seed = server.newRefreshToken()
  await refreshToken({ ...options, refreshToken: seed }).revoke()
  expect(server.isRevoked(seed)).toBe(true)
  const restarted = refreshToken({ ...options, refreshToken: seed })
  expect((await outcome(restarted.getAccessToken())).error).toMatchObject({ code: 'session-ended' })
})

test.each(['before the request', 'before the answer', 'after the answer'])(
  'revoke() while a renewal is in flight cannot bring the session back, and revokes what came late (%s)',
  async (when) => {
    const server = testAuthorizationServer()
    const { store, record } = troubledStore()
    const { options } = sourceAt(server, { store })
    const seed = server.newRefreshToken()
    let revoked: Promise<void> | undefined
    const revoke = () => {
      revoked = source.revoke()
    }
    let asked = 0
    const source = refreshToken({
      ...options,
      refreshToken: seed,
      clientSecret: () => {
        if (++asked === 2 && when === 'before the request') revoke()
        return 'client-secret'
      },
      fetch: async (input, init) => {
        const isRefresh = String(init?.body).includes('grant_type=refresh_token') && asked === 2
        if (isRefresh && when === 'before the answer') revoke()
        const response = await server.fetch(input, init)
        if (isRefresh && when === 'after the answer') revoke()
        return response
      },
    })
    const first = await source.getAccessToken()
    const { error } = await settled(source.getAccessToken({ rejectedToken: first }), MINUTE)
    await revoked
    await turns(10)
    expect(error).toMatchObject({ name: 'LoginRequiredError', code: 'session-ended' })
    expect(source.session).toMatchObject({ status: 'signedOut', ended: { reason: 'signed-out' } })
    expect((await record())?.tokens).toEqual({})
    expect(server.isRevoked(seed)).toBe(true)
    expect((await outcome(source.getAccessToken())).error).toMatchObject({ code: 'session-ended' })
  },
)

test('revoke() while the answer of a renewal is being written cannot bring the session back', async () => {
  const server = testAuthorizationServer()
  const { store, record } = troubledStore()
  let revoked: Promise<void> | undefined
  const replace: typeof store.replace = (key, expected, next) => {
    if (revoked === undefined && next?.lastSuccessAt !== undefined) revoked = source.revoke()
    return store.replace(key, expected, next)
  }
  const seed = server.newRefreshToken()
  const { options } = sourceAt(server, { store: { ...store, replace } })
  const source = refreshToken({ ...options, refreshToken: seed })
  const { error } = await outcome(source.getAccessToken())
  await revoked
  expect(error).toMatchObject({ code: 'session-ended' })
  expect(source.session).toMatchObject({ status: 'signedOut', ended: { reason: 'signed-out', origin: 'user' } })
  expect((await record())?.tokens).toEqual({})
  expect(server.isRevoked(seed)).toBe(true)
})

test('a renewal that fails after revoke() and before that is stored does not bring the session back', async () => {
  const server = testAuthorizationServer()
  const { store, record } = troubledStore()
  let slow = false
  const get: typeof store.get = async (key) => {
    const found = await store.get(key)
    if (slow) await new Promise((resolve) => setTimeout(resolve, 3 * SECOND))
    return found
  }
  const { options } = sourceAt(server, { store: { get, replace: store.replace, lock: store.lock } })
  const source = refreshToken({ ...options, refreshToken: server.newRefreshToken() })
  const rejectedToken = await source.getAccessToken()
  server.always({ status: 503, delay: SECOND })
  const renewal = outcome(source.getAccessToken({ rejectedToken }))
  await turns(5)
  slow = true
  const revoked = source.revoke()
  for (let second = 0; second < 8; second++) {
    await elapse(SECOND, 100)
    expect(source.session.status).toBe('signedOut')
  }
  await settled(Promise.all([renewal, revoked]), MINUTE)
  expect((await record())?.tokens).toEqual({})
})

test('revoke() while a renewal without store is in flight cannot bring the session back', async () => {
  const server = testAuthorizationServer()
  const { store, trouble } = troubledStore()
  trouble.get = trouble.replace = trouble.lock = 'throws'
  const source = password({ ...sourceAt(server, { store }).options, ...USER })
  server.next([{ delay: SECOND }])
  const call = outcome(source.getAccessToken())
  await turns()
  const revoked = source.revoke()
  await elapse(2 * SECOND)
  await revoked
  expect((await call).value).toBeUndefined()
  expect(source.session.status).toBe('signedOut')
  const late = server.requests.filter(({ endpoint }) => endpoint === 'revocation')
  expect(late.map(({ parameters }) => parameters.get('token_type_hint'))).toEqual(['refresh_token'])
})

test.each(['get', 'replace'] as const)(
  'a sign-out that could not be stored is not undone when %s works again',
  async (operation) => {
    const server = testAuthorizationServer()
    const { store, trouble, record } = troubledStore()
    const source = refreshToken({ ...sourceAt(server, { store }).options, refreshToken: server.newRefreshToken() })
    await source.getAccessToken()
    trouble[operation] = 'throws'
    if (operation === 'get') trouble.replace = 'throws'
    await source.revoke()
    trouble.get = trouble.replace = undefined
    expect((await outcome(source.getAccessToken())).error).toMatchObject({ name: 'LoginRequiredError' })
    await elapse(2 * MINUTE)
    expect((await record())?.tokens).toEqual({})
    expect(source.session).toMatchObject({ status: 'signedOut', ended: { reason: 'signed-out' } })
  },
)

test('a sign-out that could not be stored does not end a session that somebody else began since', async () => {
  const server = testAuthorizationServer()
  const { store, trouble, record } = troubledStore()
  const { options } = sourceAt(server)
  const cutOff = password({ ...options, ...USER, store })
  const sibling = password({ ...options, ...USER, store: { ...store, ...plain(store, trouble) } })
  await cutOff.getAccessToken()
  trouble.get = trouble.replace = 'throws'
  server.always({ status: 503 }, 'revocation')
  await cutOff.revoke()
  await elapse(100)
  await sibling.revoke()
  const token = await sibling.getAccessToken()
  trouble.get = trouble.replace = undefined
  await elapse(2 * MINUTE)
  expect(JSON.stringify(await record())).toContain(token)
  expect(await cutOff.getAccessToken()).toBe(token)
})

/** The same records, reached by somebody who is not cut off. */
function plain(
  store: TokenStore,
  trouble: ReturnType<typeof troubledStore>['trouble'],
): Pick<TokenStore, 'get' | 'replace'> {
  const untroubled = async <T>(call: () => Promise<T>): Promise<T> => {
    const before = { ...trouble }
    trouble.get = trouble.replace = undefined
    const result = call()
    Object.assign(trouble, before)
    return result
  }
  return {
    get: (key) => untroubled(() => store.get(key)),
    replace: (...all) => untroubled(() => store.replace(...all)),
  }
}

test('what is issued after a sign-out that could not be stored takes the place of what is stored', async () => {
  const server = testAuthorizationServer()
  const { store, trouble, record } = troubledStore()
  const source = password({ ...sourceAt(server, { store }).options, ...USER })
  const first = await source.getAccessToken()
  await elapse(SECOND)
  trouble.get = trouble.replace = trouble.lock = 'throws'
  server.always({ status: 503 }, 'revocation')
  await source.revoke()
  const second = await source.getAccessToken()
  expect(second).not.toBe(first)
  trouble.get = trouble.replace = trouble.lock = undefined
  await elapse(2 * MINUTE)
  expect(await source.getAccessToken()).toBe(second)
  expect(JSON.stringify(await record())).not.toContain(first)
})

test('a sign-out with a store that is slow to answer does not undo what was asked for after it', async () => {
  const server = testAuthorizationServer()
  const { store } = troubledStore()
  let slow = false
  const get: typeof store.get = async (key) => {
    const found = await store.get(key)
    if (slow) {
      slow = false
      await new Promise((resolve) => setTimeout(resolve, SECOND))
    }
    return found
  }
  const source = clientCredentials(sourceAt(server, { store: { ...store, get } }).options)
  await source.getAccessToken()
  slow = true
  const revoked = source.revoke()
  const again = await source.getAccessToken()
  expect(source.session.status).toBe('signedIn')
  await elapse(2 * SECOND)
  await revoked
  expect(source.session.status).toBe('signedIn')
  expect(await source.getAccessToken()).toBe(again)
})

test('a read that began before a write does not bring the old tokens back', async () => {
  const server = testAuthorizationServer()
  const { store } = troubledStore()
  const slow = { reading: false }
  const get: typeof store.get = async (key) => {
    const found = await store.get(key)
    if (slow.reading) await new Promise((resolve) => setTimeout(resolve, SECOND))
    return found
  }
  const replace: typeof store.replace = async (key, expected, next) => {
    await new Promise((resolve) => setTimeout(resolve, 100))
    return store.replace(key, expected, next)
  }
  const shared = { get, replace, lock: store.lock }
  const source = refreshToken({
    ...sourceAt(server, { store: shared }).options,
    refreshToken: server.newRefreshToken(),
  })
  const { value: first = '' } = await settled(source.getAccessToken(), 5 * SECOND)
  server.next([{ delay: 200 }])
  const renewal = outcome(source.getAccessToken({ rejectedToken: first }))
  await elapse(350, 10) // the answer is there, its write has begun …
  slow.reading = true
  vi.setSystemTime(Date.now() + 10 * SECOND) // … and a gap in the clock has the store read meanwhile
  const other = outcome(source.getAccessToken())
  await elapse(3 * SECOND, 10)
  slow.reading = false
  const { value: second } = await renewal
  await other
  expect(second).not.toBe(first)
  expect(await source.getAccessToken()).toBe(second)
})

test('a store that cannot tell of changes is read all the same', async () => {
  const server = testAuthorizationServer()
  const { store, trouble } = troubledStore()
  const { options } = sourceAt(server, { store })
  const seed = server.newRefreshToken()
  await refreshToken({ ...options, refreshToken: seed }).getAccessToken()
  trouble.watch = 'throws'
  const restarted = refreshToken({ ...options, refreshToken: seed })
  restarted.subscribe(() => {})
  await turns(10)
  expect(restarted.session).toMatchObject({ status: 'signedIn' })
  expect(restarted.stats().degradations).toBe(1)
})

test('the same seed finds its successor in the store', async () => {
  const server = testAuthorizationServer()
  const { options } = sourceAt(server, { store: memoryStore() })
  const seed = server.newRefreshToken()
  for (let restart = 0; restart < 5; restart++) {
    const source = refreshToken({ ...options, refreshToken: seed })
    expect(server.accepts(await source.getAccessToken())).toBe(true)
    vi.setSystemTime(Date.now() + 2 * HOUR)
  }
  expect(server.reuses).toEqual([])
  expect(server.tokenRequests().filter((request) => request.refreshToken === seed)).toHaveLength(1)
})

test('a new seed replaces the stored session, a dead one too', async () => {
  const server = testAuthorizationServer()
  const { options } = sourceAt(server, { store: memoryStore() })
  await refreshToken({ ...options, refreshToken: server.newRefreshToken() }).getAccessToken()
  const second = server.newRefreshToken()
  const token = await refreshToken({ ...options, refreshToken: second }).getAccessToken()
  expect(server.tokenRequests().at(-1)?.refreshToken).toBe(second)
  expect(server.accepts(token)).toBe(true)
  await outcome(refreshToken({ ...options, refreshToken: 'dead' }).getAccessToken())
  expect(await refreshToken({ ...options, refreshToken: server.newRefreshToken() }).getAccessToken()).toBeDefined()
})

test('a dead seed is presented once, however many processes have it', async () => {
  const server = testAuthorizationServer()
  const { options } = sourceAt(server, { store: memoryStore() })
  for (let restart = 0; restart < 5; restart++) {
    const source = refreshToken({ ...options, refreshToken: 'dead' })
    const results = await Promise.all([1, 2, 3].map(() => outcome(source.getAccessToken())))
    for (const { error } of results) expect(error).toMatchObject({ code: 'session-ended' })
    vi.setSystemTime(Date.now() + HOUR)
  }
  expect(server.tokenRequests()).toHaveLength(1)
})

test('two processes with different seeds in one store do not spend one twice', async () => {
  const server = testAuthorizationServer()
  const { options } = sourceAt(server, { store: memoryStore() })
  const [old, next] = [server.newRefreshToken(), server.newRefreshToken()]
  const before = refreshToken({ ...options, refreshToken: old })
  await before.getAccessToken()
  await refreshToken({ ...options, refreshToken: next }).getAccessToken() // a rolling deployment: both are there
  vi.setSystemTime(Date.now() + 2 * HOUR)
  await before.getAccessToken()
  vi.setSystemTime(Date.now() + 2 * HOUR)
  const { value } = await outcome(refreshToken({ ...options, refreshToken: next }).getAccessToken())
  expect(server.reuses).toEqual([])
  expect(server.accepts(value ?? '')).toBe(true)
})

const healthy = (record: StoredRecord) => structuredClone(record) as unknown as Record<string, unknown>
const damages: [string, (record: Record<string, unknown>) => unknown][] = [
  ['a text', () => 'garbage'],
  ['a number', () => 42],
  ['a list', () => []],
  ['an empty object', () => ({})],
  ['another format', (record) => ({ ...record, format: 2 })],
  ['no version', ({ version: _, ...record }) => record],
  ['a version that is text', (record) => ({ ...record, version: '5' })],
  ['a version that is null', (record) => ({ ...record, version: null })],
  ['no tokens', ({ tokens: _, ...record }) => record],
  ['tokens as a list', (record) => ({ ...record, tokens: [] })],
  ['a token that is cut short', (record) => ({ ...record, tokens: { '[[],[],[]]': { accessToken: 'half' } } })],
  ['a token that is null', (record) => ({ ...record, tokens: { '[[],[],[]]': null } })],
  ['times that are text', (record) => ({ ...record, tokens: { '[[],[],[]]': tokenOf({ expiresAt: 'never' }) } })],
  ['a refresh token that is a number', (record) => ({ ...record, refreshToken: 5 })],
  ['claims without subject', (record) => ({ ...record, claims: {} })],
  ['failures that are text', (record) => ({ ...record, failures: 'many' })],
  ['an end that is text', (record) => ({ ...record, ended: 'yes' })],
]

function tokenOf(more: object) {
  return { accessToken: 'stored', tokenType: 'Bearer', issuedAt: START, expiresAt: START + HOUR, ...more }
}

test.each(damages)('a stored session that is damaged heals by itself and is reported: %s', async (_, damage) => {
  const server = testAuthorizationServer()
  const inner = memoryStore()
  let damaged: unknown
  const { options, warnings } = sourceAt(server, {
    store: {
      ...inner,
      get: async (key) => (damaged === undefined ? inner.get(key) : (damaged as StoredRecord)),
      replace: async (key, expected, next) => {
        if (damaged === undefined) return inner.replace(key, expected, next)
        if (versionOf(damaged) !== expected) return false
        damaged = undefined
        const current = await inner.get(key)
        return inner.replace(key, current?.version, next)
      },
    },
  })
  const first = clientCredentials(options)
  await first.getAccessToken()
  const key = JSON.stringify([server.issuer, 'client', 'client_credentials', 'default', '[[],[],[]]'])
  damaged = damage(healthy((await inner.get(key)) as StoredRecord))
  const restarted = clientCredentials(options)
  const { value, error } = await outcome(restarted.getAccessToken())
  expect(error).toBeUndefined()
  expect(server.accepts(value ?? '')).toBe(true)
  expect(warnings.join()).toMatch(/damaged/)
  expect(restarted.stats().degradations).toBeGreaterThan(0)
  const third = clientCredentials(sourceAt(server, { store: options.store }).options)
  expect(await third.getAccessToken()).toBe(value)
  expect(third.stats().degradations).toBe(0)
})

const oddities: [string, (record: Record<string, unknown>) => unknown][] = [
  [
    'a back-off without end',
    (r) => ({ ...r, tokens: {}, failures: { '': { code: 'network', count: 1, at: 0, retryAt: 1e300 } } }),
  ],
  [
    'a back-off of ten years',
    (r) => ({ ...r, tokens: {}, failures: { '': { code: 'network', count: 1, at: 0, retryAt: START + 3e11 } } }),
  ],
  ['a timeline of nothing', (r) => ({ ...r, timeline: [null, 5, {}] })],
  ['a token for ever', (r) => ({ ...r, tokens: { '[[],[],[]]': tokenOf({ issuedAt: 0, expiresAt: 1e300 }) } })],
  ['an empty token', (r) => ({ ...r, tokens: { '[[],[],[]]': tokenOf({ accessToken: '' }) } })],
  ['an end without reason', (r) => ({ ...r, tokens: {}, ended: {} })],
  ['refusals that are no number', (r) => ({ ...r, tokens: {}, refusals: 'many' })],
  ['a journal that is text', (r) => ({ ...r, tokens: {}, sending: 'yes' })],
]

test.each(oddities)(
  'a stored session with %s ends in a valid token, and in nothing that is not typed',
  async (_, change) => {
    const server = testAuthorizationServer()
    const { store, change: write } = troubledStore()
    const { options } = sourceAt(server, { store })
    await clientCredentials(options).getAccessToken()
    await write((record) => change(healthy(record)) as StoredRecord)
    const source = clientCredentials(options)
    for (let attempt = 0; attempt < 3; attempt++) {
      const { error } = await outcome(source.getAccessToken())
      if (error) expect(error.name).toMatch(/^(TokenUnavailableError|LoginRequiredError)$/)
      await elapse(HOUR, MINUTE)
    }
    const token = await source.getAccessToken()
    expect(server.accepts(token)).toBe(true)
    expect(source.explain().every(({ at, event }) => Number.isFinite(at) && typeof event === 'string')).toBe(true)
    const { value } = await outcome(source.getAccessToken({ rejectedToken: token }))
    expect(value).not.toBe(token)
    expect(value).toBeDefined()
  },
)

test('the counts say what was spent and saved', async () => {
  const server = testAuthorizationServer()
  const { options, warnings } = sourceAt(server)
  const source = refreshToken({ ...options, refreshToken: server.newRefreshToken() })
  expect(source.stats()).toEqual({
    tokenRequests: 0,
    tokensServedFromMemory: 0,
    renewals: 0,
    failures: 0,
    degradations: 0,
  })
  await Promise.all(Array.from({ length: 10 }, () => source.getAccessToken()))
  for (let call = 0; call < 90; call++) await source.getAccessToken()
  vi.setSystemTime(Date.now() + 2 * HOUR)
  server.next([{ status: 503 }])
  await outcome(source.getAccessToken())
  vi.setSystemTime(Date.now() + MINUTE)
  await source.getAccessToken()
  expect(source.stats()).toEqual({
    tokenRequests: 3,
    tokensServedFromMemory: 90,
    renewals: 1,
    failures: 1,
    degradations: 0,
  })
  expect(warnings).toEqual([])
})

test('the story of a session survives a restart, in order and bounded', async () => {
  const server = testAuthorizationServer({ lifetime: 60 })
  const { options } = sourceAt(server, { store: memoryStore() })
  const seed = server.newRefreshToken()
  const source = refreshToken({ ...options, refreshToken: seed })
  for (let minute = 0; minute < 100; minute++) {
    if (minute % 10 === 5) server.next([{ status: 503 }])
    await outcome(source.getAccessToken())
    vi.setSystemTime(Date.now() + MINUTE)
  }
  server.always({ status: 400, body: { error: 'invalid_grant' } })
  await outcome(source.getAccessToken())
  const restarted = refreshToken({ ...options, refreshToken: seed })
  restarted.subscribe(() => {})
  await turns()
  const story = restarted.explain()
  expect(story).toEqual(source.explain())
  expect(story.length).toBeGreaterThan(20)
  expect(story.length).toBeLessThanOrEqual(100)
  expect(story.map(({ at }) => at)).toEqual(story.map(({ at }) => at).sort((one, other) => one - other))
  expect(story.map(({ event }) => event)).toEqual(expect.arrayContaining(['renewed', 'failed', 'ended']))
  expect(story.at(-1)).toMatchObject({ event: 'ended', detail: 'refused' })
})

test("a grant of the app's own may leave out what is not known, and is put in order", async () => {
  const { options, warnings } = sourceAt(testAuthorizationServer())
  let calls = 0
  const grant = async () => {
    calls++
    return { accessToken: 'a', tokenType: 'bearer', claims: { name: 'no sub' }, refreshToken: '', idToken: null }
  }
  const source = new TokenManager(grant as unknown as Grant, options)
  for (let call = 0; call < 10; call++) expect(await source.getAccessToken()).toBe('a')
  expect(await source.getTokenSet()).toMatchObject({ tokenType: 'Bearer', expiresAt: Date.now() + 300 * SECOND })
  expect([calls, warnings]).toEqual([1, []])
  const nothing = new TokenManager((async () => undefined) as unknown as Grant, options)
  expect((await outcome(nothing.getAccessToken())).error).toMatchObject({ code: 'invalid-response' })
})

test('subscribe needs no this, and the same listener may come twice', async () => {
  const { subscribe, ...source } = { subscribe: password({ ...sourceAt(testAuthorizationServer()).options, ...USER }) }
    .subscribe as TokenManager & Record<string, unknown>
  expect(source).toBeDefined()
  let heard = 0
  const listener = () => heard++
  const stop = subscribe(listener)
  subscribe(listener)
  stop()
  await turns(10)
  expect(heard).toBe(1) // unknown → signedOut, told to the one that is left
})

test('options that cannot work are said at once', () => {
  const { options } = sourceAt(testAuthorizationServer())
  const timeouts = [-1, 0, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31].map((timeout) => ({ timeout }))
  for (const wrong of [...timeouts, { store: {} }]) {
    expect(() => clientCredentials({ ...options, ...wrong } as never)).toThrow(
      expect.objectContaining({ code: 'invalid-options' }),
    )
  }
})
