import { clientCredentials, LocalLocks, memoryStore, password, refreshToken, type TokenStore } from '@keyturn/core'
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

test('R5: the store is read again under the lock, before anything is sent', async () => {
  const server = testAuthorizationServer()
  const { store, change } = troubledStore()
  const unwatched = { get: store.get, replace: store.replace, lock: store.lock }
  const source = refreshToken({
    ...sourceAt(server, { store: unwatched }).options,
    refreshToken: server.newRefreshToken(),
  })
  await source.getAccessToken()
  await elapse(3000 * SECOND, 10 * SECOND)
  const now = Date.now()
  await change((record) => {
    const elsewhere = server.refreshElsewhere(record.refreshToken ?? '')
    const [key = ''] = Object.keys(record.tokens)
    const token = {
      accessToken: elsewhere.accessToken,
      tokenType: 'Bearer',
      issuedAt: now,
      expiresAt: now + HOUR,
    } as const
    return { ...record, refreshToken: elsewhere.refreshToken, tokens: { [key]: token } }
  })
  await elapse(650 * SECOND, SECOND)
  expect(server.accepts(await source.getAccessToken())).toBe(true)
  expect(server.tokenRequests()).toHaveLength(1)
  expect(server.reuses).toEqual([])
})

test('R5: a holder whose lease was lost before it sent sends nothing', async () => {
  const server = testAuthorizationServer()
  const { store } = troubledStore()
  let valid = true
  const lock: TokenStore['lock'] = (key, critical, duration) =>
    store.lock(key, (lease) => critical({ valid: () => valid && lease.valid() }), duration)
  const { options } = sourceAt(server, { store: { ...store, lock } })
  const source = refreshToken({
    ...options,
    refreshToken: server.newRefreshToken(),
    clientSecret: () => {
      valid = false // frozen here, thawed after the lease
      return server.settings.secret ?? ''
    },
  })
  const { error } = await outcome(source.getAccessToken())
  expect(error).toMatchObject({ name: 'TokenUnavailableError', code: 'busy', retryable: true })
  expect(server.tokenRequests()).toEqual([])
  valid = true
  expect(source.session).toMatchObject({ status: 'signedIn' })
})

test('R5: before a refresh token is sent the journal says so, and after a clear answer it does not', async () => {
  const server = testAuthorizationServer()
  const { store, record } = troubledStore()
  const source = refreshToken({ ...sourceAt(server, { store }).options, refreshToken: server.newRefreshToken() })
  let during: unknown
  server.next([
    {
      meanwhile: async () => {
        during = (await record())?.sending
      },
    },
  ])
  await source.getAccessToken()
  expect(during).toBe(Date.now())
  expect((await record())?.sending).toBeUndefined()
})

test.each(['a store that tells of changes', 'a store that does not'])(
  'R5: a holder who finds the record changed when it comes to write does not overwrite it (%s)',
  async (which) => {
    const server = testAuthorizationServer({ grace: MINUTE })
    const { store, change, record } = troubledStore()
    const silent = { get: store.get, replace: store.replace, lock: store.lock }
    const { options } = sourceAt(server, { store: which.endsWith('changes') ? store : silent })
    const source = refreshToken({ ...options, refreshToken: server.newRefreshToken() })
    let theirs = { accessToken: '', refreshToken: '' }
    server.next([
      {
        meanwhile: () =>
          change(({ sending: _, ...stored }) => {
            theirs = server.refreshElsewhere(stored.refreshToken ?? '')
            const [issuedAt, expiresAt] = [Date.now(), Date.now() + HOUR]
            const token = { accessToken: theirs.accessToken, tokenType: 'Bearer', issuedAt, expiresAt } as const
            return { ...stored, refreshToken: theirs.refreshToken, tokens: { [OWN]: token } }
          }),
      },
    ])
    expect(await source.getAccessToken()).toBe(theirs.accessToken)
    expect(await record()).toMatchObject({ refreshToken: theirs.refreshToken })
    expect(server.tokenRequests()).toHaveLength(1)
  },
)

