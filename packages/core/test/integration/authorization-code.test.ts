import {
  type AuthorizationCodeOptions,
  authenticatedFetch,
  authorizationCode,
  InvalidCallbackError,
  LoginRequiredError,
  memoryTransactions,
} from '@keyturn/core'
import { expect, test } from 'vitest'
import { type Cookie, signInOverHttp } from '../../../../examples/playground/src/sign-in-over-http.ts'
import { FakePage, rejection } from '../sign-in-server.ts'
import { pause, REDIRECT_URI, startWorld, type World, watchedStore } from './world.ts'

const ada = { username: 'ada', password: 'lovelace' }

function startApp(world: World, options: Partial<AuthorizationCodeOptions> = {}) {
  const page = new FakePage('http://127.0.0.1:9/')
  const { store, refreshTokens } = watchedStore()
  const auth = authorizationCode({
    issuer: world.issuer,
    clientId: 'web',
    clientSecret: 'web-secret',
    redirectUri: REDIRECT_URI,
    scope: 'openid profile api:read',
    userAgent: page,
    store,
    ...options,
  })
  const cookies = new Map<string, Cookie>()
  const signIn = async (appState?: unknown) => {
    await auth.login({ appState })
    page.url = await signInOverHttp(page.lastVisited, { ...ada, cookies })
    return auth.handleCallback()
  }
  return { page, auth, store, refreshTokens, cookies, signIn }
}

test('a person signs in with OpenID Connect, and the APIs take the tokens', async () => {
  const world = await startWorld()
  const { auth, page, signIn } = startApp(world)
  expect(await signIn({ to: '/orders/7' })).toEqual({ appState: { to: '/orders/7' } })
  expect(page.url).toBe(REDIRECT_URI)
  expect(auth.session).toMatchObject({
    status: 'signedIn',
    claims: { sub: 'ada' },
    freshness: 'fresh',
    renewable: true,
  })
  const api = authenticatedFetch(auth, {
    apis: [world.orders.url, { url: world.invoices.url, resource: world.invoices.url }],
  })
  for (const { url, audience } of [world.orders, world.invoices]) {
    expect(await (await api(`${url}x`)).json()).toMatchObject({ sub: 'ada', client_id: 'web', audience })
  }
  expect(world.server.tokenRequests({ grantType: 'authorization_code' })).toBe(1)
  expect(world.server.reuses).toBe(0)
})

test('a person signs in without OpenID Connect', async () => {
  const world = await startWorld()
  const { auth, signIn } = startApp(world, { scope: 'api:read' })
  await signIn()
  const tokenSet = await auth.getTokenSet()
  expect([tokenSet.idToken, tokenSet.claims]).toEqual([undefined, undefined])
  expect(auth.session).toMatchObject({ status: 'signedIn', renewable: true })
  expect((await authenticatedFetch(auth, { apis: world.orders.url })(world.orders.url)).status).toBe(200)
})

test('a public client signs in with its identifier alone', async () => {
  const world = await startWorld({ spaOrigins: ['http://127.0.0.1:9'] })
  const { auth, signIn } = startApp(world, { clientId: 'spa', clientSecret: undefined })
  await signIn()
  expect(auth.session.status).toBe('signedIn')
})

test('several resources can be asked for at the sign-in', async () => {
  const world = await startWorld()
  const resource = [world.orders.url, world.invoices.url]
  const { auth, signIn } = startApp(world, { resource })
  await signIn()
  expect(auth.session.status).toBe('signedIn')
  const api = authenticatedFetch(auth, { apis: resource.map((url) => ({ url, resource: url })) })
  for (const url of resource) expect((await api(url)).status).toBe(200)
})

