import { createHash } from 'node:crypto'
import {
  authorizationCode,
  dpop,
  memoryStore,
  memoryTransactions,
  OAuthError,
  StoreError,
  type Transaction,
} from '@keyturn/core'
import { expect, test } from 'vitest'
import { comeBack, FakePage, ISSUER, REDIRECT_URI, rejection, SignInServer, startApp } from './sign-in-server.ts'

test('a login asks for a code with everything that the standards want', async () => {
  const { auth, page } = startApp({ resource: ['https://api.example/', 'https://other.example/'] })
  await auth.login({ prompt: 'consent', loginHint: 'ada@example.com', acrValues: 'gold', maxAge: 0 })
  const url = new URL(page.lastVisited)
  expect(url.origin + url.pathname).toBe(`${ISSUER}/authorize`)
  expect(Object.fromEntries(url.searchParams)).toMatchObject({
    response_type: 'code',
    client_id: 'app',
    redirect_uri: REDIRECT_URI,
    scope: 'openid',
    code_challenge_method: 'S256',
    prompt: 'consent',
    login_hint: 'ada@example.com',
    acr_values: 'gold',
    max_age: '0',
  })
  expect(url.searchParams.getAll('resource')).toEqual(['https://api.example/', 'https://other.example/'])
})

test('state, nonce and challenge are unguessable and different at every login', async () => {
  const { auth, page } = startApp()
  for (let count = 0; count < 50; count++) await auth.login()
  for (const name of ['state', 'nonce', 'code_challenge']) {
    const values = page.visited.map((url) => new URL(url).searchParams.get(name) ?? '')
    expect(new Set(values).size).toBe(50)
    // The state says whose it is before that; the others begin with whatever chance brings, «kt» too.
    for (const value of values) expect(value).toMatch(name === 'state' ? /^kt\w+-[\w-]{43}$/ : /^[\w-]{43}$/)
  }
})

test('the verifier is not in the authorization request, and the challenge is its SHA-256', async () => {
  const app = startApp()
  await comeBack(app)
  await app.auth.handleCallback()
  const verifier = app.server.tokenRequests[0]?.get('code_verifier') ?? ''
  expect(verifier).toMatch(/^[\w.~-]{43,128}$/)
  expect(app.page.lastVisited).not.toContain(verifier)
  const challenge = createHash('sha256').update(verifier).digest('base64url')
  expect(new URL(app.page.lastVisited).searchParams.get('code_challenge')).toBe(challenge)
})

test('a nonce is sent only where an ID token is asked for', async () => {
  for (const scope of [undefined, 'orders', 'openidx x-openid']) {
    const { auth, page } = startApp({ scope })
    await auth.login()
    expect(new URL(page.lastVisited).searchParams.has('nonce')).toBe(false)
  }
})

test("extra parameters are sent along and never take the place of the protocol's own", async () => {
  const own = [
    'response_type',
    'client_id',
    'redirect_uri',
    'scope',
    'state',
    'nonce',
    'code_challenge',
    'code_challenge_method',
    'resource',
  ]
  const parameters = Object.fromEntries(own.map((name) => [name, 'plain']))
  const { auth, page } = startApp({ parameters: { ...parameters, audience: 'a' }, resource: 'https://api.example/' })
  await auth.login({ parameters: { ...parameters, ui_locales: 'de' } })
  const { searchParams } = new URL(page.lastVisited)
  for (const name of own) {
    expect(searchParams.getAll(name), name).toHaveLength(1)
    expect(searchParams.get(name), name).not.toBe('plain')
  }
  expect(searchParams.get('audience')).toBe('a')
  expect(searchParams.get('ui_locales')).toBe('de')
})

