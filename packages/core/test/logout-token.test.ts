import { createHmac } from 'node:crypto'
import { type ClientOptions, logoutTokenVerifier, OAuthError, TokenUnavailableError } from '@keyturn/core'
import { exportJWK, exportSPKI, generateKeyPair, type JWTPayload, SignJWT } from 'jose'
import { afterEach, expect, test, vi } from 'vitest'
import { ISSUER, rejection, SignInServer, signed } from './sign-in-server.ts'

afterEach(() => {
  vi.useRealTimers()
})

const EVENT = 'http://schemas.openid.net/event/backchannel-logout'
const now = () => Math.floor(Date.now() / 1000)
const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
let serial = 0

/** A logout token's claims, as the specification wants them. */
const claimsOf = (more: Record<string, unknown> = {}): JWTPayload => {
  const claims = { iss: ISSUER, aud: 'app', sub: 'ada', sid: 'session-1', iat: now(), exp: now() + 120 }
  return { ...claims, jti: `jti-${++serial}`, events: { [EVENT]: {} }, ...more }
}

function start(more: Partial<ClientOptions> = {}) {
  const server = new SignInServer()
  return { server, verify: logoutTokenVerifier({ issuer: ISSUER, clientId: 'app', fetch: server.fetch, ...more }) }
}

const refusal = { name: 'OAuthError', code: 'invalid-logout-token', retryable: false }

test('a logout token says whose sessions are over', async () => {
  const { verify } = start()
  expect(await verify(await signed(claimsOf()))).toEqual({ sub: 'ada', sid: 'session-1' })
  expect(await verify(await signed(claimsOf({ sid: undefined })))).toEqual({ sub: 'ada' })
  expect(await verify(await signed(claimsOf({ sub: undefined, aud: ['other', 'app'] })))).toEqual({ sid: 'session-1' })
})

test.each<[string, Record<string, unknown>]>([
  ['another issuer', { iss: 'https://evil.example' }],
  ['no issuer', { iss: undefined }],
  ['another audience', { aud: 'other' }],
  ['no audience', { aud: undefined }],
  ['an end that has passed', { exp: now() - 3600 }],
  ['no end', { exp: undefined }],
  ['no beginning', { iat: undefined }],
  ['a beginning that is text', { iat: `${now()}` }],
  ['a beginning that is to come', { iat: now() + 3600, exp: now() + 7200 }],
  ['no jti', { jti: undefined }],
  ['an empty jti', { jti: '' }],
  ['no events', { events: undefined }],
  ['another event', { events: { 'http://schemas.openid.net/event/other': {} } }],
  ['an event that is no object', { events: { [EVENT]: true } }],
  ['events that inherit theirs', { events: JSON.parse(`{ "__proto__": { "${EVENT}": {} } }`) }],
  ['a nonce', { nonce: 'n' }],
  ['neither sub nor sid', { sub: undefined, sid: undefined }],
  ['an empty sub', { sub: '' }],
  ['a sid that is no text', { sid: 7 }],
])('a logout token with %s is refused', async (_, change) => {
  const { verify } = start()
  expect(await rejection(verify(await signed(claimsOf(change))))).toMatchObject(refusal)
})

test('an ID token is no logout token', async () => {
  const { verify } = start()
  const idToken = await signed({ iss: ISSUER, aud: 'app', sub: 'ada', sid: 'session-1', iat: now(), exp: now() + 300 })
  expect(await rejection(verify(idToken))).toMatchObject(refusal)
})

test('what its header calls an access token is refused; logout+jwt is taken', async () => {
  const { server, verify } = start()
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  server.keys = async () => [await exportJWK(publicKey)]
  const typed = (typ: string) => new SignJWT(claimsOf()).setProtectedHeader({ alg: 'ES256', typ }).sign(privateKey)
  expect(await rejection(verify(await typed('at+jwt')))).toMatchObject(refusal)
  for (const typ of ['logout+jwt', 'application/logout+jwt', 'JWT'])
    expect(await verify(await typed(typ))).toBeDefined()
})

