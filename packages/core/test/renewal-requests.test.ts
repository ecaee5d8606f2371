import { clientCredentials, password, refreshToken } from '@keyturn/core'
import { expect, test } from 'vitest'
import { type Fault, testAuthorizationServer, USER } from './authorization-server.ts'
import { elapse, HOUR, MINUTE, movedTime, outcome, SECOND, sourceAt, troubledStore, turns } from './renewal-harness.ts'

movedTime()

/** A session that was begun and is to be renewed. */
async function session(more: object = {}, without: object = {}) {
  const server = testAuthorizationServer()
  const shared = troubledStore()
  Object.assign(shared.store, without)
  const { options, warnings } = sourceAt(server, { store: shared.store, ...more })
  const source = refreshToken({ ...options, refreshToken: server.newRefreshToken() })
  const rejectedToken = await source.getAccessToken()
  await elapse(MINUTE)
  return { server, source, rejectedToken, warnings, options, ...shared }
}

test('a refresh says scope and resource only where they are other than the session’s own, and parameters always', async () => {
  const own = { scope: 'a b', resource: 'https://api.example/', parameters: { audience: 'x' } }
  const { server, source, rejectedToken } = await session(own)
  const asked = async (request: object) => {
    await source.getAccessToken(request)
    const { parameters } = server.requests.at(-1) ?? {}
    return ['scope', 'resource', 'audience'].map((name) => parameters?.get(name))
  }
  expect(await asked({ rejectedToken })).toEqual([null, null, 'x'])
  expect(await asked({ scope: 'a' })).toEqual(['a', null, 'x'])
  expect(await asked({ resource: 'https://other.example/' })).toEqual([null, 'https://other.example/', 'x'])
  expect(await asked({ parameters: { audience: 'y' } })).toEqual([null, null, 'y'])
})

test('the scope of a token is what the server granted or, where it says nothing, what was asked for', async () => {
  const server = testAuthorizationServer()
  const source = clientCredentials({ ...sourceAt(server).options, scope: 'a b' })
  server.next([{ change: (answer) => ({ ...answer, scope: 'a' }) }, { change: ({ scope: _, ...answer }) => answer }])
  const { scope, accessToken } = await source.getTokenSet()
  expect(scope).toBe('a')
  await elapse(MINUTE)
  expect((await source.getTokenSet({ rejectedToken: accessToken })).scope).toBe('a b')
})

const answers: [string, Fault, Fault['status'] | undefined, boolean][] = [
  ['says no', { status: 400, body: { error: 'invalid_request' } }, 400, false],
  ['throttles', { status: 429 }, 429, false],
  ['has trouble', { status: 503 }, 503, true],
  ['answers nonsense', { status: 200, body: '<html>', headers: { 'content-type': 'text/html' } }, 200, true],
]

test.each(answers)('of a server that %s the journal keeps only what is not clear', async (_, fault, __, unclear) => {
  const { server, source, rejectedToken, record } = await session()
  server.next([fault])
  await outcome(source.getAccessToken({ rejectedToken }))
  expect((await record())?.sending !== undefined).toBe(unclear)
})

test.each([
  ['before it was sent', 'discovery', 'refused'],
  ['when it was sent', 'token', 'rotation-lost'],
] as const)('a refresh token whose request failed %s and that is refused then', async (_, endpoint, reason) => {
  const server = testAuthorizationServer()
  const { store, record } = troubledStore()
  const source = refreshToken({ ...sourceAt(server, { store }).options, refreshToken: server.newRefreshToken() })
  server.always({ lost: 'request' }, endpoint)
  await outcome(source.getAccessToken())
  expect((await record())?.sending !== undefined).toBe(endpoint === 'token')
  server.always(undefined, endpoint)
  server.always({ status: 400, body: { error: 'invalid_grant' } })
  await elapse(MINUTE)
  await outcome(source.getAccessToken())
  expect(source.session).toMatchObject({ status: 'signedOut', ended: { reason, error: 'invalid_grant' } })
})

test('an answer that was lost is in doubt, whatever the server says to the second try', async () => {
  const { server, source, rejectedToken, record } = await session()
  server.next([{ lost: 'request' }, { status: 400, body: { error: 'invalid_request' } }])
  await outcome(source.getAccessToken({ rejectedToken }))
  expect((await record())?.sending).toBeDefined()
})

test('a refresh that is about the same user is taken, one about another is not', async () => {
  const server = testAuthorizationServer()
  const source = password({ ...sourceAt(server).options, ...USER, scope: 'openid' })
  await source.getAccessToken()
  const more = await source.getTokenSet({ scope: 'openid email' })
  expect(more.claims?.sub).toBe(USER.username)
  expect(server.tokenRequests('refresh_token')).toHaveLength(1)
  server.next([
    {
      change: ({ id_token, ...answer }) => {
        const [head, claims = '', signature] = String(id_token).split('.')
        const other = btoa(JSON.stringify({ ...JSON.parse(atob(claims)), sub: 'mallory' })).replace(/=+$/, '')
        return { ...answer, id_token: [head, other, signature].join('.') }
      },
    },
  ])
  const { error } = await outcome(source.getAccessToken({ scope: 'openid phone' }))
  expect(error).toMatchObject({
    code: 'invalid-response',
    message: expect.stringMatching(/its ID token is of another user/),
  })
})

