import { createHash } from 'node:crypto'
import { InvalidCallbackError, memoryStore } from '@keyturn/core'
import type { JWTPayload } from 'jose'
import { http } from 'msw'
import { setupServer } from 'msw/node'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { comeBack, ISSUER, rejection, type SignInServer, signed, startApp } from './sign-in-server.ts'

// Without a `fetch` of its own the SDK takes the platform's, and that ends at whatever server the test starts.
let current: SignInServer | undefined
const network = setupServer(
  http.all(`${ISSUER}/*`, ({ request }) => current?.answer(request) ?? new Response(undefined, { status: 500 })),
)
beforeAll(() => network.listen({ onUnhandledFrame: 'error' }))
afterEach(() => {
  vi.useRealTimers()
})
afterAll(() => network.close())

type Change = (claims: JWTPayload) => JWTPayload | string

async function signIn(change: Change, options: { maxAge?: number; ahead?: number; tellsDate?: boolean } = {}) {
  const store = memoryStore()
  const writes = vi.spyOn(store, 'replace')
  const app = startApp({ store, fetch: undefined })
  current = app.server
  app.server.idToken = change
  app.server.ahead = options.ahead ?? 0
  app.server.tellsDate = options.tellsDate ?? true
  await app.auth.login({ appState: 'deep', ...(options.maxAge !== undefined && { maxAge: options.maxAge }) })
  app.page.url = app.server.authorize(app.page.lastVisited)
  return { ...app, writes, handled: app.auth.handleCallback() }
}

async function refused(change: Change, maxAge?: number): Promise<void> {
  const { auth, handled, writes, server } = await signIn(change, maxAge === undefined ? {} : { maxAge })
  const error = await rejection(handled)
  expect(error).toBeInstanceOf(InvalidCallbackError)
  expect(error).toMatchObject({ code: 'exchange-failed', appState: 'deep' })
  expect(server.tokenRequests).toHaveLength(1)
  expect(auth.session.status).toBe('signedOut')
  expect(writes).not.toHaveBeenCalled()
  await expect(auth.getAccessToken()).rejects.toMatchObject({ name: 'LoginRequiredError' })
}