test('a token for another API is asked for by its resource alone: no scope that a server could shrink', async () => {
  const world = await startWorld()
  const warnings: string[] = []
  const { auth, signIn } = startApp(world, { onWarning: (message) => warnings.push(message) })
  await signIn()
  const api = authenticatedFetch(auth, { apis: { url: world.invoices.url, resource: world.invoices.url } })
  expect((await api(world.invoices.url)).status).toBe(200)
  const [sent] = world.server.log.filter(({ grantType }) => grantType === 'refresh_token')
  expect([sent?.resource, sent?.scope]).toEqual([world.invoices.url, undefined])
  expect(warnings).toEqual([])
})

test("a login that the person denies is told, with the app's state", async () => {
  const world = await startWorld()
  const { auth, page } = startApp(world)
  await auth.login({ appState: 'deep' })
  page.url = await signInOverHttp(page.lastVisited, { ...ada, decision: 'abort' })
  const error = await rejection(auth.handleCallback())
  expect(error).toBeInstanceOf(InvalidCallbackError)
  expect(error).toMatchObject({ code: 'authorization-refused', error: 'access_denied', appState: 'deep' })
  expect(auth.session.status).toBe('signedOut')
  expect(world.server.tokenRequests()).toBe(0)
})

test('the server checks the verifier: a code without its own is worth nothing', async () => {
  const world = await startWorld()
  const transactions = memoryTransactions()
  const { auth, signIn } = startApp(world, {
    transactions: {
      ...transactions,
      put: (state, transaction) => transactions.put(state, { ...transaction, codeVerifier: 'x'.repeat(43) }),
    },
  })
  expect(await rejection(signIn('deep'))).toMatchObject({
    name: 'InvalidCallbackError',
    code: 'exchange-failed',
    error: 'invalid_grant',
    appState: 'deep',
  })
  expect(auth.session.status).toBe('signedOut')
})

test('after real expiry the tokens of both APIs are renewed, with a new refresh token every time', async () => {
  const world = await startWorld({ accessTokenTTL: 3 })
  const { auth, signIn, refreshTokens } = startApp(world)
  await signIn()
  const api = authenticatedFetch(auth, {
    apis: [world.orders, world.invoices].map(({ url }) => ({ url, resource: url })),
  })
  for (let round = 0; round < 2; round++) {
    const answers = await Promise.all([world.orders, world.invoices].flatMap(({ url }) => [api(url), api(url)]))
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200])
    await pause(3050)
  }
  const sent = world.server.log.flatMap(({ refreshToken }) => refreshToken ?? [])
  expect(sent.length).toBeGreaterThanOrEqual(3)
  expect(new Set(sent).size).toBe(sent.length)
  expect(new Set(refreshTokens).size).toBe(sent.length + 1)
  expect(world.server.reuses).toBe(0)
  expect(auth.session).toMatchObject({ status: 'signedIn', claims: { sub: 'ada' }, freshness: 'fresh' })
})

test('after revoke() nobody is signed in, and the refresh token is dead at the server', async () => {
  const world = await startWorld()
  const { auth, signIn, refreshTokens, page } = startApp(world)
  await signIn()
  await auth.revoke()
  expect(auth.session).toMatchObject({ status: 'signedOut', ended: { reason: 'signed-out', origin: 'user' } })
  const error = await rejection(auth.getAccessToken())
  expect(error).toBeInstanceOf(LoginRequiredError)
  expect(error).toMatchObject({ code: 'session-ended', retryable: false })
  const answer = await world.refreshAs(refreshTokens.at(-1) ?? '')
  expect([answer.status, await answer.json()]).toMatchObject([400, { error: 'invalid_grant' }])
  expect(page.events).toEqual(['navigate', 'replaceUrl'])
  expect(await (async () => signIn('again'))()).toEqual({ appState: 'again' })
  expect(auth.session.status).toBe('signedIn')
})

