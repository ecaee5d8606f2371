import { clientCredentials, type Grant, LoginRequiredError, password, refreshToken, TokenManager } from '@keyturn/core'
import { expect, test, vi } from 'vitest'
import { testAuthorizationServer, USER } from './authorization-server.ts'
import { elapse, HOUR, MINUTE, movedTime, outcome, sourceAt, troubledStore, turns } from './renewal-harness.ts'

movedTime()

test('what could not be revoked is forgotten all the same, and the server is told later', async () => {
  const server = testAuthorizationServer()
  const { options, warnings } = sourceAt(server)
  const source = clientCredentials(options)
  const token = await source.getAccessToken()
  server.always({ status: 503 }, 'revocation')
  await source.revoke()
  expect(source.session).toMatchObject({ status: 'signedOut', ended: { reason: 'signed-out' } })
  expect(server.accepts(token)).toBe(true)
  server.always(undefined, 'revocation')
  await elapse(MINUTE)
  expect(server.accepts(token)).toBe(false)
  expect(warnings).toEqual([])
})

test('a refresh token takes its access tokens with it; tokens without one are revoked one by one', async () => {
  const server = testAuthorizationServer()
  const { options } = sourceAt(server)
  const machine = clientCredentials(options)
  const tokens = [await machine.getAccessToken(), await machine.getAccessToken({ scope: 'other' })]
  const person = password({ ...options, ...USER })
  await person.getAccessToken()
  await machine.revoke()
  await person.revoke()
  const revoked = server.requests
    .filter(({ endpoint }) => endpoint === 'revocation')
    .map(({ parameters }) => parameters)
  expect(revoked.map((parameters) => parameters.get('token_type_hint')).sort()).toEqual([
    'access_token',
    'access_token',
    'refresh_token',
  ])
  expect(revoked.slice(0, 2).map((parameters) => parameters.get('token'))).toEqual(expect.arrayContaining(tokens))
})

test('listeners are told of what changed, and of nothing else', async () => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  const seen: string[] = []
  source.subscribe(() => seen.push(source.session.status))
  await turns(5)
  await source.getAccessToken()
  await turns(5)
  const snapshot = source.session
  const rejectedToken = await source.getAccessToken()
  await elapse(10 * MINUTE)
  await source.getAccessToken({ rejectedToken })
  await turns(5)
  expect(seen).toEqual(['signedOut', 'signedIn'])
  expect(source.session).toBe(snapshot)
  expect(Object.isFrozen(snapshot)).toBe(true)
})

test('a listener that throws is named in a warning', async () => {
  const { options, warnings } = sourceAt(testAuthorizationServer())
  const source = clientCredentials(options)
  source.subscribe(() => {
    throw new Error('it is broken')
  })
  source.subscribe(() => {
    throw undefined
  })
  await turns(5)
  expect(warnings).toEqual(['A listener failed: it is broken', 'A listener failed: undefined'])
})

test('a listener that rejects is named in a warning, and ends no process', async () => {
  const { options, warnings } = sourceAt(testAuthorizationServer())
  const source = clientCredentials(options)
  source.subscribe(async () => {
    throw new Error('it is broken later')
  })
  await turns(5)
  expect(warnings).toEqual(['A listener failed: it is broken later'])
})

test('a session that nothing renews ends with its token, whether a timer says so or not', async () => {
  const { options } = sourceAt(testAuthorizationServer())
  const kind = { name: 'person', oneSession: true, asksAgain: false }
  let over = false
  const grant: Grant = async () => {
    if (over) throw new LoginRequiredError('login-required', 'Nobody is there')
    return { accessToken: 'a', expiresAt: Date.now() + HOUR }
  }
  const source = new TokenManager(grant, options, kind)
  await source.getAccessToken()
  over = true
  expect(source.session).toMatchObject({ status: 'signedIn', renewable: false })
  vi.setSystemTime(Date.now() + HOUR)
  expect(source.session).toEqual({ status: 'signedOut' })
  expect((await outcome(source.getAccessToken())).error).toMatchObject({ code: 'session-ended' })
  expect(source.session).toMatchObject({ status: 'signedOut', ended: { reason: 'expired', origin: 'server' } })
})