test('what the address of the authorization endpoint has of its own is kept, and no parameter comes twice', async () => {
  const { auth, page, server } = startApp()
  server.metadata = { authorization_endpoint: `${ISSUER}/authorize?tenant=7&client_id=other&scope=all` }
  await auth.login()
  const { searchParams } = new URL(page.lastVisited)
  expect(searchParams.getAll('tenant')).toEqual(['7'])
  expect(searchParams.getAll('client_id')).toEqual(['app'])
  expect(searchParams.getAll('scope')).toEqual(['openid'])
})

test('extra parameters do not take the place of those of the token request either', async () => {
  const own = ['grant_type', 'code', 'redirect_uri', 'code_verifier', 'client_id']
  const app = startApp({ parameters: { ...Object.fromEntries(own.map((name) => [name, 'mine'])), audience: 'a' } })
  await comeBack(app)
  await app.auth.handleCallback()
  const [body] = app.server.tokenRequests
  for (const name of own) expect(body?.getAll(name), name).not.toContain('mine')
  expect(body?.get('audience')).toBe('a')
})

test('what an app has left undefined among the extra parameters is not sent as the text "undefined"', async () => {
  const app = startApp({ parameters: { audience: undefined as never, tenant: 't' } })
  await app.auth.login({ parameters: { ui_locales: undefined as never, tenant: undefined as never } })
  const { searchParams } = new URL(app.page.lastVisited)
  for (const name of ['audience', 'ui_locales', 'tenant']) expect(searchParams.has(name), name).toBe(false)
  app.page.url = app.server.authorize(app.page.lastVisited)
  await app.auth.handleCallback()
  const body = app.server.tokenRequests[0]
  expect([body?.get('audience'), body?.get('tenant')]).toEqual([null, 't'])
})

test('an appState that cannot be remembered is named by the error, and nothing navigates', async () => {
  const put = (_: string, transaction: Transaction) => void JSON.stringify(transaction) // as session storage has it
  const { auth, page } = startApp({ transactions: { ...memoryTransactions(), put } })
  const error = await rejection(auth.login({ appState: 7n }))
  expect(error).toMatchObject({ code: 'storage', fix: expect.stringContaining('appState') })
  expect(page.visited).toEqual([])
})

test('what is empty is not sent: it means the same, and some servers refuse it', async () => {
  const app = startApp({ scope: '' })
  await app.auth.login({ scope: ' ', prompt: '', loginHint: '', acrValues: '', maxAge: 0 })
  const { searchParams } = new URL(app.page.lastVisited)
  for (const name of ['scope', 'prompt', 'login_hint', 'acr_values']) expect(searchParams.has(name), name).toBe(false)
  expect(searchParams.get('max_age')).toBe('0')
  await app.auth.logout({ postLogoutRedirectUri: '' })
  expect(new URL(app.page.lastVisited).searchParams.has('post_logout_redirect_uri')).toBe(false)
})

test('the query of the authorization endpoint is kept', async () => {
  const { auth, page, server } = startApp()
  server.metadata = { authorization_endpoint: `${ISSUER}/authorize?tenant=t1` }
  await auth.login()
  expect(new URL(page.lastVisited).searchParams.get('tenant')).toBe('t1')
})

test('constructing the flow sends nothing and touches no address', () => {
  const { server, page, auth } = startApp()
  expect(server.requests).toEqual([])
  expect(page.events).toEqual([])
  expect(auth.session).toEqual({ status: 'unknown' })
})

test('login() rejects before it navigates when the login cannot be remembered', async () => {
  for (const put of [
    () => Promise.reject(new Error('quota')),
    () => {
      throw new Error('quota')
    },
  ]) {
    const { auth, page } = startApp({ transactions: { ...memoryTransactions(), put } })
    expect(await rejection(auth.login())).toBeInstanceOf(StoreError)
    expect(page.events).toEqual([])
  }
})

