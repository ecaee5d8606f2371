import { createHmac } from 'node:crypto'
import { VerificationError } from '@keyturn/node'
import { exportSPKI, generateKeyPair } from 'jose'
import { afterEach, expect, test, vi } from 'vitest'
import { rejection } from '../../../core/test/sign-in-server.ts'
import { call, claimsOf, now, part, signed, TokenServer } from './token-server.ts'

afterEach(() => {
  vi.useRealTimers()
})

const later = (seconds: number) => vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + seconds * 1000 })

const invalidToken = {
  code: 'invalid-token',
  status: 401,
  challenge: expect.stringMatching(/^Bearer error="invalid_token", error_description="[\w ]+"$/),
}

test('the claims of a good token are given, whatever the case of its scheme', async () => {
  const verifier = new TokenServer().verifier()
  const claims = claimsOf()
  const token = await signed(claims)
  for (const scheme of ['Bearer', 'bearer', 'BEARER']) {
    expect(await verifier.verify(call(`${scheme} ${token}`))).toEqual(claims)
  }
})

const rsa = await generateKeyPair('RS256', { extractable: true })

async function withPublicKeyAsSecret() {
  const unsigned = `${part({ alg: 'HS256', typ: 'at+jwt', kid: 'key-2' })}.${part(claimsOf())}`
  return `${unsigned}.${createHmac('sha256', await exportSPKI(rsa.publicKey))
    .update(unsigned)
    .digest('base64url')}`
}

const changed = async (claims: object) => {
  const [header, , signature] = (await signed()).split('.')
  return [header, part(claims), signature].join('.')
}

test.each<[string, () => string | Promise<string>]>([
  ['alg none', () => `${part({ alg: 'none', typ: 'at+jwt' })}.${part(claimsOf())}.`],
  ['alg none and a signature', () => `${part({ alg: 'none', typ: 'at+jwt' })}.${part(claimsOf())}.c2ln`],
  ['HS256 and the public key as secret', withPublicKeyAsSecret],
  ['another key behind the same id', async () => signed(claimsOf(), {}, await generateKeyPair('ES256'))],
  ['a key of another algorithm', () => signed(claimsOf(), { alg: 'RS256' }, rsa)],
  ['a key of its own in its header', async () => signed(claimsOf(), { kid: 'mine' }, await generateKeyPair('ES256'))],
  ['claims that were changed', () => changed(claimsOf({ sub: 'eve' }))],
  ['the type of any JWT', () => signed(claimsOf(), { typ: 'JWT' })],
  ['the type of a proof', () => signed(claimsOf(), { typ: 'dpop+jwt' })],
  ['the type of a logout token', () => signed(claimsOf(), { typ: 'logout+jwt' })],
  ['another audience', () => signed(claimsOf({ aud: 'https://other.example/' }))],
  ['other audiences', () => signed(claimsOf({ aud: ['https://other.example/', 'https://api.example'] }))],
  ['no audience', () => signed(claimsOf({ aud: undefined }))],
  ['another issuer', () => signed(claimsOf({ iss: 'https://evil.example' }))],
  ['an issuer with a slash more', () => signed(claimsOf({ iss: 'https://as.example/' }))],
  ['no issuer', () => signed(claimsOf({ iss: undefined }))],
  ['an end that has passed', () => signed(claimsOf({ exp: now() - 10 }))],
  ['no end', () => signed(claimsOf({ exp: undefined }))],
  ['an end that is text', () => signed(claimsOf({ exp: `${now() + 60}` as never }))],
  ['a beginning that is to come', () => signed(claimsOf({ nbf: now() + 60 }))],
  ['an issue that is to come', () => signed(claimsOf({ iat: now() + 60 }))],
  ['no subject', () => signed(claimsOf({ sub: undefined }))],
  ['no client', () => signed(claimsOf({ client_id: undefined }))],
  [
    'a certificate that it is bound to',
    () => signed(claimsOf({ cnf: { 'x5t#S256': 'bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2' } })),
  ],
  ['garbage for claims', async () => (await signed()).replace(/\..*\./, '.Z2FyYmFnZQ.')],
  ['garbage for a signature', async () => `${(await signed()).replace(/\.[^.]*$/, '')}.Z2FyYmFnZQ`],
  ['five parts', async () => `${await signed()}.a.b`],
  ['nothing of a JWT', () => 'opaque'],
  ['nothing but dots', () => '...'],
  ['seventeen thousand characters', () => `${part({ alg: 'ES256' })}.${'a'.repeat(17_000)}.a`],
])('a token with %s is refused as invalid', async (_, token) => {
  const server = new TokenServer()
  server.keys.set('key-2', rsa)
  const text = await token()
  const error = await rejection(server.verifier().verify(call(`Bearer ${text}`)))
  expect(error).toBeInstanceOf(VerificationError)
  expect(error).toMatchObject({ ...invalidToken, retryable: false, headers: { 'cache-control': 'no-store' } })
  const { headers, challenge, message, cause, stack } = error as VerificationError
  expect(headers['www-authenticate']).toBe(challenge)
  for (const piece of text.split('.').filter(({ length }) => length > 4 && text !== 'opaque')) {
    expect(JSON.stringify([error, message, String(cause), stack, challenge])).not.toContain(piece)
  }
})