test('the story tells what the session went through and what the store did to it, in the order of time', async () => {
  const server = testAuthorizationServer()
  const { store, trouble } = troubledStore()
  const source = refreshToken({ ...sourceAt(server, { store }).options, refreshToken: server.newRefreshToken() })
  expect(source.explain()).toEqual([])
  const rejectedToken = await source.getAccessToken()
  await elapse(MINUTE)
  trouble.get = 'throws'
  vi.setSystemTime(Date.now() + MINUTE)
  await source.getAccessToken()
  trouble.get = undefined
  await elapse(MINUTE)
  await source.getAccessToken({ rejectedToken })
  expect(source.explain().map(({ event, detail }) => [event, detail])).toEqual([
    ['renewed', undefined],
    ['degraded', 'the token store cannot be read'],
    ['renewed', undefined],
  ])
})

test('of a store that fails it is warned, and of a narrower scope', async () => {
  const server = testAuthorizationServer()
  const { store, trouble } = troubledStore()
  const { options, warnings } = sourceAt(server, { store, scope: 'a b' })
  const source = refreshToken({ ...options, refreshToken: server.newRefreshToken() })
  await source.getAccessToken()
  await source.getAccessToken({ scope: 'a' })
  expect(warnings).toEqual(['A refresh asks for other scope than the session has: some servers keep it that narrow'])
  trouble.replace = 'throws'
  await source.getAccessToken({ rejectedToken: await source.getAccessToken() })
  expect(warnings.slice(1)).toEqual([expect.stringMatching(/^a session could not be written and lives in memory/)])
  expect(source.stats().degradations).toBeGreaterThan(0)
})

test('a function of the app that fails is told as what it is', async () => {
  const { options } = sourceAt(testAuthorizationServer())
  const clientSecret = () => Promise.reject(new Error('the vault is sealed'))
  const { error } = await outcome(clientCredentials({ ...options, clientSecret }).getAccessToken())
  expect(error).toMatchObject({
    code: 'callback-failed',
    message: expect.stringMatching(/^A function given in the options failed/),
    cause: { message: 'the vault is sealed' },
  })
})

test('a source is signed in with whatever token it has, be it not its own', async () => {
  const source = clientCredentials(sourceAt(testAuthorizationServer()).options)
  await source.getAccessToken({ scope: 'other' })
  expect(source.session).toStrictEqual({ status: 'signedIn', freshness: 'fresh', renewable: true })
  await source.revoke()
  expect(source.session).toMatchObject({ status: 'signedOut', ended: { reason: 'signed-out' } })
})

test('who signs out has the refresh token revoked that there is, not the one that it came from', async () => {
  const server = testAuthorizationServer()
  const source = refreshToken({ ...sourceAt(server).options, refreshToken: server.newRefreshToken() })
  await source.getAccessToken()
  const revocations = () => server.requests.filter(({ endpoint }) => endpoint === 'revocation')
  await source.revoke()
  await source.revoke()
  expect(revocations()).toHaveLength(1)
  expect(server.reuses).toEqual([])
})

test('a refresh token that is refused is a failure that is counted and told, also where the grant can ask again', async () => {
  const server = testAuthorizationServer()
  const source = password({ ...sourceAt(server).options, ...USER })
  const rejectedToken = await source.getAccessToken()
  await elapse(MINUTE)
  server.next([{ status: 400, body: { error: 'invalid_grant' } }])
  expect(server.accepts(await source.getAccessToken({ rejectedToken }))).toBe(true)
  expect(source.stats()).toMatchObject({ tokenRequests: 3, failures: 1 })
  expect(source.explain().map(({ event, detail }) => [event, detail])).toEqual([
    ['issued', undefined],
    ['failed', 'invalid_grant'],
    ['issued', undefined],
  ])
})

test.each(['username', 'password'])('a missing %s is told, and nothing is sent', async (name) => {
  const server = testAuthorizationServer()
  for (const value of ['', () => '', undefined as unknown as string]) {
    const source = password({ ...sourceAt(server).options, ...USER, [name]: value })
    const { error } = await outcome(source.getAccessToken())
    expect(error).toMatchObject({ code: 'invalid-options', message: `${name} is missing`, fix: `Set ${name}.` })
  }
  expect(server.tokenRequests()).toEqual([])
})