test('login() rejects with a typed error when the user agent cannot navigate', async () => {
  for (const navigate of [
    () => Promise.reject(new Error('no window')),
    () => {
      throw new Error('no window')
    },
  ]) {
    const page = Object.assign(new FakePage(), { navigate })
    const { auth } = startApp({ userAgent: page })
    const error = await rejection(auth.login())
    expect(error).toBeInstanceOf(OAuthError)
    expect(error).toMatchObject({ code: 'navigation-failed' })
  }
})

test('login() resolves when the user agent has been told to navigate', async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const page = Object.assign(new FakePage(), { navigate: () => promise })
  const { auth } = startApp({ userAgent: page })
  let resolved = false
  const login = auth.login().then(() => {
    resolved = true
  })
  await new Promise((done) => setTimeout(done, 20))
  expect(resolved).toBe(false)
  resolve()
  await login
})

test('getting a token never navigates: nobody is signed in, and that is said', async () => {
  const { auth, page, server } = startApp()
  expect(await rejection(auth.getAccessToken())).toMatchObject({
    name: 'LoginRequiredError',
    code: 'login-required',
    retryable: false,
    fix: expect.any(String),
  })
  expect(page.events).toEqual([])
  expect(server.requests).toEqual([])
  expect(auth.session.status).toBe('signedOut')
})

test('a redirect URI over http is refused, except on loopback', () => {
  const server = new SignInServer()
  const options = { issuer: ISSUER, clientId: 'app', userAgent: new FakePage(), fetch: server.fetch }
  for (const redirectUri of ['http://app.example/', 'javascript:alert(1)', '', '/callback']) {
    expect(() => authorizationCode({ ...options, redirectUri }), redirectUri).toThrow(OAuthError)
  }
  expect(() => authorizationCode({ ...options, redirectUri: 'http://127.0.0.1:8080/callback' })).not.toThrow()
})

test('a sign-in without a refresh token works, is known not to be renewable, and says why once', async () => {
  const app = startApp()
  app.server.tokenResponse = ({ refresh_token: _, ...rest }) => rest
  await comeBack(app)
  await app.auth.handleCallback()
  expect(app.auth.session).toMatchObject({ status: 'signedIn', renewable: false })
  expect(app.warnings.filter((text) => text.includes('offline_access'))).toHaveLength(1)
})

test('whoever has just signed in hears of a sign-out elsewhere, though nothing looked at the store before', async () => {
  const store = memoryStore()
  const app = startApp({ store })
  await comeBack(app)
  await app.auth.handleCallback()
  await startApp({ store }).auth.revoke()
  await expect.poll(() => app.auth.session.status).toBe('signedOut')
})

test('two sources with one client discover once, and each has its own session', async () => {
  const one = startApp()
  const other = startApp({ client: one.auth.client, fetch: one.server.fetch })
  await comeBack(one)
  await one.auth.handleCallback()
  await other.auth.login()
  expect(one.server.requests.filter(({ path }) => path.startsWith('/.well-known/'))).toHaveLength(1)
  expect(one.auth.session.status).toBe('signedIn')
  expect(other.auth.session.status).toBe('unknown')
})

test('a client whose tokens are bound to a key is shared with nobody', () => {
  const bound = startApp({ dpop: dpop() }).auth
  for (const options of [{ client: bound.client }, { client: startApp().auth.client, dpop: dpop() }]) {
    expect(() => startApp(options)).toThrow('client cannot be shared')
  }
})

test('a sign-in with a refresh token is renewable, and nothing is warned of', async () => {
  const app = startApp()
  await comeBack(app)
  await app.auth.handleCallback()
  expect(app.auth.session).toMatchObject({ status: 'signedIn', renewable: true })
  expect(app.auth.explain()).toEqual([{ at: expect.any(Number), event: 'issued', detail: 'signed in' }])
  expect(app.warnings).toEqual([])
})

test('on a load that no login came back with, the session is known when that has been found', async () => {
  const { auth } = startApp()
  expect(auth.session.status).toBe('unknown')
  expect(await auth.handleCallback()).toBeUndefined()
  expect(auth.session.status).toBe('signedOut')
})
