import { type AccessTokenVerifierOptions, accessTokenVerifier, type TrustedIssuer } from '@keyturn/node'
import { generateKeyPair } from 'jose'
import { afterEach, expect, test, vi } from 'vitest'
import { rejection } from '../../../core/test/sign-in-server.ts'
import { AUDIENCE, call, claimsOf, now, part, signed, TokenServer } from './token-server.ts'

afterEach(() => {
  vi.useRealTimers()
})

const A = 'https://a.example'
const B = 'https://b.example/realms/b'

const theirs = { a: await generateKeyPair('ES256'), b: await generateKeyPair('ES256') }
const api = { clientId: 'api', clientSecret: 'api-secret' }

/** Two authorization servers, and an API that takes the tokens of both. */
function start(
  own: { a?: Partial<TrustedIssuer>; b?: Partial<TrustedIssuer> } = {},
  more: Partial<AccessTokenVerifierOptions> = {},
) {
  const servers = { a: new TokenServer(A), b: new TokenServer(B) }
  for (const name of ['a', 'b'] as const) servers[name].keys.set('key-1', theirs[name])
  const fetch: typeof globalThis.fetch = (input, init) => {
    const { href } = new URL(input instanceof Request ? input.url : input)
    return (href.startsWith('https://a.example/') ? servers.a : servers.b).fetch(input, init)
  }
  const issuer = [
    { issuer: A, ...own.a },
    { issuer: B, ...own.b },
  ]
  return { ...servers, verifier: accessTokenVerifier({ issuer, audience: AUDIENCE, fetch, ...more }) }
}

const of = (iss: string | undefined, key: 'a' | 'b', more: object = {}) =>
  signed(claimsOf({ iss, ...more }), {}, theirs[key])

test('tokens of both servers are taken, each by the keys of its own', async () => {
  const { a, b, verifier } = start()
  expect(await verifier.verify(call(`Bearer ${await of(A, 'a')}`))).toMatchObject({ iss: A })
  expect(b.requests).toEqual([])
  expect(await verifier.verify(call(`Bearer ${await of(B, 'b')}`))).toMatchObject({ iss: B })
  expect([a.asked('/jwks'), b.asked('/realms/b/jwks')]).toEqual([1, 1])
})

test.each<[string, () => string | Promise<string>]>([
  ['of one server that is signed by the other', () => of(A, 'b')],
  ['of the other server that is signed by the one', () => of(B, 'a')],
  ['of an issuer with a slash more', () => of(`${A}/`, 'a')],
  ['of an issuer in capitals', () => of('https://A.example', 'a')],
  ['of two issuers', () => of([A, B] as never, 'a')],
])('a token %s is refused', async (_, make) => {
  const { verifier } = start()
  expect(await rejection(verifier.verify(call(`Bearer ${await make()}`)))).toMatchObject({
    code: 'invalid-token',
    status: 401,
  })
})

test.each<[string, () => string | Promise<string>]>([
  ['of nobody', () => of(undefined, 'a')],
  ['of a third server', () => of('https://evil.example', 'a')],
  ['of a prototype', () => of('__proto__', 'a')],
  ['whose claims are garbage', () => `${part({ alg: 'ES256' })}.Z2FyYmFnZQ.a`],
])('a token %s is refused, and nobody is asked', async (_, make) => {
  const { a, b, verifier } = start()
  expect(await rejection(verifier.verify(call(`Bearer ${await make()}`)))).toMatchObject({
    code: 'invalid-token',
    cause: { message: 'its iss is none of those that are trusted' },
  })
  expect([...a.requests, ...b.requests]).toEqual([])
})

test('each server may have an audience of its own', async () => {
  const { verifier } = start({ b: { audience: 'urn:b' } })
  const verified = async (iss: string, key: 'a' | 'b', aud: string) =>
    verifier.verify(call(`Bearer ${await of(iss, key, { aud })}`))
  expect(await verified(A, 'a', AUDIENCE)).toMatchObject({ iss: A })
  expect(await verified(B, 'b', 'urn:b')).toMatchObject({ iss: B })
  expect(await rejection(verified(A, 'a', 'urn:b'))).toMatchObject({ code: 'invalid-token' })
  expect(await rejection(verified(B, 'b', AUDIENCE))).toMatchObject({ code: 'invalid-token' })
})

