import {
  dpop,
  InvalidCallbackError,
  jarm,
  memoryStore,
  pushedAuthorizationRequests,
  type StandardSchemaV1,
  webSessions,
} from '@keyturn/node'
import { afterAll, beforeAll, expect, expectTypeOf, test } from 'vitest'
import type { AuthorizationServer } from '../../../examples/playground/src/authorization-server.ts'
import { COOKIE_KEY, REDIRECT_URI, startServer, startSessions, Visitor } from './web-app.ts'

let server: AuthorizationServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server.stop())

test('a person signs in, is known by a cookie, and gets back what the login was given', async () => {
  const sessions = startSessions(server)
  const visitor = new Visitor()
  expect(await sessions.of(visitor.request())).toBeUndefined()
  const { auth, appState, error, headers } = await visitor.signIn(sessions, 'ada', { page: '/orders' })
  expect([appState, error, headers.get('cache-control')]).toEqual([{ page: '/orders' }, undefined, 'no-store'])
  expect(auth?.session).toMatchObject({ status: 'signedIn', claims: { sub: 'ada' }, renewable: true })
  const found = await sessions.of(visitor.request())
  expect(found).toBe(auth)
  expect(await found?.getAccessToken()).toMatch(/.{20}/)
})

test('a login is a redirect with PKCE that no cache keeps', async () => {
  const answer = await startSessions(server).login(new Visitor().request('/login'), { loginHint: 'ada', maxAge: 60 })
  expect([answer.status, answer.headers.get('cache-control')]).toEqual([303, 'no-store'])
  const { searchParams } = new URL(answer.headers.get('location') ?? '')
  expect(Object.fromEntries(searchParams)).toMatchObject({
    code_challenge_method: 'S256',
    redirect_uri: REDIRECT_URI,
    login_hint: 'ada',
    max_age: '60',
  })
})

test('over https every cookie belongs to this host alone, and no script, other site or http request sees it', async () => {
  const sessions = startSessions(server)
  const visitor = new Visitor()
  const { auth } = await visitor.signIn(sessions)
  await visitor.signOut(sessions)
  expect(visitor.received).toHaveLength(4)
  for (const line of visitor.received) {
    expect(line).toMatch(
      /^__Host-keyturn-[0-9a-f]{8}-(session|login-[0-9a-f]{16})=[\w-]*; Path=\/; Max-Age=(0|7200|604800); HttpOnly; SameSite=Lax; Secure$/,
    )
  }
  expect(auth?.session.status).toBe('signedOut')
})

test('over http, on this machine, cookies go without Secure and its prefix', async () => {
  const visitor = new Visitor()
  await visitor.leave(startSessions(server, { redirectUri: 'http://127.0.0.1:3000/callback' }))
  expect(visitor.received).toEqual([expect.stringMatching(/^keyturn-[0-9a-f]{8}-login-\w+=[\w-]+; .*; SameSite=Lax$/)])
})

test('no cookie and no address shows the verifier, the nonce, a token or the name of a session', async () => {
  const store = memoryStore()
  const keys: string[] = []
  const get: typeof store.get = (key) => {
    keys.push(key)
    return store.get(key)
  }
  const sessions = startSessions(server, { store: { ...store, get } })
  const visitor = new Visitor()
  const address = await visitor.comeBack(sessions)
  const { auth } = await visitor.arrive(sessions, address)
  const { accessToken, idToken } = (await auth?.getTokenSet()) ?? {}
  const sessionKeys = keys.flatMap((key) => /[\w-]{43}/.exec(key) ?? [])
  expect(new Set(sessionKeys).size).toBe(1)
  const seen = visitor.received.map((line) =>
    Buffer.from(/=([^;]*)/.exec(line)?.[1] ?? '', 'base64url').toString('latin1'),
  )
  for (const secret of [accessToken, idToken, ...sessionKeys, 'codeVerifier']) {
    expect([...seen, ...visitor.received, address].join()).not.toContain(secret)
  }
})