test('R5: a holder who was passed over does not write the older token of a machine over the newer one', async () => {
  const server = testAuthorizationServer()
  const { store, change, record } = troubledStore()
  const silent = { get: store.get, replace: store.replace, lock: store.lock }
  const source = clientCredentials(sourceAt(server, { store: silent }).options)
  await source.getAccessToken()
  await elapse(HOUR + SECOND, MINUTE)
  server.next([{ delay: 5 * SECOND }])
  const renewal = source.getAccessToken()
  await elapse(2 * SECOND)
  const [issuedAt, expiresAt] = [Date.now(), Date.now() + HOUR]
  const newer = { accessToken: 'of the successor', tokenType: 'Bearer', issuedAt, expiresAt } as const
  await change((stored) => ({ ...stored, tokens: { [OWN]: newer } }))
  await elapse(5 * SECOND)
  expect(await renewal).toBe(newer.accessToken)
  expect((await record())?.tokens[OWN]).toEqual(newer)
  expect(server.tokenRequests()).toHaveLength(2)
})

test.each([
  ['a failure', { status: 503 }],
  ['a refusal of what was sent', { status: 400, body: { error: 'invalid_grant' } }],
  ['a lost answer', { lost: 'answer' }],
] as const)(
  "R5: a holder who was passed over and ends with %s leaves its sibling's refresh token alone",
  async (_, fault) => {
    const server = testAuthorizationServer({ grace: MINUTE })
    const { store, change, record } = troubledStore()
    const source = refreshToken({ ...sourceAt(server, { store }).options, refreshToken: server.newRefreshToken() })
    const rejectedToken = await source.getAccessToken()
    let theirs = ''
    server.next([
      {
        ...fault,
        meanwhile: async () => {
          await change(({ sending: __, ...stored }) => {
            theirs = server.refreshElsewhere(stored.refreshToken ?? '').refreshToken
            return { ...stored, refreshToken: theirs }
          })
          await turns() // the store tells that there is something new
        },
      },
    ])
    await outcome(source.getAccessToken({ rejectedToken }))
    await elapse(MINUTE)
    await outcome(source.getAccessToken({ rejectedToken }))
    expect(theirs).not.toBe('')
    expect(server.tokenRequests().map((request) => request.refreshToken)).toContain(theirs)
    expect(source.session.status).toBe('signedIn')
    expect((await record())?.refreshToken).toMatch(/^refresh-token/)
  },
)

test('R5: a lock that never comes back delays a valid token not at all and an expired one by five time-outs at most', async () => {
  const server = testAuthorizationServer()
  const { store, trouble } = troubledStore()
  const { options } = sourceAt(server, { store, timeout: SECOND })
  const sources = [
    clientCredentials(options),
    refreshToken({ ...options, refreshToken: server.newRefreshToken() }),
    password({ ...options, ...USER }),
  ]
  for (const source of sources) await source.getAccessToken()
  trouble.lock = 'hangs'
  await elapse(3400 * SECOND, 10 * SECOND)
  for (const source of sources) {
    const { value, after } = await outcome(source.getAccessToken())
    expect([typeof value, after]).toEqual(['string', 0])
  }
  await elapse(300 * SECOND, SECOND)
  const [machine, seeded, person] = await Promise.all(
    sources.map((source) => settled(source.getAccessToken(), 5 * SECOND)),
  )
  expect(machine?.value).toBeDefined()
  expect(seeded?.error).toMatchObject({ name: 'TokenUnavailableError', code: 'storage', retryable: true })
  expect(person?.value).toBeDefined()
})

test('R5: a lock that is never given back after the work is done costs its callers nothing that was earned', async () => {
  const server = testAuthorizationServer()
  const { store, trouble } = troubledStore()
  const { options } = sourceAt(server, { store, timeout: SECOND })
  const source = clientCredentials(options)
  trouble.unlock = 'hangs'
  const first = await settled(source.getAccessToken(), 5 * SECOND)
  trouble.unlock = undefined
  await elapse(2 * HOUR, 10 * SECOND)
  const second = await settled(source.getAccessToken(), 5 * SECOND)
  expect(second.error).toBeUndefined()
  expect(first.error).toBeUndefined()
  expect(server.accepts(second.value ?? '')).toBe(true)
})

