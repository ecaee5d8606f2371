import { dpop, fetchUserInfo, OAuthError, refreshToken } from '@keyturn/core'
import { expect, test } from 'vitest'
import { type App, comeBack, ISSUER, rejection, startApp } from './sign-in-server.ts'

async function signedIn(options: Parameters<typeof startApp>[0] = {}, metadata: object = {}) {
  const app = startApp(options)
  app.server.metadata = { ...metadata }
  await comeBack(app)
  await app.auth.handleCallback()
  return app
}

const asked = ({ server }: App) => server.requests.filter(({ path }) => path === '/userinfo')

async function refusal(answer: App['server']['userInfo'], options?: Parameters<typeof startApp>[0]) {
  const app = await signedIn(options)
  app.server.userInfo = answer
  const error = await rejection(fetchUserInfo(app.auth))
  expect(error).toBeInstanceOf(OAuthError)
  expect(`${JSON.stringify(error)} ${Object(error).message}`).not.toContain('access-token-of-ada')
  return { ...app, error, requests: asked(app).length }
}

test('the claims of the person who is signed in are fetched with the access token', async () => {
  const app = await signedIn()
  expect(await fetchUserInfo(app.auth)).toEqual({ sub: 'ada', name: 'Ada Lovelace' })
  expect(asked(app).map(({ headers }) => headers.get('authorization'))).toEqual(['Bearer access-token-of-ada'])
})

test('a token that is refused is renewed once, and the claims come with the next', async () => {
  const app = await signedIn()
  app.server.tokenResponse = (body) => ({ ...body, access_token: 'second' })
  app.server.userInfo = (claims, token) => (token === 'second' ? claims : new Response(undefined, { status: 401 }))
  expect(await fetchUserInfo(app.auth)).toMatchObject({ sub: 'ada' })
  expect(asked(app)).toHaveLength(2)
  expect(app.server.tokenRequests).toHaveLength(2)
})

test('an endpoint whose every nonce is good for one proof is given each, also where it refuses the token', async () => {
  const app = startApp({ dpop: dpop() })
  let issued = 0
  app.server.tokenResponse = (body) => ({ ...body, access_token: `token-${++issued}`, token_type: 'DPoP' })
  await comeBack(app)
  await app.auth.handleCallback()
  let given = 0
  const nonces: unknown[] = []
  app.server.userInfo = (claims) => {
    const { headers } = asked(app).at(-1) ?? {}
    const { nonce } = JSON.parse(atob(`${headers?.get('dpop')?.split('.')[1]}`.replace(/-/g, '+').replace(/_/g, '/')))
    nonces.push(nonce)
    const isToken = headers?.get('authorization') === 'DPoP token-2'
    const error = nonce === `nonce-${given}` ? (isToken ? undefined : 'invalid_token') : 'use_dpop_nonce'
    const next = { 'dpop-nonce': `nonce-${++given}` }
    if (!error) return Response.json(claims, { headers: next })
    return new Response(undefined, { status: 401, headers: { ...next, 'www-authenticate': `DPoP error="${error}"` } })
  }
  for (let call = 0; call < 2; call++) expect(await fetchUserInfo(app.auth)).toMatchObject({ sub: 'ada' })
  expect(nonces).toEqual([undefined, 'nonce-1', 'nonce-2', 'nonce-3'])
})

test('an endpoint that refuses every token is asked twice, and no more', async () => {
  let renewed = 0
  const app = await signedIn()
  app.server.tokenResponse = (body) => ({ ...body, access_token: `renewed-${renewed++}` })
  app.server.userInfo = () => new Response(undefined, { status: 401 })
  expect(await rejection(fetchUserInfo(app.auth))).toMatchObject({ code: 'token-rejected', retryable: true })
  expect(asked(app)).toHaveLength(2)
  expect(renewed).toBe(1)
})

test('claims of somebody else are refused', async () => {
  for (const sub of ['eve', 'ADA', '', 7, null, undefined, ['ada'], { ada: 1 }]) {
    const { error } = await refusal((claims) => ({ ...claims, sub }))
    expect(error).toMatchObject({ code: 'invalid-response', retryable: false })
  }
})

test.each<[string, () => Response]>([
  ['HTML with status 200', () => new Response('<html>', { headers: { 'content-type': 'text/html' } })],
  ['an array', () => Response.json([{ sub: 'ada' }])],
  ['a text', () => Response.json('ada')],
  ['null', () => Response.json(null)],
  ['nothing', () => new Response(undefined, { status: 204 })],
  ['more than a megabyte', () => Response.json({ sub: 'ada', name: 'x'.repeat(2_000_000) })],
  ['the right claims with another status', () => Response.json({ sub: 'ada' }, { status: 202 })],
  ['no permission', () => Response.json({ error: 'insufficient_scope' }, { status: 403 })],
])('%s is no UserInfo', async (_, answer) => {
  expect((await refusal(answer)).error).toMatchObject({ code: 'invalid-response' })
})

test('a redirect is not followed, so that the token goes nowhere else', async () => {
  const { error, server } = await refusal(() => Response.redirect(`${ISSUER}/elsewhere`, 307))
  expect(error).toMatchObject({ code: 'invalid-response' })
  expect(server.requests.at(-1)).toMatchObject({ path: '/userinfo', redirect: 'manual' })
})

test('a signed answer is refused, and the error says what to register', async () => {
  const answer = () => new Response('a.b.c', { headers: { 'content-type': 'application/jwt; charset=utf-8' } })
  const { error } = await refusal(answer)
  expect(error).toMatchObject({
    code: 'invalid-response',
    fix: expect.stringContaining('userinfo_signed_response_alg'),
  })
})

test('an outage may pass, and ends no session', async () => {
  const { error, auth } = await refusal(() => new Response(undefined, { status: 503 }))
  expect(error).toMatchObject({ code: 'server-error', retryable: true })
  expect(auth.session.status).toBe('signedIn')
})

test('an endpoint that hangs is given up with the time-out', async () => {
  const { error } = await refusal(() => new Promise<Response>(() => {}), { timeout: 500 })
  expect(error).toMatchObject({ code: 'timeout' })
})

test('a caller who goes away gets the reason of the signal', async () => {
  const app = await signedIn()
  app.server.userInfo = () => new Promise<Response>(() => {})
  const controller = new AbortController()
  const waiting = fetchUserInfo(app.auth, { signal: controller.signal })
  controller.abort(new Error('left'))
  await expect(waiting).rejects.toThrow('left')
})

test('the token goes only where https is', async () => {
  for (const [userinfo_endpoint, code] of [
    ['http://as.example/userinfo', 'insecure-url'],
    [undefined, 'invalid-metadata'],
  ]) {
    const app = await signedIn({}, { userinfo_endpoint })
    expect(await rejection(fetchUserInfo(app.auth))).toMatchObject({ code })
    expect(asked(app)).toEqual([])
  }
})

test('where no ID token says who is signed in nothing is asked', async () => {
  const app = await signedIn({ scope: 'orders' })
  expect(await rejection(fetchUserInfo(app.auth))).toMatchObject({ code: 'invalid-options' })
  expect(asked(app)).toEqual([])
  const { server } = startApp()
  const auth = refreshToken({ issuer: ISSUER, clientId: 'app', refreshToken: 'spent', fetch: server.fetch })
  expect(await rejection(fetchUserInfo(auth))).toMatchObject({ code: 'session-ended' })
})

test('nobody who is signed in has no claims', async () => {
  expect(await rejection(fetchUserInfo(startApp().auth))).toMatchObject({ name: 'LoginRequiredError' })
})