test('two people who sign in at once are never mixed up', async () => {
  const sessions = startSessions(server)
  const people = [...Array(6).keys()].map((i) => ({ visitor: new Visitor(), username: i % 2 ? 'ada' : 'alan' }))
  const signedIn = await Promise.all(
    people.map(({ visitor, username }) => visitor.signIn(sessions, username, username)),
  )
  expect(signedIn.map(({ appState }) => appState)).toEqual(people.map(({ username }) => username))
  const names = await Promise.all(people.map(({ visitor }) => visitor.name(sessions)))
  expect(names).toEqual(people.map(({ username }) => username))
  const tokens = await Promise.all(signedIn.map(({ auth }) => auth?.getAccessToken()))
  expect(new Set(tokens).size).toBe(6)
})

test('a response that comes by another browser signs nobody in there, and is still good where the login began', async () => {
  const sessions = startSessions(server)
  const [attacker, victim] = [new Visitor(), new Visitor()]
  const address = await attacker.comeBack(sessions)
  const sent = server.tokenRequests()
  await victim.leave(sessions) // who has a login of their own under way
  const { auth, error } = await victim.arrive(sessions, address)
  expect(error).toBeInstanceOf(InvalidCallbackError)
  expect([auth, error?.code, server.tokenRequests() - sent]).toEqual([undefined, 'invalid-state', 0])
  expect(await victim.name(sessions)).toBeUndefined()
  await attacker.arrive(sessions, address)
  expect(await attacker.name(sessions)).toBe('ada')
})

test('a response is used once: not again by the same browser, nor with the cookies of before', async () => {
  const sessions = startSessions(server)
  const visitor = new Visitor()
  const address = await visitor.comeBack(sessions)
  const before = visitor.copy()
  await visitor.arrive(sessions, address)
  const sent = server.tokenRequests()
  for (const again of [visitor, before]) {
    const { error, auth } = await again.arrive(sessions, address)
    expect([error?.code, auth]).toEqual(['invalid-state', undefined])
  }
  expect(server.tokenRequests() - sent).toBe(0)
  expect([await visitor.name(sessions), await before.name(sessions)]).toEqual(['ada', undefined])
})

test('a reload while the response is redeemed signs in all the same, with one token request', async () => {
  const sessions = startSessions(server)
  const visitor = new Visitor()
  const address = await visitor.comeBack(sessions)
  const sent = server.tokenRequests()
  const both = await Promise.all([address, address].map((url) => sessions.handleCallback(visitor.request(url))))
  expect(server.tokenRequests() - sent).toBe(1)
  for (const { headers } of both) {
    const browser = visitor.copy()
    browser.take(headers)
    expect(await browser.name(sessions)).toBe('ada')
  }
})

test('who brings a response while its own browser has it redeemed shares nothing of that', async () => {
  const sessions = startSessions(server)
  const [visitor, thief, other] = [new Visitor(), new Visitor(), new Visitor()]
  const address = await visitor.comeBack(sessions)
  await other.leave(sessions)
  const callbacks = await Promise.all([visitor, thief, other].map((browser) => browser.arrive(sessions, address)))
  expect(callbacks.map(({ error }) => error?.code)).toEqual([undefined, 'invalid-state', 'invalid-state'])
  const names = await Promise.all([visitor, thief, other].map((browser) => browser.name(sessions)))
  expect(names).toEqual(['ada', undefined, undefined])
})

test('a login that was refused is told with its appState, and its cookie is gone', async () => {
  const sessions = startSessions(server)
  const visitor = new Visitor()
  const state = new URL(await visitor.leave(sessions, 'deep')).searchParams.get('state')
  const refused = new URL(`${REDIRECT_URI}?error=access_denied&state=${state}&iss=${encodeURIComponent(server.issuer)}`)
  const { error } = await visitor.arrive(sessions, refused.href)
  expect(error).toMatchObject({ code: 'authorization-refused', error: 'access_denied', appState: 'deep' })
  expect(visitor.cookies.size).toBe(0)
})

test('an address without a response is no error, and signs nobody in or out', async () => {
  const sessions = startSessions(server)
  const visitor = new Visitor()
  await visitor.signIn(sessions)
  for (const path of ['/callback', '/callback?utm_source=mail']) {
    const { auth, error, headers } = await visitor.arrive(sessions, path)
    expect([auth, error, headers.getSetCookie()]).toEqual([undefined, undefined, []])
  }
  expect(await visitor.name(sessions)).toBe('ada')
})

