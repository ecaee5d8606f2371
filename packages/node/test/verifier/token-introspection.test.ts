import { VerificationError } from '@keyturn/node'
import { afterEach, expect, test, vi } from 'vitest'
import { rejection } from '../../../core/test/sign-in-server.ts'
import { AUDIENCE, call, ISSUER, now, TokenServer } from './token-server.ts'

afterEach(() => {
  vi.useRealTimers()
})

const later = (seconds: number) => vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + seconds * 1000 })
const api = { clientId: 'api', clientSecret: 'api-secret' }
const good = (more: object = {}) => ({
  active: true,
  aud: AUDIENCE,
  sub: 'ada',
  exp: now() + 300,
  scope: 'a b',
  ...more,
})

function start(answer: object = good(), more: object = {}) {
  const server = new TokenServer()
  server.opaque = { opaque: answer }
  return { server, verifier: server.verifier({ ...api, ...more }) }
}

test('a token that is no JWT is asked about, with the credentials of the API', async () => {
  const { server, verifier } = start()
  const claims = await verifier.verify(call('Bearer opaque'))
  expect(claims).toEqual({ aud: AUDIENCE, sub: 'ada', exp: expect.any(Number), scope: 'a b' })
  const { body } = server.requests.find(({ path }) => path === '/introspect') ?? {}
  expect(Object.fromEntries(body ?? [])).toEqual({ token: 'opaque', token_type_hint: 'access_token' })
})

test('without a clientId nobody is asked, and the token is refused', async () => {
  const server = new TokenServer()
  const error = await rejection(server.verifier().verify(call('Bearer opaque')))
  expect(error).toMatchObject({ code: 'invalid-token', status: 401 })
  expect(server.requests).toEqual([])
})

test.each<[string, object]>([
  ['is not active', { active: false }],
  ['is not active, whatever else is said', good({ active: false })],
  ['is of another issuer', good({ iss: 'https://evil.example' })],
  ['is for another API', good({ aud: ['https://other.example/'] })],
  ['is for nobody in particular', good({ aud: undefined })],
  ['has expired', good({ exp: now() - 10 })],
  ['is not good yet', good({ nbf: now() + 60 })],
  ['is bound to what nobody here can check', good({ cnf: { jkt: 'a', kid: 'b' } })],
  ['is bound to nothing, whatever it says', good({ cnf: {} })],
  ['is bound to a certificate', good({ cnf: { 'x5t#S256': 'a' } })],
  ['is of another type', good({ token_type: 'DPoP' })],
  ['is a refresh token', good({ token_use: 'refresh_token' })],
])('a token that %s is refused as invalid', async (_, answer) => {
  const { verifier } = start(answer)
  const error = await rejection(verifier.verify(call('Bearer opaque')))
  expect(error).toBeInstanceOf(VerificationError)
  expect(error).toMatchObject({
    code: 'invalid-token',
    status: 401,
    challenge: expect.stringMatching(/^Bearer error="invalid_token", error_description="[\w ]+"$/),
  })
})

test('a token of the issuer, of a bearer, for several APIs is taken', async () => {
  const { verifier } = start(good({ iss: ISSUER, aud: ['https://other.example/', AUDIENCE], token_type: 'Bearer' }))
  expect(await verifier.verify(call('Bearer opaque'))).toMatchObject({ sub: 'ada' })
})

test('a token that is no JWT is not taken by the scheme DPoP', async () => {
  const { verifier } = start()
  const error = await rejection(verifier.verify(call('DPoP opaque', { dpop: 'a.b.c' })))
  expect(error).toMatchObject({
    code: 'invalid-token',
    challenge: expect.stringMatching(/^DPoP error="invalid_token"/),
  })
})

test('what the server said is believed for half a minute: a token that was revoked lives no longer', async () => {
  const { server, verifier } = start()
  for (let count = 0; count < 5; count++) await verifier.verify(call('Bearer opaque'))
  expect(server.asked('/introspect')).toBe(1)
  server.opaque = {}
  later(29)
  expect(await verifier.verify(call('Bearer opaque'))).toMatchObject({ sub: 'ada' })
  later(2)
  expect(await rejection(verifier.verify(call('Bearer opaque')))).toMatchObject({ code: 'invalid-token' })
  expect(server.asked('/introspect')).toBe(2)
})

test('how long it is believed can be set, down to not at all', async () => {
  const { server, verifier } = start(good(), { introspectionLifetime: 0 })
  await verifier.verify(call('Bearer opaque'))
  await verifier.verify(call('Bearer opaque'))
  expect(server.asked('/introspect')).toBe(2)
})

test('nothing is believed beyond the life of the token', async () => {
  const { server, verifier } = start(good({ exp: now() + 10 }), { introspectionLifetime: 3_600_000 })
  await verifier.verify(call('Bearer opaque'))
  later(16)
  expect(await rejection(verifier.verify(call('Bearer opaque')))).toMatchObject({
    challenge: 'Bearer error="invalid_token", error_description="The token has expired"',
  })
  expect(server.asked('/introspect')).toBe(2)
})

test('a hundred requests with one token at once ask once', async () => {
  const server = new TokenServer()
  server.opaque = { opaque: good() }
  const gate = Promise.withResolvers<void>()
  const fetch: typeof globalThis.fetch = async (...request) => {
    await gate.promise
    return server.fetch(...request)
  }
  const verifier = server.verifier({ ...api, fetch })
  const verified = Array.from({ length: 100 }, () => verifier.verify(call('Bearer opaque')))
  // By the time that these hashes are there, those of the tokens are.
  for (let count = 0; count < 100; count++) await crypto.subtle.digest('SHA-256', new Uint8Array(1))
  gate.resolve()
  await Promise.all(verified)
  expect(server.asked('/introspect')).toBe(1)
})

test('a storm of bad tokens is forgotten, and pushes no good one out', async () => {
  const { server, verifier } = start()
  await verifier.verify(call('Bearer opaque'))
  const first = await rejection(verifier.verify(call('Bearer bad-0')))
  expect(first).toMatchObject({ code: 'invalid-token' })
  for (let count = 1; count <= 10_000; count++) await rejection(verifier.verify(call(`Bearer bad-${count}`)))
  const before = server.asked('/introspect')
  await rejection(verifier.verify(call('Bearer bad-10000')))
  await verifier.verify(call('Bearer opaque'))
  expect(server.asked('/introspect')).toBe(before)
  await rejection(verifier.verify(call('Bearer bad-0')))
  expect(server.asked('/introspect')).toBe(before + 1)
}, 60_000)

test.each<[string, () => Partial<typeof api>, (server: TokenServer) => void, object]>([
  ['is away', () => ({}), (server) => Object.assign(server, { isAway: true }), { code: 'network' }],
  ['refuses the API', () => ({ clientSecret: 'wrong' }), () => {}, { code: 'client-refused' }],
  [
    'answers something else',
    () => ({}),
    (server) => Object.assign(server, { opaque: { opaque: { a: 1 } } }),
    { code: 'invalid-response' },
  ],
  [
    'says active in words',
    () => ({}),
    (server) => Object.assign(server, { opaque: { opaque: { active: 'true' } } }),
    { code: 'invalid-response' },
  ],
])('while the server %s no token is blamed, and none gets in', async (_, options, breakIt, cause) => {
  const { server, verifier } = start(good(), options())
  breakIt(server)
  const error = await rejection(verifier.verify(call('Bearer opaque')))
  expect(error).toMatchObject({ code: 'verification-unavailable', status: 503, cause })
  expect(JSON.stringify([error, String(error), Object(error).cause])).not.toMatch(/opaque|api-secret|wrong/)
})