test('a request without a token is told how to bring one, and not that anything is wrong', async () => {
  const verifier = new TokenServer().verifier({
    scope: 'orders:read',
    resourceMetadata: 'https://api.example/.well-known/x',
  })
  for (const authorization of [undefined, 'Basic YTpi', 'Bearerx y']) {
    const error = await rejection(verifier.verify(call(authorization)))
    expect(error).toMatchObject({ code: 'token-missing', status: 401 })
    const { challenge } = error as VerificationError
    const all = 'scope="orders:read", resource_metadata="https://api.example/.well-known/x"'
    expect(challenge).toMatch(new RegExp(`^Bearer ${all}, DPoP ${all}, algs="ES256 `))
  }
})

test.each([
  ['two tokens', 'Bearer a.b.c, Bearer d.e.f'],
  ['a token with a space', 'Bearer a b'],
  ['no token behind its scheme', 'Bearer'],
  ['characters that no token has', 'Bearer a"b'],
])('an Authorization header with %s is malformed', async (_, authorization) => {
  const error = await rejection(new TokenServer().verifier().verify(call(authorization)))
  expect(error).toMatchObject({
    code: 'malformed-request',
    status: 400,
    challenge:
      'Bearer error="invalid_request", error_description="The Authorization header has to hold one access token"',
  })
})

test('a token in the address is refused, even a good one beside one in the header', async () => {
  const token = await signed()
  const verifier = new TokenServer().verifier()
  const url = `https://api.example/orders?access_token=${token}`
  for (const headers of [{}, { authorization: `Bearer ${token}` }]) {
    const error = await rejection(verifier.verify(new Request(url, { headers })))
    expect(error).toMatchObject({ code: 'malformed-request', status: 400 })
    expect(JSON.stringify([error, String(error)])).not.toContain(token)
  }
})

test('a token in a body is not looked for', async () => {
  const body = new URLSearchParams({ access_token: await signed() })
  const request = new Request('https://api.example/orders', { method: 'POST', body })
  expect(await rejection(new TokenServer().verifier().verify(request))).toMatchObject({ code: 'token-missing' })
  expect(request.bodyUsed).toBe(false)
})

test('what is too long costs no request and no signature', async () => {
  const server = new TokenServer()
  await rejection(server.verifier({ clientId: 'api' }).verify(call(`Bearer ${'a'.repeat(20_000)}`)))
  expect(server.requests).toEqual([])
})

test('of several audiences one is enough', async () => {
  const verifier = new TokenServer().verifier({ audience: ['https://api.example/', 'urn:orders'] })
  for (const aud of ['urn:orders', ['other', 'urn:orders'], 'https://api.example/']) {
    expect(await verifier.verify(call(`Bearer ${await signed(claimsOf({ aud }))}`))).toMatchObject({ sub: 'ada' })
  }
  const other = await signed(claimsOf({ aud: 'urn:other' }))
  expect(await rejection(verifier.verify(call(`Bearer ${other}`)))).toMatchObject(invalidToken)
})

test('a storm of unknown keys asks for keys at most once a minute, and good tokens go on', async () => {
  const server = new TokenServer()
  const verifier = server.verifier()
  const good = await signed()
  const storm = async () => {
    const others = Array.from({ length: 50 }, (_, i) => signed(claimsOf(), { kid: `unknown-${i}` }))
    for (const token of await Promise.all(others)) {
      expect(await rejection(verifier.verify(call(`Bearer ${token}`)))).toMatchObject(invalidToken)
    }
  }
  await verifier.verify(call(`Bearer ${good}`))
  for (let minute = 0; minute < 4; minute++) {
    await storm()
    await storm()
    expect(await verifier.verify(call(`Bearer ${good}`))).toMatchObject({ sub: 'ada' })
    expect(server.asked('/jwks')).toBe(2 + minute)
    later(61)
  }
})

