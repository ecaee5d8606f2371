import { generateKeyPairSync, sign } from 'node:crypto'
import {
  type AssertionKey,
  type BearerAssertion,
  clientSecretPost,
  type JwtAssertionOptions,
  type JwtBearerOptions,
  jwtAssertion,
  jwtBearer,
  memoryStore,
} from '@keyturn/core'
import { decodeProtectedHeader, exportJWK, exportPKCS8, generateKeyPair } from 'jose'
import { expect, test } from 'vitest'
import { ISSUER, JWT_BEARER, MachineServer, onPlatform, TOKEN_ENDPOINT } from './machine-server.ts'
import { rejection } from './sign-in-server.ts'
import { expectNone } from './visible-secrets.ts'

const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })

const put = onPlatform()

/** A robot that the server trusts, and the server behind the platform's fetch. */
function robot(
  assertion: BearerAssertion | JwtAssertionOptions = {},
  options: Partial<JwtBearerOptions> = {},
  server = new MachineServer(),
) {
  put(server)
  if (!server.trusted.has('robot')) server.trusted.set('robot', publicKey)
  const source = jwtBearer({
    issuer: ISSUER,
    clientId: 'robot',
    assertion: typeof assertion === 'function' ? assertion : jwtAssertion(privateKey, assertion),
    ...options,
  })
  return { server, source }
}

test.each(['ES256', 'Ed25519', 'RS256', 'PS256'] as const)(
  'an assertion is signed by a key of %s, as a CryptoKey, a JWK, in PEM, or by somebody who has it',
  async (algorithm) => {
    const pair = await generateKeyPair(algorithm, { extractable: true })
    const { server } = robot()
    server.trusted.set('robot', pair.publicKey)
    const keys: (AssertionKey | (() => AssertionKey))[] = [
      pair.privateKey,
      (await exportJWK(pair.privateKey)) as { kty: string },
      await exportPKCS8(pair.privateKey),
      () => ({ key: pair.privateKey }),
    ]
    for (const key of keys) {
      const assertion = jwtAssertion(key, { algorithm, kid: 'key-1' })
      const source = jwtBearer({ issuer: ISSUER, clientId: 'robot', assertion })
      expect(server.issued.get(await source.getAccessToken())).toMatchObject({ subject: 'robot' })
      const { body } = server.requests.at(-1) ?? {}
      expect(decodeProtectedHeader(body?.get('assertion') ?? '')).toMatchObject({ alg: algorithm, kid: 'key-1' })
    }
    expect(server.requests).toHaveLength(keys.length)
  },
)

test('a key management service signs in the place of a key', async () => {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const signer = {
    alg: 'ES256',
    kid: 'in-the-vault',
    sign: async (input: Uint8Array) => sign('sha256', input, { key: pair.privateKey, dsaEncoding: 'ieee-p1363' }),
  }
  const { server, source } = robot(jwtAssertion(signer, { header: { 'x5t#S256': 'thumbprint', alg: 'none' } }))
  const ecdsa = { name: 'ECDSA', namedCurve: 'P-256' }
  const spki = pair.publicKey.export({ type: 'spki', format: 'der' })
  server.trusted.set('robot', await crypto.subtle.importKey('spki', spki, ecdsa, true, ['verify']))
  await source.getAccessToken()
  const header = decodeProtectedHeader(server.requests[0]?.body.get('assertion') ?? '')
  expect(header).toEqual({ alg: 'ES256', kid: 'in-the-vault', 'x5t#S256': 'thumbprint' })
})