test('a signature of another key, none, or a secret is refused', async () => {
  const { server, verify } = start()
  server.metadata = { id_token_signing_alg_values_supported: ['ES256', 'HS256', 'none'] }
  const { privateKey } = await generateKeyPair('ES256')
  const forged = await new SignJWT(claimsOf()).setProtectedHeader({ alg: 'ES256' }).sign(privateKey)
  const none = `${part({ alg: 'none' })}.${part(claimsOf())}.`
  const good = await signed(claimsOf())
  const [header, , signature] = good.split('.')
  const changed = `${header}.${part(claimsOf({ sub: 'eve' }))}.${signature}`
  const [key] = (await server.keys()) as Awaited<ReturnType<typeof exportJWK>>[]
  const pem = await exportSPKI(
    await crypto.subtle.importKey('jwk', key ?? {}, { name: 'ECDSA', namedCurve: 'P-256' }, true, ['verify']),
  )
  const unsigned = `${part({ alg: 'HS256' })}.${part(claimsOf())}`
  const hmac = `${unsigned}.${createHmac('sha256', pem).update(unsigned).digest('base64url')}`
  for (const token of [forged, none, changed, hmac, '', 'a.b.c', good.slice(0, -4)]) {
    expect(await rejection(verify(token)), token).toMatchObject(refusal)
  }
  expect(await verify(good)).toEqual({ sub: 'ada', sid: 'session-1' })
})

test('no refusal shows the token', async () => {
  const { verify } = start()
  const token = await signed(claimsOf({ nonce: 'n' }))
  const error = await rejection(verify(token))
  expect(error).toBeInstanceOf(OAuthError)
  for (const piece of token.split('.')) expect(JSON.stringify([error, String(error)])).not.toContain(piece)
})

test('a logout token is taken once, also when it comes twice at the same time', async () => {
  const { verify } = start()
  const token = await signed(claimsOf())
  const end = vi.fn()
  const outcomes = await Promise.allSettled([verify(token, end), verify(token, end)])
  expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  expect(end).toHaveBeenCalledTimes(1)
  expect(await rejection(verify(token, end))).toMatchObject(refusal)
})

test('where the sessions could not be ended the same token may come again', async () => {
  const { verify } = start()
  const token = await signed(claimsOf())
  const failing = () => Promise.reject(new Error('the database is away'))
  expect(await rejection(verify(token, failing))).toMatchObject({ message: 'the database is away' })
  expect(await verify(token)).toEqual({ sub: 'ada', sid: 'session-1' })
})

test('an expired token stays expired, whatever it says about the time of its server', async () => {
  const { server, verify } = start()
  const token = await signed(claimsOf())
  await verify(await signed(claimsOf()))
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 3_600_000 })
  server.tellsDate = false
  const late = logoutTokenVerifier({ issuer: ISSUER, clientId: 'app', fetch: server.fetch })
  expect(await rejection(late(token))).toMatchObject(refusal)
})

test('a clock that is an hour wrong takes the time of the server', async () => {
  const { server, verify } = start()
  server.ahead = 3600
  const claims = claimsOf({ iat: now() + 3600, exp: now() + 3720 })
  expect(await verify(await signed(claims))).toEqual({ sub: 'ada', sid: 'session-1' })
})

test('keys that do not come are an outage, and no fault of the token', async () => {
  const { server, verify } = start()
  server.keys = () => new Response('', { status: 503 })
  const token = await signed(claimsOf())
  expect(await rejection(verify(token))).toBeInstanceOf(TokenUnavailableError)
  server.keys = new SignInServer().keys
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 1000 })
  expect(await verify(token)).toEqual({ sub: 'ada', sid: 'session-1' })
})

test('a thousand tokens later nothing has grown without end, and the last ones are still known', async () => {
  const { verify } = start()
  const tokens: string[] = []
  for (let count = 0; count < 1010; count++) tokens.push(await signed(claimsOf()))
  for (const token of tokens) await verify(token)
  expect(await verify(tokens[0] ?? '')).toBeDefined() // forgotten: that many are remembered
  expect(await rejection(verify(tokens.at(-1) ?? ''))).toMatchObject(refusal)
})