test('a token that is no JWT is shown to the server with a clientId, and to no other', async () => {
  const { a, b, verifier } = start({ b: api })
  b.opaque = { opaque: { active: true, aud: AUDIENCE, sub: 'ada', exp: now() + 60 } }
  expect(await verifier.verify(call('Bearer opaque'))).toMatchObject({ sub: 'ada' })
  expect(a.requests).toEqual([])
  b.opaque = { foreign: { active: true, iss: A, aud: AUDIENCE, sub: 'ada' } }
  expect(await rejection(verifier.verify(call('Bearer foreign')))).toMatchObject({ code: 'invalid-token' })
  const none = start()
  expect(await rejection(none.verifier.verify(call('Bearer opaque')))).toMatchObject({ code: 'invalid-token' })
  expect([...none.a.requests, ...none.b.requests]).toEqual([])
})

test('the outage of one server does not concern tokens of the other', async () => {
  const { a, verifier } = start()
  a.isAway = true
  const outcome = verifier.verify(call(`Bearer ${await of(A, 'a')}`))
  expect(await rejection(outcome)).toMatchObject({ code: 'verification-unavailable', status: 503 })
  expect(await verifier.verify(call(`Bearer ${await of(B, 'b')}`))).toMatchObject({ iss: B })
})

test.each<[string, Parameters<typeof start>[0], Partial<AccessTokenVerifierOptions>, string]>([
  ['an issuer twice', { b: { issuer: A } }, {}, 'An issuer is given twice'],
  ['two that could be asked', { a: api, b: api }, {}, 'More than one issuer has a clientId'],
  ['none', {}, { issuer: [] }, 'No issuer is given'],
  ['one that is not set', {}, { issuer: undefined as never }, 'No issuer is given'],
  ['a secret for all', {}, { clientSecret: 'a' }, 'clientSecret is of one issuer'],
  ['a name for all', {}, { clientId: 'a' }, 'clientId is of one issuer'],
  ['metadata for all', {}, { metadata: {} }, 'metadata is of one issuer'],
  ['an audience of one that is nobody', { a: { audience: [] } }, {}, 'audience cannot be used'],
])('options that name %s are refused', (_, own, more, message) => {
  expect(() => start(own, more)).toThrow(expect.objectContaining({ code: 'invalid-options', message }))
})

test('ready() fetches what the first token needs, of every server', async () => {
  const { a, b, verifier } = start({ b: api })
  await verifier.ready()
  const before = [a.requests.length, b.requests.length]
  expect([a.asked('/jwks'), b.asked('/realms/b/jwks')]).toEqual([1, 1])
  await verifier.verify(call(`Bearer ${await of(A, 'a')}`))
  await verifier.verify(call(`Bearer ${await of(B, 'b')}`))
  expect([a.requests.length, b.requests.length]).toEqual(before)
  await verifier.ready()
  expect([a.requests.length, b.requests.length]).toEqual(before)
})

test('ready() of a server without keys is there once it can be asked about tokens', async () => {
  const server = new TokenServer()
  const metadata = { introspection_endpoint: 'https://as.example/introspect' }
  const options = { ...api, discovery: false as const, metadata }
  await server.verifier(options).ready()
  expect(await rejection(server.verifier({ discovery: false, metadata }).ready())).toMatchObject({
    code: 'invalid-metadata',
  })
  expect(server.requests).toEqual([])
})

test('a failure of ready() is told to who waits for it, harms nobody else and ends nothing', async () => {
  const unhandled = vi.fn()
  process.on('unhandledRejection', unhandled)
  const server = new TokenServer()
  server.isAway = true
  const verifier = server.verifier()
  void verifier.ready()
  expect(await rejection(verifier.ready())).toMatchObject({ code: 'network', retryable: true })
  await new Promise(setImmediate)
  process.off('unhandledRejection', unhandled)
  expect(unhandled).not.toHaveBeenCalled()
  server.isAway = false
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 1000 })
  expect(await verifier.verify(call(`Bearer ${await signed()}`))).toMatchObject({ sub: 'ada' })
})