test('R5: a store whose lock came back late starts nothing behind the back of those who gave up', async () => {
  const server = testAuthorizationServer()
  const locks = new LocalLocks()
  const store = { ...memoryStore(), lock: locks.run.bind(locks) as TokenStore['lock'] }
  const source = refreshToken({
    ...sourceAt(server, { store, timeout: SECOND }).options,
    refreshToken: server.newRefreshToken(),
  })
  let free = () => {}
  const holder = locks.run(KEY, () => new Promise<void>((resolve) => (free = resolve)), 9 * HOUR)
  const { error } = await settled(source.getAccessToken(), 5 * SECOND)
  expect(error).toMatchObject({ code: 'storage' })
  free()
  await holder
  await turns(10)
  expect(server.tokenRequests()).toEqual([])
})

const refusals = [
  { status: 400, body: { error: 'invalid_request' } },
  { status: 400, body: { error: 'unauthorized_client' } },
  { status: 400, body: { error: 'invalid_scope' } },
  { status: 400, body: { error: 'server_error' } },
  { status: 400, body: { error: 'temporarily_unavailable' } },
  { status: 401, body: { error: 'invalid_client' }, headers: { 'www-authenticate': 'Basic' } },
  { status: 403 },
  { status: 404, body: 'not found' },
  { status: 408 },
  { status: 500, body: { error: 'invalid_grant' } },
  { status: 302, headers: { location: 'https://hotel.example/' } },
  { body: { access_token: '' } },
  { body: { access_token: 'x', token_type: 'mac' } },
  { body: 'x'.repeat(2_000_000) },
  { body: '{"access_token":"half' },
  { lost: 'request' },
] as const

test('R6: everything but a refusal keeps the refresh token byte for byte and the session signed in', async () => {
  const server = testAuthorizationServer()
  const { store, record } = troubledStore()
  const seed = server.newRefreshToken()
  const source = refreshToken({ ...sourceAt(server, { store }).options, refreshToken: seed })
  for (const fault of refusals) {
    server.always(fault)
    const { error } = await outcome(source.getAccessToken())
    expect(error?.name).toMatch(/^(TokenUnavailableError|AuthorizationServerError)$/)
    expect((await record())?.refreshToken).toBe(seed)
    expect(source.session).toMatchObject({ status: 'signedIn', freshness: 'stale' })
    server.always(undefined)
    await elapse(3 * MINUTE, 10 * SECOND)
  }
  server.always(undefined)
  expect(await source.getAccessToken()).toBeDefined()
  expect(source.session).toMatchObject({ status: 'signedIn', freshness: 'fresh' })
})

test('R6: a refused refresh token ends the session, once and typed', async () => {
  const server = testAuthorizationServer()
  const { store, record } = troubledStore()
  const source = refreshToken({ ...sourceAt(server, { store }).options, refreshToken: 'never issued' })
  for (let call = 0; call < 50; call++) {
    const { error } = await outcome(source.getAccessToken())
    expect(error).toMatchObject({ name: 'LoginRequiredError', code: 'session-ended' })
    await elapse(MINUTE, 10 * SECOND)
  }
  expect(server.tokenRequests()).toHaveLength(1)
  expect(source.session).toMatchObject({
    status: 'signedOut',
    ended: { reason: 'refused', origin: 'server', error: 'invalid_grant' },
  })
  expect((await record())?.refreshToken).toBeUndefined()
})

test("R6: a sibling's newer refresh token is adopted where the own one is refused", async () => {
  const server = testAuthorizationServer()
  const { store, change } = troubledStore()
  const source = refreshToken({ ...sourceAt(server, { store }).options, refreshToken: server.newRefreshToken() })
  await source.getAccessToken()
  await elapse(2 * HOUR, MINUTE)
  // Somebody who does not heed the lock is faster, between our reading and our sending, and takes a while to write.
  server.next([
    {
      status: 400,
      body: { error: 'invalid_grant' },
      meanwhile: () =>
        change((record) => ({
          ...record,
          refreshToken: server.refreshElsewhere(record.refreshToken ?? '').refreshToken,
        })),
    },
  ])
  vi.advanceTimersByTime(2 * HOUR)
  const { value } = await settled(source.getAccessToken(), MINUTE)
  expect(server.accepts(value ?? '')).toBe(true)
  expect(source.session.status).toBe('signedIn')
  expect(server.reuses).toEqual([])
})

