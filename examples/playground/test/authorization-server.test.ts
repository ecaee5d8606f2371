import { createHash, randomBytes } from 'node:crypto'
import { calculateJwkThumbprint, decodeJwt, decodeProtectedHeader, exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type AuthorizationServer, startAuthorizationServer } from '../src/authorization-server.ts'
import { fingerprint } from '../src/faults.ts'
import { type Cookie, signInOverHttp } from '../src/sign-in-over-http.ts'
import { TWO_FACTORS } from '../src/sign-in-strength.ts'

const orders = 'https://orders.example'
const invoices = 'https://invoices.example'
const spa = 'http://127.0.0.1:9'
const ada = { username: 'ada', password: 'lovelace' }

let server: AuthorizationServer

beforeEach(async () => {
  server = await startAuthorizationServer({
    apis: [orders, invoices],
    spaOrigins: [spa],
    redirectUris: ['http://127.0.0.1:8/cb'],
  })
})

afterEach(() => server.stop())

const post = (path: string, parameters: Record<string, string>, headers: Record<string, string> = {}) =>
  fetch(server.issuer + path, { method: 'POST', body: new URLSearchParams(parameters), headers })

type TokenAnswer = Partial<Record<'access_token' | 'refresh_token' | 'id_token' | 'scope' | 'error', string>>

async function token(parameters: Record<string, string>, headers: Record<string, string> = {}) {
  const response = await post('/token', parameters, headers)
  return { status: response.status, ...((await response.json()) as TokenAnswer) }
}

const password = (more: Record<string, string> = {}) =>
  token({ grant_type: 'password', client_id: 'cli', ...ada, scope: 'openid api:read', ...more })

const refresh = (refresh_token = '', more: Record<string, string> = {}) =>
  token({ grant_type: 'refresh_token', client_id: 'cli', refresh_token, ...more })

const basic = (id: string, secret: string) => ({ authorization: `Basic ${btoa(`${id}:${secret}`)}` })

const asWorker = () => token({ grant_type: 'client_credentials', scope: 'api:read' }, basic('worker', 'worker-secret'))

function authorization(more: Record<string, string> = {}) {
  const code_verifier = randomBytes(32).toString('base64url')
  const parameters = {
    client_id: 'spa',
    response_type: 'code',
    redirect_uri: `${spa}/callback`,
    scope: 'openid profile api:read',
    state: 'a state',
    code_challenge: createHash('sha256').update(code_verifier).digest('base64url'),
    code_challenge_method: 'S256',
    ...more,
  }
  return { code_verifier, parameters, url: `${server.issuer}/auth?${new URLSearchParams(parameters)}` }
}

async function codeOf({ url, cookies }: { url: string; cookies?: Map<string, Cookie> }) {
  const { searchParams } = new URL(await signInOverHttp(url, { ...ada, ...(cookies && { cookies }) }))
  return searchParams.get('code') ?? ''
}

const exchange = (code: string, code_verifier: string, headers = {}, client_id = 'spa') =>
  token({ grant_type: 'authorization_code', client_id, code, code_verifier, redirect_uri: `${spa}/callback` }, headers)

test('a sign-in through the login page ends at the redirect URI with a code that PKCE protects', async () => {
  const { url, code_verifier } = authorization()
  const callback = new URL(await signInOverHttp(url, ada))
  expect(callback.origin + callback.pathname).toBe(`${spa}/callback`)
  expect(callback.searchParams.get('state')).toBe('a state')
  expect(callback.searchParams.get('iss')).toBe(server.issuer)

  const tokens = await exchange(callback.searchParams.get('code') ?? '', code_verifier)
  expect(decodeJwt(tokens.access_token ?? '')).toMatchObject({ sub: 'ada', aud: orders, scope: 'api:read' })
  expect(decodeProtectedHeader(tokens.access_token ?? '')).toMatchObject({ typ: 'at+jwt', alg: 'ES256' })
  expect(decodeJwt(tokens.id_token ?? '')).toMatchObject({ sub: 'ada', aud: 'spa', name: 'Ada' })

  const second = authorization()
  const refused = await exchange(await codeOf(second), `another${second.code_verifier}`)
  expect(refused).toMatchObject({ status: 400, error: 'invalid_grant' })
})

test('one session gets tokens for every API that it was granted and for no other', async () => {
  const { url, code_verifier } = authorization()
  const { refresh_token } = await exchange(await codeOf({ url }), code_verifier)
  const forInvoices = await refresh(refresh_token, { client_id: 'spa', resource: invoices })
  expect(decodeJwt(forInvoices.access_token ?? '').aud).toBe(invoices)

  const narrow = authorization({ resource: orders })
  const session = await exchange(await codeOf(narrow), narrow.code_verifier)
  expect(await refresh(session.refresh_token, { client_id: 'spa', resource: invoices })).toMatchObject({
    error: 'invalid_target',
  })
})

