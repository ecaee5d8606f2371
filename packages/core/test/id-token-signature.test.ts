import { createHmac } from 'node:crypto'
import { InvalidCallbackError, idTokenSignature, memoryStore } from '@keyturn/core'
import { exportJWK, exportSPKI, type GenerateKeyPairResult, generateKeyPair, type JWTPayload, SignJWT } from 'jose'
import { afterEach, expect, test, vi } from 'vitest'
import { type App, comeBack, ISSUER, rejection, startApp } from './sign-in-server.ts'

afterEach(() => {
  vi.useRealTimers()
})

const pair = (alg = 'ES256') => generateKeyPair(alg, { extractable: true })
const jwk = async ({ publicKey }: GenerateKeyPairResult, members: object = {}) => ({
  ...(await exportJWK(publicKey)),
  ...members,
})
const signer =
  ({ privateKey }: GenerateKeyPairResult, header: { alg?: string; kid?: string } = {}) =>
  (claims: JWTPayload) =>
    new SignJWT(claims).setProtectedHeader({ alg: 'ES256', ...header }).sign(privateKey)
const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')

function start(metadata: object = {}) {
  const store = memoryStore()
  const writes = vi.spyOn(store, 'replace')
  const app = startApp({ store, idTokenSignature: idTokenSignature() })
  app.server.metadata = { ...metadata }
  const keyRequests = () => app.server.requests.filter(({ path }) => path === '/jwks').length
  return { ...app, store, writes, keyRequests }
}

async function signIn(app: App) {
  await comeBack(app, {}, 'deep')
  return app.auth.handleCallback()
}

async function refusedSignIn(app: ReturnType<typeof start>) {
  const error = await rejection(signIn(app))
  expect(error).toBeInstanceOf(InvalidCallbackError)
  expect(error).toMatchObject({ code: 'exchange-failed', appState: 'deep' })
  expect(app.auth.session.status).toBe('signedOut')
  expect(app.writes).not.toHaveBeenCalled()
  return error
}

/** The record in the store. */
async function stored({ store, writes }: ReturnType<typeof start>) {
  return store.get(`${writes.mock.lastCall?.[0]}`)
}

const later = (seconds: number) => vi.setSystemTime(Date.now() + seconds * 1000)

test.each(['ES256', 'RS256', 'PS256', 'EdDSA'])(
  'an ID token that is signed with %s by the server is taken',
  async (alg) => {
    const keys = await pair(alg)
    const app = start({ id_token_signing_alg_values_supported: [alg] })
    app.server.keys = async () => [await jwk(keys)]
    app.server.idToken = signer(keys, { alg })
    expect(await signIn(app)).toEqual({ appState: 'deep' })
    expect(app.auth.session).toMatchObject({ status: 'signedIn', claims: { sub: 'ada' } })
  },
)

test('an ID token that another key has signed is refused, and nothing is stored', async () => {
  const [keys, others] = [await pair(), await pair()]
  const app = start()
  app.server.keys = async () => [await jwk(keys)]
  app.server.idToken = signer(others)
  await refusedSignIn(app)
})

test('without the strategy TLS stands for the signature, and no keys are asked for', async () => {
  const { server, ...app } = startApp()
  server.idToken = signer(await pair())
  await signIn({ server, ...app })
  expect(app.auth.session.status).toBe('signedIn')
  expect(server.requests.some(({ path }) => path === '/jwks')).toBe(false)
})

test('an ID token whose claims were changed after signing is refused', async () => {
  const app = start()
  app.server.tokenResponse = (body) => {
    const [header, , signature] = `${body.id_token}`.split('.')
    const now = Math.floor(Date.now() / 1000)
    const nonce = new URL(app.page.lastVisited).searchParams.get('nonce')
    const claims = { iss: ISSUER, sub: 'eve', aud: 'app', iat: now, exp: now + 300, nonce }
    return { ...body, id_token: [header, part(claims), signature].join('.') }
  }
  await refusedSignIn(app)
})

test('no signature is not a signature, whatever the metadata allows', async () => {
  const app = start({ id_token_signing_alg_values_supported: ['ES256', 'none'] })
  app.server.idToken = (claims) => `${part({ alg: 'none' })}.${part(claims)}.`
  await refusedSignIn(app)
})

test('a public key is no secret: HS256 with it is refused though the metadata allows HS256', async () => {
  const keys = await pair('RS256')
  const pem = await exportSPKI(keys.publicKey)
  const app = start({ id_token_signing_alg_values_supported: ['RS256', 'HS256'] })
  app.server.keys = async () => [await jwk(keys)]
  app.server.idToken = (claims) => {
    const signed = `${part({ alg: 'HS256' })}.${part(claims)}`
    return `${signed}.${createHmac('sha256', pem).update(signed).digest('base64url')}`
  }
  await refusedSignIn(app)
})

test('a key of another algorithm, use or curve verifies nothing', async () => {
  const keys = await pair()
  for (const members of [{ alg: 'ES384' }, { use: 'enc' }, { crv: 'P-384' }, { kty: 'oct' }, { key_ops: ['sign'] }]) {
    const app = start()
    app.server.keys = async () => [await jwk(keys, members)]
    app.server.idToken = signer(keys)
    await refusedSignIn(app)
  }
})

test.each<[string, JWTPayload]>([
  ['of another issuer', { iss: 'https://evil.example' }],
  ['for another client', { aud: 'other' }],
])('a good signature does not excuse an ID token %s', async (_, wrong) => {
  const app = start()
  app.server.idToken = (claims) => ({ ...claims, ...wrong })
  await refusedSignIn(app)
})