test('an assertion says who asks, of whom, for a minute and once; nothing else goes with it', async () => {
  const { server, source } = robot({ header: { 'x5t#S256': 'thumbprint', alg: 'none' } }, { scope: 'orders:read' })
  const before = Math.floor(Date.now() / 1000)
  const first = await source.getAccessToken()
  expect(await source.getAccessToken()).toBe(first)
  await source.getAccessToken({ rejectedToken: first })
  const [one, another] = await Promise.all(server.requests.map((request) => server.claims(request)))
  expect(one).toEqual({
    iss: 'robot',
    sub: 'robot',
    aud: ISSUER,
    iat: expect.any(Number),
    exp: Number(one?.iat) + 60,
    jti: expect.any(String),
  })
  expect(Number(one?.iat) - before).toBeLessThanOrEqual(5)
  expect(another?.jti).not.toBe(one?.jti)
  const { body, authorization, grantType } = server.requests[0] ?? {}
  expect(grantType).toBe(JWT_BEARER)
  expect(authorization).toBeNull()
  expect([...(body?.keys() ?? [])].sort()).toEqual(['assertion', 'grant_type', 'scope'])
  const header = decodeProtectedHeader(body?.get('assertion') ?? '')
  expect(header).toEqual({ alg: 'ES256', 'x5t#S256': 'thumbprint' })
})

test('issuer, subject, audience, lifetime and more claims are as they are told; claims replace nothing', async () => {
  const { server, source } = robot({
    issuer: 'https://idp.example',
    subject: 'ada',
    audience: 'urn:the-server',
    lifetime: 300,
    claims: { tenant: 'blue', iss: 'x', sub: 'x', aud: 'x', exp: 1, jti: 'x', nbf: 1 },
  })
  server.trusted.set('https://idp.example', publicKey)
  server.audience = 'urn:the-server'
  expect(server.issued.get(await source.getAccessToken())?.subject).toBe('ada')
  const claims = await server.claims(server.requests[0])
  expect(claims).toMatchObject({ tenant: 'blue', iss: 'https://idp.example', sub: 'ada', aud: 'urn:the-server' })
  expect(Number(claims.exp) - Number(claims.iat)).toBe(300)
  expect(claims.jti).not.toBe('x')
  expect(claims).not.toHaveProperty('nbf')
})

test.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY])('a lifetime of %d seconds is refused at once', (lifetime) => {
  expect(() => jwtAssertion(privateKey, { lifetime })).toThrow(expect.objectContaining({ code: 'invalid-options' }))
})

test('a Google service account asks for its scope in the assertion, names no subject, and sends nothing else', async () => {
  const google = { audience: 'token_endpoint', subject: false, scope: 'claim' } as const
  const { server, source } = robot(google, { scope: 'https://www.googleapis.com/auth/devstorage.read_only' })
  server.audience = TOKEN_ENDPOINT
  const token = await source.getAccessToken()
  const other = await source.getAccessToken({ scope: 'https://www.googleapis.com/auth/pubsub' })
  expect(await source.getAccessToken()).toBe(token)
  expect(server.issued.get(token)?.scope).toBe('https://www.googleapis.com/auth/devstorage.read_only')
  expect(server.issued.get(other)?.scope).toBe('https://www.googleapis.com/auth/pubsub')
  expect((await source.getTokenSet()).scope).toBe('https://www.googleapis.com/auth/devstorage.read_only')
  expect(server.requests).toHaveLength(2)
  for (const request of server.requests) {
    expect([...request.body.keys()].sort()).toEqual(['assertion', 'grant_type'])
    expect(await server.claims(request)).not.toHaveProperty('sub')
  }
})

test('who has a secret, or says how, authenticates besides', async () => {
  const { server, source } = robot({}, { clientSecret: 'secret' })
  await source.getAccessToken()
  expect(server.requests[0]?.authorization).toBe(`Basic ${btoa('robot:secret')}`)
  const post = robot({}, { clientSecret: 'secret', clientAuthentication: clientSecretPost() })
  await post.source.getAccessToken()
  expect(post.server.requests[0]?.body.get('client_secret')).toBe('secret')
  const named = robot({}, { clientAuthentication: 'none' })
  await named.source.getAccessToken()
  expect(named.server.requests[0]?.body.get('client_id')).toBe('robot')
})