test('a cancelled sign-in is access_denied and a wrong password keeps the login page', async () => {
  const callback = new URL(await signInOverHttp(authorization().url, { ...ada, decision: 'abort' }))
  expect(callback.searchParams.get('error')).toBe('access_denied')
  expect(callback.searchParams.get('state')).toBe('a state')
  await expect(signInOverHttp(authorization().url, { ...ada, password: 'x' })).rejects.toThrow(/do not match/)
})

test('consent is a page of its own where the client asks for it', async () => {
  const cookies = new Map<string, Cookie>()
  await codeOf({ url: authorization().url, cookies })
  const { url } = authorization({ prompt: 'consent' })
  const callback = new URL(await signInOverHttp(url, { ...ada, cookies, decision: 'abort' }))
  expect(callback.searchParams.get('error')).toBe('access_denied')
  expect(await codeOf({ url, cookies })).not.toBe('')
})

test('two factors are proved where a client wants them, and every token of that session says so', async () => {
  const cookies = new Map<string, Cookie>()
  const wanted = { acr_values: TWO_FACTORS, max_age: '60' }
  const plain = authorization()
  const weak = await exchange(await codeOf({ url: plain.url, cookies }), plain.code_verifier)
  expect(decodeJwt(weak.access_token ?? '')).toMatchObject({ auth_time: expect.any(Number) })
  expect(decodeJwt(weak.access_token ?? '')).not.toHaveProperty('acr')
  const silently = async () =>
    new URL(await signInOverHttp(authorization({ ...wanted, prompt: 'none' }).url, { ...ada, cookies })).searchParams
  expect((await silently()).get('error')).toBe('unmet_authentication_requirements')

  const { url, code_verifier } = authorization(wanted)
  await expect(signInOverHttp(url, { ...ada, cookies, code: '000000' })).rejects.toThrow(/not the code/)
  await expect(signInOverHttp(url, { ...ada, cookies, password: 'x', code: '246810' })).rejects.toThrow(/do not match/)
  const { searchParams } = new URL(await signInOverHttp(url, { ...ada, cookies, code: '246810' }))
  const strong = await exchange(searchParams.get('code') ?? '', code_verifier)
  const renewed = await refresh(strong.refresh_token, { client_id: 'spa', resource: invoices })
  const { auth_time } = decodeJwt(strong.id_token ?? '')
  for (const jwt of [strong.id_token, strong.access_token, renewed.access_token])
    expect(decodeJwt(jwt ?? '')).toMatchObject({ acr: TWO_FACTORS, auth_time })
  expect((await silently()).get('code')).toBeTruthy()
})

test('a browser that keeps its cookies is signed in until it signs out', async () => {
  const cookies = new Map<string, Cookie>()
  const silently = async () =>
    new URL(await signInOverHttp(authorization({ prompt: 'none' }).url, { username: '', password: '', cookies }))
  expect((await silently()).searchParams.get('error')).toBe('login_required')
  await codeOf({ url: authorization().url, cookies })
  expect((await silently()).searchParams.get('code')).toBeTruthy()

  const logout = new URLSearchParams({ client_id: 'spa', post_logout_redirect_uri: `${spa}/` })
  expect(await signInOverHttp(`${server.issuer}/session/end?${logout}`, { ...ada, cookies })).toBe(`${spa}/`)
  expect((await silently()).searchParams.get('error')).toBe('login_required')
})

test('a pushed authorization request signs the confidential web client in', async () => {
  const redirect_uri = 'http://127.0.0.1:8/cb'
  const { parameters, code_verifier } = authorization({ client_id: 'web', redirect_uri })
  const pushed = await post('/request', parameters, basic('web', 'web-secret'))
  const { request_uri } = (await pushed.json()) as { request_uri: string }
  const code = await codeOf({ url: `${server.issuer}/auth?${new URLSearchParams({ client_id: 'web', request_uri })}` })
  const grant = { grant_type: 'authorization_code', code, code_verifier, redirect_uri }
  expect(await token(grant, basic('web', 'web-secret'))).toMatchObject({ status: 200, scope: 'api:read' })
})

test('a device gets its tokens when the user has confirmed its code', async () => {
  const response = await post('/device/auth', { client_id: 'cli', scope: 'openid api:read' })
  const { device_code, verification_uri_complete } = (await response.json()) as Record<string, string>
  const grant = {
    grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
    client_id: 'cli',
    device_code: device_code ?? '',
  }
  expect(await token(grant)).toMatchObject({ error: 'authorization_pending' })
  await signInOverHttp(verification_uri_complete ?? '', ada)
  expect(await token(grant)).toMatchObject({ status: 200, scope: 'api:read', refresh_token: expect.any(String) })
})