test('what the server refuses for good is not asked for at every call', async () => {
  const { server, source } = await session()
  server.next([{ status: 400, body: { error: 'invalid_scope' } }])
  const sent = () => server.tokenRequests().length
  const before = sent()
  const errors = []
  for (let call = 0; call < 3; call++) errors.push((await outcome(source.getAccessToken({ scope: 'too much' }))).error)
  expect(sent()).toBe(before + 1)
  expect(new Set(errors).size).toBe(1)
  expect(errors[0]).toMatchObject({ code: 'request-refused', retryable: false })
  expect(server.accepts(await source.getAccessToken({ scope: 'enough' }))).toBe(true)
})

test('trouble of the server holds for all tokens of a session', async () => {
  const { server, source, rejectedToken } = await session()
  server.next([{ status: 429, headers: { 'retry-after': '60' } }])
  await outcome(source.getAccessToken({ scope: 'other' }))
  const sent = server.tokenRequests().length
  const { error } = await outcome(source.getAccessToken({ rejectedToken }))
  expect(error).toMatchObject({ code: 'throttled', retryAt: Date.now() + MINUTE })
  expect(server.tokenRequests()).toHaveLength(sent)
})

test.each(['here', 'by a sibling'])(
  'a client that was refused makes a session stale until its secret is right, %s',
  async (where) => {
    const { server, source, rejectedToken, options } = await session({}, { watch: undefined })
    const { secret } = server.settings
    server.settings.secret = 'changed'
    const { error } = await outcome(source.getAccessToken({ rejectedToken }))
    expect(error).toMatchObject({ code: 'client-refused' })
    expect(source.session).toMatchObject({ freshness: 'stale' })
    expect(source.stats().failures).toBeGreaterThan(0)
    server.settings.secret = secret
    await elapse(MINUTE)
    const seed = String(server.tokenRequests()[0]?.refreshToken)
    const sibling = refreshToken({ ...options, refreshToken: seed })
    const token = await (where === 'here' ? source : sibling).getAccessToken({ rejectedToken })
    await turns(5)
    expect(await source.getAccessToken({ rejectedToken })).toBe(token)
    expect(source.session).toMatchObject({ freshness: 'fresh' })
  },
)

test('a password is asked for again where a refresh token was refused, and the story goes on', async () => {
  const server = testAuthorizationServer({ lifetime: 60 })
  const { store, record } = troubledStore()
  const source = password({ ...sourceAt(server, { store }).options, ...USER })
  await source.getAccessToken()
  const spent = (await record())?.refreshToken
  await elapse(HOUR, 30 * SECOND)
  server.next([{ status: 400, body: { error: 'invalid_grant' } }])
  const token = await source.getAccessToken()
  expect(server.accepts(token)).toBe(true)
  expect(server.tokenRequests('password')).toHaveLength(2)
  const stored = await record()
  expect(stored?.refreshToken).not.toBe(spent)
  expect(stored).toMatchObject({
    format: 1,
    startedAt: expect.any(Number),
    tokens: { '[[],[],[]]': { accessToken: token } },
  })
  expect(source.explain().filter(({ event }) => event === 'issued')).toHaveLength(2)
  expect(source.explain().at(-1)).toMatchObject({ event: 'issued' })
})

test('a password is not asked for where a sibling has a newer refresh token than the one refused', async () => {
  const server = testAuthorizationServer()
  const { store, change } = troubledStore()
  const deaf = { get: store.get, replace: store.replace, lock: store.lock }
  const source = password({ ...sourceAt(server, { store: deaf }).options, ...USER })
  const rejectedToken = await source.getAccessToken()
  await elapse(MINUTE)
  server.next([
    {
      status: 400,
      body: { error: 'invalid_grant' },
      meanwhile: () =>
        change(({ sending: _, ...stored }) => {
          const theirs = server.refreshElsewhere(stored.refreshToken ?? '')
          const times = { issuedAt: Date.now(), expiresAt: Date.now() + HOUR }
          const token = { accessToken: theirs.accessToken, tokenType: 'Bearer', ...times } as const
          return { ...stored, refreshToken: theirs.refreshToken, tokens: { '[[],[],[]]': token } }
        }),
    },
  ])
  expect(server.accepts(await source.getAccessToken({ rejectedToken }))).toBe(true)
  expect(server.tokenRequests('password')).toHaveLength(1)
})