test('R6: an answer to a refresh that is about another user is discarded', async () => {
  const server = testAuthorizationServer({ rotate: false })
  const { options } = sourceAt(server, { scope: 'openid' })
  const source = password({ ...options, ...USER })
  const { accessToken, claims } = await source.getTokenSet()
  const [head, , signature] = (await source.getTokenSet()).idToken?.split('.') ?? []
  const mallory = {
    iss: server.issuer,
    aud: 'client',
    sub: 'mallory',
    iat: Date.now() / 1000,
    exp: Date.now() / 1000 + 300,
  }
  server.next([
    { change: (answer) => ({ ...answer, id_token: [head, btoa(JSON.stringify(mallory)), signature].join('.') }) },
  ])
  const { error } = await outcome(source.getAccessToken({ rejectedToken: accessToken }))
  expect(error).toMatchObject({ name: 'TokenUnavailableError', code: 'invalid-response' })
  await elapse(2 * SECOND)
  expect((await source.getTokenSet({ rejectedToken: accessToken })).claims).toEqual(claims)
})

test('R7: after invalid_client the secret is asked for once more, and a new one is tried once', async () => {
  const server = testAuthorizationServer()
  let asked = 0
  let current = 'client-secret'
  const clientSecret = () => {
    asked++
    return asked === 2 ? 'client-secret' : current
  }
  const source = clientCredentials(sourceAt(server, { clientSecret }).options)
  await source.getAccessToken()
  server.settings.secret = current = 'rotated-secret' // what is asked for second is still the old one
  vi.advanceTimersByTime(2 * HOUR)
  const { error } = await outcome(source.getAccessToken())
  expect(error).toBeUndefined()
  expect(asked).toBe(3)
  expect(server.tokenRequests()).toHaveLength(3)
  expect(source.stats().failures).toBe(0)
})

test('R7: a secret that stays refused is sent once, not per call', async () => {
  const server = testAuthorizationServer()
  server.settings.secret = 'another'
  let asked = 0
  const clientSecret = () => `wrong-secret ${Math.min(asked++, 0)}`
  const source = clientCredentials(sourceAt(server, { clientSecret }).options)
  for (let call = 0; call < 100; call++) {
    const { error } = await outcome(source.getAccessToken())
    expect(error).toMatchObject({ name: 'AuthorizationServerError', code: 'client-refused', error: 'invalid_client' })
  }
  expect(server.tokenRequests()).toHaveLength(1)
  expect(asked).toBe(101) // at every call, for it may have changed, and once more after the refusal
})

test('R7: a secret or a password that was corrected is sent at once', async () => {
  const server = testAuthorizationServer()
  let [clientSecret, secret] = ['wrong', 'wrong']
  const options = sourceAt(server, { clientSecret: () => clientSecret }).options
  const source = password({ ...options, ...USER, password: () => secret })
  for (let call = 0; call < 10; call++) {
    expect((await outcome(source.getAccessToken())).error).toMatchObject({ code: 'client-refused' })
    await elapse(MINUTE, 20 * SECOND)
  }
  clientSecret = 'client-secret'
  expect((await outcome(source.getAccessToken())).error).toMatchObject({ code: 'credentials-refused' })
  secret = USER.password
  expect(server.accepts(await source.getAccessToken())).toBe(true)
})

test('R7: a wrong password is sent once, however often and however long one asks', async () => {
  const server = testAuthorizationServer()
  const source = password({ ...sourceAt(server).options, ...USER, password: 'wrong' })
  for (let call = 0; call < 200; call++) {
    const { error } = await outcome(source.getAccessToken(call % 2 ? {} : { scope: 'other' }))
    expect(error).toMatchObject({
      name: 'AuthorizationServerError',
      code: 'credentials-refused',
      error: 'invalid_grant',
    })
    await elapse(MINUTE, 20 * SECOND)
  }
  expect(server.tokenRequests()).toHaveLength(1)
})

test('R7: a password that changed is tried', async () => {
  const server = testAuthorizationServer()
  let current = 'wrong'
  const source = password({ ...sourceAt(server).options, ...USER, password: () => current })
  await outcome(source.getAccessToken())
  current = USER.password
  await elapse(2 * MINUTE, 10 * SECOND)
  expect((await outcome(source.getAccessToken())).error).toBeUndefined()
  expect(server.tokenRequests()).toHaveLength(2)
})

/** How a source without scope, resource and parameters keeps its own token, and where the seeded one keeps its session. */
const OWN = '[[],[],[]]'
const KEY = JSON.stringify(['https://as.example', 'client', 'refresh_token', 'default'])