test('subjects, claims and issuers that share a store do not share tokens; the same ones do', async () => {
  const store = memoryStore()
  const server = new MachineServer()
  for (const name of ['other', 'robot']) server.trusted.set(name, publicKey)
  const of = (options: JwtAssertionOptions) => robot(options, { store }, server).source.getAccessToken()
  const all = [{}, { subject: 'ada' }, { subject: 'eve' }, { subject: 'ada', claims: { tenant: 'blue' } }]
  const tokens: string[] = []
  for (const options of [...all, { issuer: 'other' }]) tokens.push(await of(options))
  expect(new Set(tokens).size).toBe(5)
  expect(tokens.map((token) => server.issued.get(token)?.subject)).toEqual(['robot', 'ada', 'eve', 'ada', 'other'])
  expect(await of({ subject: 'ada' })).toBe(tokens[1])
  const assertion = () =>
    jwtAssertion(privateKey, { subject: 'bob' })({
      server: { issuer: ISSUER },
      clientId: 'robot',
      parameters: new URLSearchParams(),
    })
  const own = (sessionKey: string) => robot(assertion, { store, sessionKey }, server).source.getAccessToken()
  expect(await own('bob')).not.toBe(await own('robert'))
  expect(server.requests).toHaveLength(7)
})

test('an assertion that somebody else has issued is asked for at every request, and goes without its line break', async () => {
  let asked = 0
  const signed = jwtAssertion(privateKey)
  const { server, source } = robot(async (request) => {
    asked++
    expect(request).toMatchObject({ clientId: 'robot', server: { token_endpoint: TOKEN_ENDPOINT } })
    return `${await signed(request)}\n`
  })
  const token = await source.getAccessToken()
  await source.getAccessToken()
  expect(asked).toBe(1)
  await source.getAccessToken({ rejectedToken: token })
  expect(asked).toBe(2)
  expect(server.requests.map(({ error }) => error)).toEqual([undefined, undefined])
})

test.each<[string, unknown]>([
  ['nothing', undefined],
  ['an empty line', '\n'],
  ['an object', { jwt: 'x' }],
])('where the function gives %s nothing is sent, and it is said what to give', async (_, given) => {
  const { server, source } = robot(() => given as string)
  expect(await rejection(source.getAccessToken())).toMatchObject({ code: 'invalid-options', retryable: false })
  expect(server.requests).toEqual([])
})

test('a function that fails, and a key that cannot sign, are told apart from a refusal', async () => {
  const failing = robot(() => Promise.reject(new Error('no such file')))
  expect(await rejection(failing.source.getAccessToken())).toMatchObject({
    code: 'callback-failed',
    retryable: true,
    cause: expect.objectContaining({ message: 'no such file' }),
  })
  const wrong = robot(jwtAssertion('garbage'))
  expect(await rejection(wrong.source.getAccessToken())).toMatchObject({ code: 'invalid-options' })
  expect([...failing.server.requests, ...wrong.server.requests]).toEqual([])
  expect(() => robot(undefined, { assertion: 'a.jwt' as never })).toThrow(
    expect.objectContaining({ code: 'invalid-options', fix: 'Set assertion: jwtAssertion(key).' }),
  )
})

test('what the server refuses is a typed error that shows nothing of the assertion', async () => {
  const { server, source } = robot({ audience: 'https://somebody.else' })
  server.description = (body) => `bad assertion ${body.get('assertion')}`
  const error = await rejection(source.getAccessToken())
  expect(error).toMatchObject({
    name: 'AuthorizationServerError',
    code: 'credentials-refused',
    error: 'invalid_grant',
    retryable: false,
    fix: expect.stringContaining('audience'),
  })
  expectNone(error, [server.requests[0]?.body.get('assertion') ?? 'none', await exportPKCS8(privateKey)])
})