test('a DPoP-bound sign-in works once the proof has the nonce of the server', async () => {
  await server.stop()
  server = await startAuthorizationServer({ apis: [orders], spaOrigins: [spa], dpopNonce: true })
  const { url, code_verifier } = authorization({ client_id: 'spa-dpop' })
  const code = await codeOf({ url })
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  const jwk = await exportJWK(publicKey)
  const proof = (nonce?: string) =>
    new SignJWT({
      htm: 'POST',
      htu: `${server.issuer}/token`,
      jti: randomBytes(8).toString('hex'),
      ...(nonce && { nonce }),
    })
      .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk })
      .setIssuedAt()
      .sign(privateKey)

  const unproven = await post(
    '/token',
    { grant_type: 'authorization_code', client_id: 'spa-dpop', code, code_verifier, redirect_uri: `${spa}/callback` },
    { dpop: await proof() },
  )
  expect(await unproven.json()).toMatchObject({ error: 'use_dpop_nonce' })
  const nonce = unproven.headers.get('dpop-nonce') ?? ''
  const tokens = await exchange(code, code_verifier, { dpop: await proof(nonce) }, 'spa-dpop')
  expect(tokens).toMatchObject({ status: 200, token_type: 'DPoP' })
  expect(decodeJwt(tokens.access_token ?? '').cnf).toEqual({ jkt: await calculateJwkThumbprint(jwk) })
})

test('machines authenticate in the header or in the body', async () => {
  expect(decodeJwt((await asWorker()).access_token ?? '')).toMatchObject({ sub: 'worker', aud: orders })
  const inBody = { grant_type: 'client_credentials', client_id: 'worker-post', resource: invoices, scope: 'api:write' }
  const { access_token = '' } = await token({ ...inBody, client_secret: 'worker-secret' })
  expect(decodeJwt(access_token)).toMatchObject({ aud: invoices, scope: 'api:write' })
  expect(await token({ ...inBody, client_secret: 'wrong' })).toMatchObject({ status: 401, error: 'invalid_client' })
  expect(server.tokenRequests({ clientId: 'worker' })).toBe(1)
  expect(server.tokenRequests({ clientId: 'worker-post', error: 'invalid_client', resource: invoices })).toBe(1)
})

test('a password gives a session of which the refresh token rotates', async () => {
  const first = await password({ resource: invoices })
  expect(decodeJwt(first.access_token ?? '')).toMatchObject({ sub: 'ada', aud: invoices, client_id: 'cli' })
  expect(decodeJwt(first.id_token ?? '')).toMatchObject({ sub: 'ada', aud: 'cli', iss: server.issuer })
  const second = await refresh(first.refresh_token)
  expect(second.refresh_token).not.toBe(first.refresh_token)
  expect(decodeJwt(second.access_token ?? '').aud).toBe(orders)
  expect(await refresh(second.refresh_token, { resource: invoices })).toMatchObject({ status: 200 })
  expect(await password({ password: 'turing' })).toMatchObject({ status: 400, error: 'invalid_grant' })
  expect(await password({ resource: 'https://else.example' })).toMatchObject({ error: 'invalid_target' })
})

test('a refresh token that is used twice ends its whole family', async () => {
  const first = await password()
  const second = await refresh(first.refresh_token)
  expect(server.reuses).toBe(0)
  expect(await refresh(first.refresh_token)).toMatchObject({ error: 'invalid_grant' })
  expect(server.reuses).toBe(1)
  expect(await refresh(second.refresh_token)).toMatchObject({ error: 'invalid_grant' })
  expect(server.reuses).toBe(1)
  expect(server.tokenRequests({ refreshToken: fingerprint(first.refresh_token ?? '') })).toBe(2)
  expect(JSON.stringify(server.log)).not.toContain(first.refresh_token)
})

test('of many simultaneous uses of a refresh token one succeeds', async () => {
  const { refresh_token } = await password()
  const answers = await Promise.all(Array.from({ length: 8 }, () => refresh(refresh_token)))
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
  expect(server.reuses).toBe(7)
})

test('a token for identity alone opens the UserInfo endpoint and an API token does not', async () => {
  const session = await password({ scope: 'openid email api:read' })
  const identity = await refresh(session.refresh_token, { scope: 'openid email' })
  const userInfo = (token = '') => fetch(`${server.issuer}/me`, { headers: { authorization: `Bearer ${token}` } })
  expect(await (await userInfo(identity.access_token)).json()).toMatchObject({ sub: 'ada', email: 'ada@example.test' })
  expect((await userInfo(session.access_token)).status).toBe(401)
})

test('revocation ends a session and revokeAll every one, but no machine', async () => {
  const [one, two] = [await password(), await password()]
  await post('/token/revocation', { client_id: 'cli', token: one.refresh_token ?? '' })
  expect(await refresh(one.refresh_token)).toMatchObject({ error: 'invalid_grant' })
  server.revokeAll()
  expect(await refresh(two.refresh_token)).toMatchObject({ error: 'invalid_grant' })
  expect(await asWorker()).toMatchObject({ status: 200 })
  expect(server.reuses).toBe(0)
})

test('pages of the registered origin may read the answers, others may not', async () => {
  const from = (origin: string) =>
    post('/token', { grant_type: 'refresh_token', client_id: 'spa', refresh_token: 'x' }, { origin })
  expect((await from(spa)).headers.get('access-control-allow-origin')).toBe(spa)
  expect((await from('http://127.0.0.1:10')).headers.get('access-control-allow-origin')).toBeNull()
})