test("an answer with somebody else's state is refused while a login is under way here, and left alone otherwise", async () => {
  const sessions = startSessions(server)
  const visitor = new Visitor()
  expect((await visitor.arrive(sessions, '/callback?code=theirs&state=theirs')).error).toBeUndefined()
  await visitor.leave(sessions)
  expect((await visitor.arrive(sessions, '/callback?code=theirs&state=theirs')).error?.code).toBe('invalid-state')
})

test("what a proxy made of the address does not matter, nor does the shape of Node's own requests", async () => {
  const sessions = startSessions(server)
  const visitor = new Visitor()
  const { search } = new URL(await visitor.comeBack(sessions))
  const { cookie } = Object.fromEntries(visitor.request().headers)
  const { auth } = await sessions.handleCallback({ method: 'GET', url: `/mounted${search}`, headers: { cookie } })
  expect(auth?.session.status).toBe('signedIn')
})

test('the headers of another implementation of fetch are read as well', async () => {
  const sessions = startSessions(server)
  const visitor = new Visitor()
  await visitor.signIn(sessions)
  const { headers } = visitor.request()
  const foreign = (site: string): Headers => ({
    ...headers,
    get: (name) => (name === 'sec-fetch-site' ? site : headers.get(name)),
  })
  expect(await sessions.of({ headers: foreign('same-origin') })).toBeDefined()
  const answer = await sessions.logout({ method: 'POST', headers: foreign('cross-site') })
  expect([answer.status, answer.headers.getSetCookie()]).toEqual([403, []])
})

test('what is too short for a key, or is none, is refused at once', () => {
  const options = { issuer: server.issuer, clientId: 'web', redirectUri: REDIRECT_URI, store: memoryStore() }
  for (const cookieKey of [undefined, '', 'short', new Uint8Array(31), [], [COOKIE_KEY, 'short']]) {
    expect(() => webSessions({ ...options, cookieKey: cookieKey as string })).toThrow(/cookieKey/)
  }
})

test('a store that is none, a life that is no number of seconds, and dpop are refused at once', () => {
  const options = { issuer: server.issuer, clientId: 'web', redirectUri: REDIRECT_URI, cookieKey: COOKIE_KEY }
  for (const store of [undefined, {}]) {
    expect(() => webSessions({ ...options, store: store as never })).toThrow(/store/)
  }
  for (const cookieMaxAge of [0, -1, 1.5, Number.NaN]) {
    expect(() => webSessions({ ...options, store: memoryStore(), cookieMaxAge })).toThrow(/cookieMaxAge/)
  }
  const bound = { ...options, store: memoryStore(), dpop: dpop() }
  expect(() => webSessions(bound)).toThrow(/dpop/)
  expect(() => webSessions(Object.assign({ ...options, store: memoryStore() }, { dpop: undefined }))).not.toThrow()
})

test('requests that are pushed, responses that are signed and claims that are checked go the same way', async () => {
  const validate = () => ({ value: { role: 'countess' } })
  const claims: StandardSchemaV1<unknown, { role: string }> = { '~standard': { version: 1, vendor: 'test', validate } }
  const sessions = startSessions(server, { par: pushedAuthorizationRequests(), jarm: jarm(), claims })
  const visitor = new Visitor()
  const address = await visitor.comeBack(sessions)
  expect([...new URL(address).searchParams.keys()]).toEqual(['response'])
  const elsewhere = await new Visitor().arrive(sessions, address)
  expect(elsewhere.error?.code).toBe('invalid-state')
  const { auth } = await visitor.arrive(sessions, address)
  expect(auth?.session).toMatchObject({ status: 'signedIn', claims: { sub: 'ada', role: 'countess' } })
  const options = { issuer: server.issuer, clientId: 'web', redirectUri: REDIRECT_URI, store: memoryStore() }
  const typed = webSessions({ ...options, cookieKey: COOKIE_KEY, claims })
  const role = async () => {
    const session = (await typed.of(visitor.request()))?.session
    return session?.status === 'signedIn' ? session.claims?.role : undefined
  }
  expectTypeOf(role).returns.resolves.toEqualTypeOf<string | undefined>()
})

test('a session alone can send nobody anywhere: that takes a request', async () => {
  const { auth } = await new Visitor().signIn(startSessions(server))
  await expect(auth?.login()).rejects.toMatchObject({ code: 'navigation-failed' })
})