test('keys that do not come cost no code: the login fails before it is redeemed', async () => {
  const answers: [string, () => Response][] = [
    ['HTML', () => new Response('<html>', { headers: { 'content-type': 'text/html' } })],
    ['no keys', () => Response.json({ keys: 'none' })],
    ['keys that are none', () => Response.json({ keys: [null, 7] })],
    ['an array', () => Response.json([])],
    ['a redirect', () => Response.redirect('https://evil.example/jwks')],
    ['nothing', () => new Response(undefined, { status: 404 })],
    ['keys with another status', () => Response.json({ keys: [] }, { status: 404 })],
    ['an outage', () => new Response(undefined, { status: 503 })],
    ['more than a megabyte', () => Response.json({ keys: [{ kty: 'EC', x: 'x'.repeat(2_000_000) }] })],
  ]
  for (const [, answer] of answers) {
    const app = start()
    app.server.keys = answer
    await refusedSignIn(app)
    expect(app.server.tokenRequests).toEqual([])
    expect(app.keyRequests()).toBe(1)
  }
})

test('the keys are not followed elsewhere', async () => {
  const app = start()
  await signIn(app)
  expect(app.server.requests.find(({ path }) => path === '/jwks')?.redirect).toBe('manual')
})

test('keys are fetched from https only, and from nowhere where the metadata says nothing', async () => {
  for (const [jwks_uri, code] of [
    ['http://as.example/jwks', 'insecure-url'],
    ['javascript:0', 'insecure-url'],
    [undefined, 'invalid-metadata'],
  ]) {
    const app = start({ jwks_uri })
    expect(await refusedSignIn(app)).toMatchObject({ cause: { code } })
    expect(app.keyRequests() + app.server.tokenRequests.length).toBe(0)
  }
})

test('keys that hang are given up with the time-out', async () => {
  const app = startApp({ idTokenSignature: idTokenSignature(), timeout: 500 })
  app.server.keys = () => new Promise<Response>(() => {})
  expect(await rejection(signIn(app))).toMatchObject({ code: 'exchange-failed', cause: { code: 'timeout' } })
})

test('the keys are fetched once in five minutes', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const app = start()
  await signIn(app)
  for (const [seconds, requests] of [
    [240, 1],
    [59, 1],
    [240, 2],
  ] as const) {
    later(seconds)
    await app.auth.getAccessToken({ rejectedToken: 'access-token-of-ada' }).catch(() => {})
    expect(app.keyRequests()).toBe(requests)
  }
})

test('on refresh an ID token that another key has signed is an invalid response, and the refresh token is kept', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const app = start()
  await signIn(app)
  app.server.idToken = signer(await pair())
  app.server.tokenResponse = (body) => ({ ...body, access_token: 'of-eve', refresh_token: 'of-eve' })
  later(301)
  await expect(app.auth.getAccessToken()).rejects.toMatchObject({
    name: 'TokenUnavailableError',
    code: 'invalid-response',
  })
  expect(await stored(app)).toMatchObject({ refreshToken: 'refresh-token-of-ada', claims: { sub: 'ada' } })
  expect(JSON.stringify(await stored(app))).not.toContain('of-eve')
  expect(app.auth.session).toMatchObject({ status: 'signedIn', freshness: 'stale' })
})

test('on refresh an outage of the keys sends no refresh token', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const app = start()
  await signIn(app)
  app.server.keys = () => new Response(undefined, { status: 503 })
  later(301)
  await expect(app.auth.getAccessToken()).rejects.toMatchObject({ code: 'server-error', retryable: true })
  expect(app.server.tokenRequests).toHaveLength(1)
  expect(await stored(app)).toMatchObject({ refreshToken: 'refresh-token-of-ada' })
})

test('an answer to a refresh without an ID token needs no signature', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const app = start()
  await signIn(app)
  app.server.tokenResponse = ({ id_token: _, ...body }) => ({ ...body, access_token: 'second' })
  later(301)
  expect(await app.auth.getAccessToken()).toBe('second')
})

test('a key that is not known is looked for once, and found after the server has changed its keys', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const [first, second] = [await pair(), await pair()]
  const app = start()
  app.server.keys = async () => [await jwk(first, { kid: '1' })]
  app.server.idToken = signer(first, { kid: '1' })
  await signIn(app)
  app.server.keys = async () => [await jwk(first, { kid: '1' }), await jwk(second, { kid: '2' })]
  app.server.idToken = signer(second, { kid: '2' })
  later(10)
  await signIn(app)
  expect(app.auth.session.status).toBe('signedIn')
  expect(app.keyRequests()).toBe(2)
})

test('a storm of keys that are not known asks for keys at most once a minute', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const keys = await pair()
  const app = start()
  app.server.keys = async () => [await jwk(keys, { kid: 'known' })]
  let kid = 0
  app.server.idToken = (claims) => signer(keys, { kid: `${kid++}` })(claims)
  for (let login = 0; login < 20; login++) await rejection(signIn(app))
  expect(app.keyRequests()).toBe(2)
  later(61)
  for (let login = 0; login < 20; login++) await rejection(signIn(app))
  expect(app.keyRequests()).toBe(3)
})

test('the keys of one server are not those of another that shares the strategy', async () => {
  const strategy = idTokenSignature()
  const [keys, others] = [await pair(), await pair()]
  const [one, two] = [startApp({ idTokenSignature: strategy }), startApp({ idTokenSignature: strategy })]
  one.server.keys = async () => [await jwk(keys)]
  one.server.idToken = signer(keys)
  await signIn(one)
  two.server.keys = async () => [await jwk(others)]
  two.server.idToken = signer(keys)
  expect(await rejection(signIn(two))).toBeInstanceOf(InvalidCallbackError)
})