test("logout ends the session here, its tokens, and the server's own session", async () => {
  const world = await startWorld()
  const { auth, signIn, refreshTokens, page, cookies } = startApp(world)
  await signIn()
  await auth.logout({ postLogoutRedirectUri: REDIRECT_URI })
  expect(auth.session).toMatchObject({ status: 'signedOut', ended: { reason: 'signed-out' } })
  expect((await world.refreshAs(refreshTokens.at(-1) ?? '')).status).toBe(400)
  const url = new URL(page.lastVisited)
  expect(url.href).toMatch(`${world.issuer}/session/end`)
  expect(url.searchParams.get('client_id')).toBe('web')
  expect(url.searchParams.get('id_token_hint')).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/)
  expect(await signInOverHttp(url, { ...ada, cookies })).toBe(REDIRECT_URI)
  await auth.login({ prompt: 'none' })
  page.url = await signInOverHttp(page.lastVisited, { ...ada, cookies })
  expect(await rejection(auth.handleCallback())).toMatchObject({ error: 'login_required' })
})

test('logout as the first thing that a page does ends the stored session, tokens and all', async () => {
  const world = await startWorld()
  const { signIn, refreshTokens, store } = startApp(world)
  await signIn()
  const { auth, page } = startApp(world, { store })
  await auth.logout()
  expect((await world.refreshAs(refreshTokens.at(-1) ?? '')).status).toBe(400)
  expect(new URL(page.lastVisited).searchParams.has('id_token_hint')).toBe(true)
  expect(await rejection(auth.getAccessToken())).toBeInstanceOf(LoginRequiredError)
})

test('logout with endSession: false stays here, and the server does not ask for the password again', async () => {
  const world = await startWorld()
  const { auth, signIn, refreshTokens, page } = startApp(world)
  await signIn()
  const visits = page.visited.length
  await auth.logout({ endSession: false })
  expect(page.visited).toHaveLength(visits)
  expect(auth.session.status).toBe('signedOut')
  expect((await world.refreshAs(refreshTokens.at(-1) ?? '')).status).toBe(400)
  const formsSent = () =>
    world.server.log.filter(({ method, path }) => method === 'POST' && /interaction/.test(path)).length
  const before = formsSent()
  expect(before).toBeGreaterThan(0)
  await signIn()
  expect(auth.session.status).toBe('signedIn')
  expect(formsSent()).toBe(before)
})

test('logout works while the server is away: here at once, and at the server when it is back', async () => {
  const world = await startWorld()
  const warnings: string[] = []
  const { auth, signIn, store, refreshTokens } = startApp(world, { onWarning: (message) => warnings.push(message) })
  await signIn()
  await world.server.away()
  await auth.logout()
  expect(auth.session.status).toBe('signedOut')
  expect(await rejection(auth.getAccessToken())).toBeInstanceOf(LoginRequiredError)
  await world.server.back()
  const next = startApp(world, { store })
  expect(await rejection(next.auth.getAccessToken())).toBeInstanceOf(LoginRequiredError)
  const told = () => world.server.log.filter(({ path }) => path === '/token/revocation').length
  await expect.poll(told, { timeout: 5000 }).toBe(1)
  expect((await world.refreshAs(refreshTokens.at(-1) ?? '')).status).toBe(400)
  expect(warnings).toEqual([])
})

test('an end that the server decides on is told, with its reason', async () => {
  const world = await startWorld({ accessTokenTTL: 1 })
  const { auth, signIn } = startApp(world)
  await signIn()
  world.server.revokeAll()
  await pause(1050)
  const error = await rejection(auth.getAccessToken())
  expect(error).toMatchObject({ name: 'LoginRequiredError', code: 'session-ended' })
  expect(auth.session).toMatchObject({
    status: 'signedOut',
    ended: { reason: 'refused', origin: 'server', error: 'invalid_grant', lastSuccessAt: expect.any(Number) },
  })
  expect(world.server.tokenRequests({ grantType: 'refresh_token' })).toBe(1)
  await rejection(auth.getAccessToken())
  expect(world.server.tokenRequests({ grantType: 'refresh_token' })).toBe(1)
})