/** OpenID Connect Core section 3.1.3.6. */
const hashOf = (token: string, algorithm: string) => {
  const hash = createHash(algorithm).update(token).digest()
  return hash.subarray(0, hash.length / 2).toString('base64url')
}
const now = () => Math.floor(Date.now() / 1000)
const unsigned = (claims: JWTPayload, header: object = { alg: 'none' }) =>
  [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')

test.each<[string, Change]>([
  ['of another nonce', (claims) => ({ ...claims, nonce: 'other' })],
  ['without the nonce', ({ nonce: _, ...claims }) => claims],
  ['whose nonce is no text', (claims) => ({ ...claims, nonce: 1 })],
  ['of another issuer', (claims) => ({ ...claims, iss: 'https://evil.example' })],
  ['of an issuer that is spelt otherwise', (claims) => ({ ...claims, iss: `${ISSUER}/` })],
  ['without an issuer', ({ iss: _, ...claims }) => claims],
  ['for another client', (claims) => ({ ...claims, aud: 'other' })],
  ['for other clients', (claims) => ({ ...claims, aud: ['other', 'another'] })],
  ['for nobody', ({ aud: _, ...claims }) => claims],
  ['for several without an authorized party', (claims) => ({ ...claims, aud: ['app', 'other'] })],
  ['for several with another authorized party', (claims) => ({ ...claims, aud: ['app', 'other'], azp: 'other' })],
  ['for this client that another one asked for', (claims) => ({ ...claims, azp: 'other' })],
  ['that came with another access token', (claims) => ({ ...claims, at_hash: hashOf('another', 'sha256') })],
  ['whose at_hash is no text', (claims) => ({ ...claims, at_hash: 1 })],
  ['that is expired', (claims) => ({ ...claims, exp: now() - 60, iat: now() - 360 })],
  ['without an expiry', ({ exp: _, ...claims }) => claims],
  ['whose expiry is no number', (claims) => ({ ...claims, exp: `${now() + 300}` as unknown as number })],
  ['that is not valid yet', (claims) => ({ ...claims, nbf: now() + 600 })],
  ['that says not when it was issued', ({ iat: _, ...claims }) => claims],
  ['without a subject', ({ sub: _, ...claims }) => claims],
  ['whose subject is no text', (claims) => ({ ...claims, sub: 7 as unknown as string })],
  ['that is not signed', (claims) => `${unsigned(claims)}.`],
  ['that is no JWT', () => 'garbage'],
  ['of an algorithm that the server does not have', (claims) => `${unsigned(claims, { alg: 'HS256' })}.c2ln`],
])('an ID token %s is refused, and nothing is stored', async (_, change) => {
  await refused(change)
})

test.each([
  ['ES256', 'sha256'],
  ['PS384', 'sha384'],
  ['RS512', 'sha512'],
  ['EdDSA', 'sha512'],
])('an ID token of %s may name its access token by %s, and by no other hash', async (alg, algorithm) => {
  for (const hash of ['sha256', 'sha384', 'sha512']) {
    const app = startApp({ metadata: { id_token_signing_alg_values_supported: [alg] } })
    app.server.idToken = (claims) => {
      const named = { ...claims, at_hash: hashOf('access-token-of-ada', hash) }
      return `${unsigned(named, { alg })}.${'c2ln'.repeat(20)}`
    }
    await comeBack(app)
    const expected = hash === algorithm ? 'signedIn' : 'signedOut'
    await app.auth.handleCallback().catch(({ code }) => expect(code).toBe('exchange-failed'))
    expect(app.auth.session.status).toBe(expected)
  }
})

test('an ID token that is not signed is refused whatever the metadata allows', async () => {
  const app = startApp()
  app.server.metadata = { id_token_signing_alg_values_supported: ['ES256', 'none'] }
  app.server.idToken = (claims) => `${unsigned(claims)}.`
  await comeBack(app)
  expect(await rejection(app.auth.handleCallback())).toBeInstanceOf(InvalidCallbackError)
  expect(app.auth.session.status).toBe('signedOut')
})

test('an ID token that is not signed is refused though the app itself allows it', async () => {
  const app = startApp({ metadata: { id_token_signing_alg_values_supported: ['none', 'ES256'] } })
  app.server.idToken = (claims) => `${unsigned(claims)}.`
  await comeBack(app)
  expect(await rejection(app.auth.handleCallback())).toBeInstanceOf(InvalidCallbackError)
  expect(app.auth.session.status).toBe('signedOut')
})

test('an answer without the ID token that was asked for is refused', async () => {
  for (const missing of [undefined, null, '', 7]) {
    const app = startApp()
    app.server.tokenResponse = (body) => ({ ...body, id_token: missing })
    await comeBack(app)
    expect(await rejection(app.auth.handleCallback())).toMatchObject({ code: 'exchange-failed' })
    expect(app.auth.session.status).toBe('signedOut')
  }
})

test('max_age is checked against the time of the sign-in', async () => {
  await refused((claims) => claims, 60)
  await refused((claims) => ({ ...claims, auth_time: now() - 3600 }), 60)
  await refused((claims) => ({ ...claims, auth_time: `${now()}` }), 60)
  const { handled } = await signIn((claims) => ({ ...claims, auth_time: now() - 30 }), { maxAge: 60 })
  expect(await handled).toEqual({ appState: 'deep' })
})

test('max_age zero asks for a sign-in just now', async () => {
  await refused((claims) => ({ ...claims, auth_time: now() - 3600 }), 0)
  const { handled } = await signIn((claims) => ({ ...claims, auth_time: now() }), { maxAge: 0 })
  expect(await handled).toEqual({ appState: 'deep' })
})

test('what the standard allows is taken: several audiences with an authorized party, extra claims', async () => {
  const { handled, auth } = await signIn((claims) => ({ ...claims, aud: ['app', 'other'], azp: 'app', groups: ['a'] }))
  await handled
  expect(auth.session).toMatchObject({ status: 'signedIn', claims: { sub: 'ada', groups: ['a'] } })
})

test('an ID token that nobody asked for is checked, too', async () => {
  const app = startApp({ scope: 'orders' })
  const wrong = await signed({ iss: 'https://evil.example', aud: 'app', sub: 'eve', iat: now(), exp: now() + 60 })
  app.server.tokenResponse = (body) => ({ ...body, id_token: wrong })
  await comeBack(app)
  expect(await rejection(app.auth.handleCallback())).toMatchObject({ code: 'exchange-failed' })
  expect(app.auth.session.status).toBe('signedOut')
})

test.each([
  ['three hours slow', 3],
  ['three hours fast', -3],
  ['a minute slow', 1 / 60],
])('with a clock that is %s sign-in works, with a Date header and without', async (_, hours) => {
  for (const tellsDate of [true, false]) {
    const { handled, auth } = await signIn((claims) => claims, { ahead: Math.round(hours * 3600), tellsDate })
    expect(await handled).toEqual({ appState: 'deep' })
    const { expiresAt, issuedAt } = await auth.getTokenSet()
    expect(Math.abs(issuedAt - Date.now())).toBeLessThan(5000)
    expect(expiresAt - issuedAt).toBe(300_000)
    expect(auth.session).toMatchObject({ status: 'signedIn', freshness: 'fresh' })
  }
})

test("with a wrong clock max_age is checked by the server's", async () => {
  const hours = 3 * 3600
  const good = await signIn((claims) => ({ ...claims, auth_time: now() + hours - 30 }), { maxAge: 60, ahead: hours })
  expect(await good.handled).toEqual({ appState: 'deep' })
  const old = await signIn((claims) => ({ ...claims, auth_time: now() }), { maxAge: 60, ahead: hours })
  expect(await rejection(old.handled)).toBeInstanceOf(InvalidCallbackError)
})

test('an expired ID token is not excused by its own time where the server tells the time', async () => {
  await refused((claims) => ({ ...claims, iat: now() - 7200, exp: now() - 6900 }))
})
