import { createHash, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterAll, afterEach, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest'
import { startAuthorizationServer } from '../../playground/src/authorization-server.ts'
import { type RunningApi, startApi } from '../src/api.ts'

// An issuer whose tokens can be wrong in every way, which a real authorization server's cannot.
const issuerServer = createServer()
let issuer = ''
let key: CryptoKey

beforeAll(async () => {
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  key = privateKey
  const jwks = { keys: [{ ...(await exportJWK(publicKey)), alg: 'ES256', kid: 'k' }] }
  issuerServer.on('request', (request, response) => {
    response.end(JSON.stringify(request.url === '/keys' ? jwks : { issuer, jwks_uri: `${issuer}/keys` }))
  })
  issuerServer.listen(0, '127.0.0.1')
  await once(issuerServer, 'listening')
  issuer = `http://127.0.0.1:${Object(issuerServer.address()).port}`
})

afterAll(() => {
  issuerServer.closeAllConnections()
  issuerServer.close()
})

let api: RunningApi

beforeEach(async () => {
  api = await startApi({ issuer: () => issuer, scope: 'orders:read' })
})

afterEach(() => api.stop())

const seconds = () => Math.floor(Date.now() / 1000)

function accessToken(claims: Record<string, unknown> = {}, header: Record<string, unknown> = {}) {
  const good = {
    iss: issuer,
    aud: api.audience,
    sub: 'ada',
    client_id: 'spa',
    scope: 'orders:read',
    exp: seconds() + 60,
  }
  return new SignJWT({ ...good, ...claims })
    .setProtectedHeader({ alg: 'ES256', kid: 'k', typ: 'at+jwt', ...header })
    .sign(key)
}

const call = (token: string, path = '', init: RequestInit = {}) =>
  fetch(api.url + path, { ...init, headers: { authorization: `Bearer ${token}` } })

const challenge = (response: Response) => response.headers.get('www-authenticate')

test('a good token is served with what it says', async () => {
  const response = await call(await accessToken(), 'orders?open')
  expect(await response.json()).toEqual({ sub: 'ada', client_id: 'spa', audience: api.url, path: '/orders?open' })
  expect(api).toMatchObject({ calls: 1, served: 1, refusals: 0 })
})

test('a body arrives byte for byte', async () => {
  const body = crypto.getRandomValues(new Uint8Array(50_000))
  const response = await call(await accessToken(), '', { method: 'POST', body })
  const sha256 = createHash('sha256').update(body).digest('hex')
  expect(await response.json()).toMatchObject({ bytes: 50_000, sha256 })
})

test('a request without a token is challenged without an error code', async () => {
  const response = await fetch(api.url)
  expect(response.status).toBe(401)
  expect(challenge(response)).toBe(`Bearer realm="${api.audience}"`)
  expect(api).toMatchObject({ calls: 1, served: 0, refusals: 1 })
})

test.each([
  ['is expired', { exp: seconds() }, {}],
  ['never expires', { exp: undefined }, {}],
  ['is for another API', { aud: 'https://else.example' }, {}],
  ['is of another issuer', { iss: 'https://else.example' }, {}],
  ['is an ID token', {}, { typ: 'JWT' }],
  ['names an unknown key', {}, { kid: 'other' }],
  ['is bound to a DPoP key', { cnf: { jkt: 'x' } }, {}],
])('a token that %s is an invalid_token', async (_how, claims, header) => {
  const response = await call(await accessToken(claims, header))
  expect(response.status).toBe(401)
  expect(challenge(response)).toMatch(/^Bearer realm=".*", error="invalid_token", error_description="[^"]+"$/)
})

test('a token of which a character was changed is an invalid_token', async () => {
  const token = await accessToken()
  const [head, payload, signature] = token.split('.')
  const other = Buffer.from(atob(payload ?? '').replace('ada', 'eve')).toString('base64url')
  for (const forged of [`${head}.${other}.${signature}`, `${head}.${payload}.`, 'nonsense']) {
    expect(challenge(await call(forged))).toContain('error="invalid_token"')
  }
  expect((await call(token)).status).toBe(200)
})

test('a token without the scope is refused with the scope to ask for', async () => {
  const response = await call(await accessToken({ scope: 'orders:write' }))
  expect(response.status).toBe(403)
  expect(challenge(response)).toContain('error="insufficient_scope", scope="orders:read"')
})

test('a good token is refused as often as a test wants', async () => {
  api.refuseNext(2)
  const token = await accessToken()
  const statuses = [await call(token), await call(token), await call(token)].map(({ status }) => status)
  expect(statuses).toEqual([401, 401, 200])
  expect(api).toMatchObject({ calls: 3, served: 1, refusals: 2 })
})

test('a page may send the token and read the challenge', async () => {
  const preflight = await fetch(api.url, { method: 'OPTIONS' })
  expect(preflight.status).toBe(204)
  expect(preflight.headers.get('access-control-allow-headers')).toContain('Authorization')
  const response = await fetch(api.url)
  expect(response.headers.get('access-control-allow-origin')).toBe('*')
  expect(response.headers.get('access-control-expose-headers')).toBe('WWW-Authenticate, DPoP-Nonce')
  expect(api.calls).toBe(1)
})

test('keys out of reach are not the fault of the token', async () => {
  await api.stop()
  api = await startApi({ issuer: 'http://127.0.0.1:1' })
  expect((await call(await accessToken())).status).toBe(503)
  expect(api.refusals).toBe(0)
})

test('tokens of a real authorization server open the API until they expire', async () => {
  await api.stop()
  let realIssuer = ''
  api = await startApi({ issuer: () => realIssuer, scope: 'api:read' })
  const server = await startAuthorizationServer({ apis: [api.audience], accessTokenTTL: 3 }) // it ends with a second: one of 1 may end at once
  onTestFinished(() => server.stop())
  realIssuer = server.issuer
  const grant = { grant_type: 'client_credentials', client_id: 'worker-post', client_secret: 'worker-secret' }
  const body = new URLSearchParams({ ...grant, scope: 'api:read' })
  const { access_token } = (await (await fetch(`${server.issuer}/token`, { method: 'POST', body })).json()) as {
    access_token: string
  }
  expect(await (await call(access_token)).json()).toMatchObject({ client_id: 'worker-post' })
  await expect.poll(async () => challenge(await call(access_token)), { timeout: 10_000 }).toContain('expired')
})

/** What a client sends to call with a token that is bound to `holder`. */
async function proof(token: string, holder: CryptoKeyPair, claims: Record<string, unknown> = {}) {
  const ath = createHash('sha256').update(token).digest('base64url')
  const jwk = await exportJWK(holder.publicKey)
  const dpop = await new SignJWT({ htm: 'GET', htu: api.url, ath, jti: randomUUID(), iat: seconds(), ...claims })
    .setProtectedHeader({ typ: 'dpop+jwt', alg: 'ES256', jwk })
    .sign(holder.privateKey)
  return { authorization: `DPoP ${token}`, dpop }
}

test('a token that is bound to a key is good together with a proof of that, once', async () => {
  const holder = await generateKeyPair('ES256')
  const jkt = await calculateJwkThumbprint(await exportJWK(holder.publicKey))
  const token = await accessToken({ cnf: { jkt } })
  const headers = await proof(token, holder)
  expect((await fetch(`${api.url}?q`, { headers })).status).toBe(200)
  expect(api.proven).toBe(1)
  const again = await fetch(api.url, { headers })
  expect(challenge(again)).toContain('DPoP realm')
  expect(challenge(again)).toContain('error="invalid_dpop_proof"')
  const wrong: Record<string, unknown>[] = [
    { htm: 'POST' },
    { htu: `${api.url}x` },
    { ath: 'x' },
    { iat: seconds() - 999 },
  ]
  for (const claims of wrong) {
    expect((await fetch(api.url, { headers: await proof(token, holder, claims) })).status).toBe(401)
  }
  const thief = await fetch(api.url, { headers: await proof(token, await generateKeyPair('ES256')) })
  expect(challenge(thief)).toContain('error="invalid_token"')
  expect(api.proven).toBe(1)
})

test('where the API wants a nonce, it says which', async () => {
  const holder = await generateKeyPair('ES256')
  await api.stop()
  api = await startApi({ issuer: () => issuer, dpopNonce: true })
  const token = await accessToken({ cnf: { jkt: await calculateJwkThumbprint(await exportJWK(holder.publicKey)) } })
  const first = await fetch(api.url, { headers: await proof(token, holder) })
  expect(challenge(first)).toContain('error="use_dpop_nonce"')
  const nonce = first.headers.get('dpop-nonce')
  expect((await fetch(api.url, { headers: await proof(token, holder, { nonce }) })).status).toBe(200)
  expect((await fetch(api.url, { headers: await proof(token, holder, { nonce: 'old' }) })).status).toBe(401)
})