test('a key is found by its name as it is written, also when it was found before', async () => {
  const server = new TokenServer()
  const verifier = server.verifier()
  const other = await generateKeyPair('ES256')
  server.keys.set('7', other)
  expect(await verifier.verify(call(`Bearer ${await signed(claimsOf(), { kid: '7' }, other)}`))).toMatchObject({
    sub: 'ada',
  })
  for (const kid of [7, ['7'], null, '']) {
    const token = await signed(claimsOf(), { kid: kid as never }, other)
    expect(await rejection(verifier.verify(call(`Bearer ${token}`)))).toMatchObject(invalidToken)
  }
  expect(await rejection(verifier.verify(call(`Bearer ${await signed(claimsOf(), { kid: '7' })}`)))).toMatchObject(
    invalidToken,
  )
})

test('a new key is found at once, by all who come with it at about the same time', async () => {
  const server = new TokenServer()
  const verifier = server.verifier()
  await verifier.verify(call(`Bearer ${await signed()}`))
  const next = await generateKeyPair('ES256')
  server.keys.set('key-2', next)
  const tokens = await Promise.all(Array.from({ length: 300 }, () => signed(claimsOf(), { kid: 'key-2' }, next)))
  const verified: Promise<unknown>[] = []
  for (const token of tokens) {
    verified.push(verifier.verify(call(`Bearer ${token}`)))
    await null // the next one comes a little later: some of them while the keys arrive
  }
  const outcomes = await Promise.allSettled(verified)
  expect(outcomes.filter(({ status }) => status === 'rejected')).toEqual([])
  expect(server.asked('/jwks')).toBe(2)
})

test('known keys outlive an outage of the server, which is asked once a minute', async () => {
  const server = new TokenServer()
  const verifier = server.verifier()
  await verifier.verify(call(`Bearer ${await signed()}`))
  server.isAway = true
  for (let minute = 0; minute < 20; minute++) {
    later(60)
    expect(await verifier.verify(call(`Bearer ${await signed()}`))).toMatchObject({ sub: 'ada' })
    const forged = await signed(claimsOf(), {}, await generateKeyPair('ES256'))
    expect(await rejection(verifier.verify(call(`Bearer ${forged}`)))).toMatchObject(invalidToken)
  }
  await new Promise(setImmediate)
  expect(server.asked('/jwks')).toBeGreaterThan(5)
  expect(server.asked('/jwks')).toBeLessThanOrEqual(21)
})

test('a key that the server has withdrawn is forgotten within six minutes', async () => {
  const server = new TokenServer()
  const verifier = server.verifier()
  await verifier.verify(call(`Bearer ${await signed()}`))
  server.keys.delete('key-1')
  server.keys.set('key-2', rsa)
  later(301)
  await verifier.verify(call(`Bearer ${await signed()}`)) // nobody waits for newer keys
  await vi.waitFor(() => expect(server.asked('/jwks')).toBe(2), 5_000)
  // They were asked for, and are there a moment later.
  await vi.waitFor(async () => {
    expect(await rejection(verifier.verify(call(`Bearer ${await signed()}`)))).toMatchObject(invalidToken)
  }, 5_000)
})

test('without any keys it is the API that is unavailable, and the token is not blamed', async () => {
  const server = new TokenServer()
  server.isAway = true
  const verifier = server.verifier()
  const error = await rejection(verifier.verify(call(`Bearer ${await signed()}`)))
  expect(error).toMatchObject({ code: 'verification-unavailable', status: 503, retryable: true })
  expect(error).not.toHaveProperty('challenge')
  expect(error).toMatchObject({ headers: { 'retry-after': '5' }, cause: { code: 'network' } })
  server.isAway = false
  later(1)
  expect(await verifier.verify(call(`Bearer ${await signed()}`))).toMatchObject({ sub: 'ada' })
})

test('a server that is away when an API starts is asked twice a second at most, however many requests come', async () => {
  const server = new TokenServer()
  server.isAway = true
  const verifier = server.verifier()
  const token = await signed()
  later(0) // the clock stands still
  for (let time = 1; time <= 3; time++) {
    for (let count = 0; count < 50; count++) {
      expect(await rejection(verifier.verify(call(`Bearer ${token}`)))).toMatchObject({ status: 503, retryable: true })
    }
    expect(server.requests.length).toBe(time)
    later(0.5)
  }
})

test('a request whose token was exchanged is looked at anew', async () => {
  const verifier = new TokenServer().verifier()
  const request = call(`Bearer ${await signed()}`)
  await verifier.verify(request)
  request.headers.set('authorization', `Bearer ${await signed(claimsOf({ aud: 'urn:other' }))}`)
  expect(await rejection(verifier.verify(request))).toMatchObject(invalidToken)
})
