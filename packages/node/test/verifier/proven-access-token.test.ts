import { VerificationError } from '@keyturn/node'
import { exportJWK, generateKeyPair } from 'jose'
import { afterEach, expect, test, vi } from 'vitest'
import { rejection } from '../../../core/test/sign-in-server.ts'
import {
  AUDIENCE,
  bound,
  call,
  now,
  part,
  proof,
  proofKey,
  signed,
  TokenServer,
  URL_OF_ORDERS,
} from './token-server.ts'

afterEach(() => {
  vi.useRealTimers()
})

const ALGS = 'algs="ES256 ES384 ES512 PS256 PS384 PS512 RS256 RS384 RS512 Ed25519 EdDSA"'
const invalidProof = {
  code: 'invalid-proof',
  status: 401,
  challenge: `DPoP error="invalid_dpop_proof", error_description="The DPoP proof is not good for this request", ${ALGS}`,
}
const others = await generateKeyPair('ES256', { extractable: true })

test('a token that is bound to a key is taken with a proof for it and the request', async () => {
  const verifier = new TokenServer().verifier()
  const token = await bound()
  expect(await verifier.verify(call(`DPoP ${token}`, { dpop: await proof(token) }))).toMatchObject({ sub: 'ada' })
  expect(await verifier.verify(call(`dpop ${token}`, { dpop: await proof(token) }))).toMatchObject({ sub: 'ada' })
})

test.each<[string, (token: string) => string | Promise<string> | undefined]>([
  ['is missing', () => undefined],
  ['is garbage', () => 'garbage'],
  ['is for another token', async () => proof(await bound())],
  ['is for no token', (token) => proof(token, { ath: undefined })],
  ['is for another address', (token) => proof(token, { htu: 'https://api.example/invoices' })],
  ['is for another host', (token) => proof(token, { htu: 'https://evil.example/orders' })],
  ['is for another method', (token) => proof(token, { htm: 'POST' })],
  ['is six minutes old', (token) => proof(token, { iat: now() - 360 })],
  ['is of in six minutes', (token) => proof(token, { iat: now() + 360 })],
  ['has no jti', (token) => proof(token, Object({ jti: undefined }))],
  ['is of another type', (token) => proof(token, {}, { typ: 'JWT' })],
  [
    'is signed by another key than it shows',
    async (token) => {
      const [header, payload] = (await proof(token)).split('.')
      const [, , signature] = (await proof(token, {}, {}, others)).split('.')
      return [header, payload, signature].join('.')
    },
  ],
  [
    'is not signed',
    async (token) => {
      const [header = '', payload] = (await proof(token)).split('.')
      const { jwk } = JSON.parse(Buffer.from(header, 'base64url').toString())
      return `${part({ alg: 'none', typ: 'dpop+jwt', jwk })}.${payload}.`
    },
  ],
  ['shows the private key', async (token) => proof(token, {}, { jwk: await exportJWK(proofKey.privateKey) })],
  ['comes twice', async (token) => `${await proof(token)}, ${await proof(token)}`],
])('a proof that %s is refused', async (_, make) => {
  const token = await bound()
  const dpop = await make(token)
  const request = call(`DPoP ${token}`, dpop === undefined ? {} : { dpop })
  const error = await rejection(new TokenServer().verifier().verify(request))
  expect(error).toBeInstanceOf(VerificationError)
  expect(error).toMatchObject(invalidProof)
  for (const piece of [token, ...(dpop ?? '').split('.')].filter(({ length }) => length > 7)) {
    expect(JSON.stringify([error, String(error), String(Object(error).cause)])).not.toContain(piece)
  }
})

test('a proof by another key than the token is bound to makes the token invalid', async () => {
  const token = await bound()
  const request = call(`DPoP ${token}`, { dpop: await proof(token, {}, {}, others) })
  expect(await rejection(new TokenServer().verifier().verify(request))).toMatchObject({
    code: 'invalid-token',
    status: 401,
    challenge: `DPoP error="invalid_token", error_description="The token is bound to another key", ${ALGS}`,
  })
})

test('a proof is taken once, also when it comes twice at the same time or is signed anew', async () => {
  const verifier = new TokenServer().verifier()
  const token = await bound()
  const dpop = await proof(token, { jti: 'once' })
  const attempts = [dpop, dpop, await proof(token, { jti: 'once', iat: now() - 1 })]
  const outcomes = await Promise.allSettled(
    attempts.map((each) => verifier.verify(call(`DPoP ${token}`, { dpop: each }))),
  )
  expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected', 'rejected'])
  expect(await rejection(verifier.verify(call(`DPoP ${token}`, { dpop })))).toMatchObject(invalidProof)
})

test('one request may be looked at twice, such as by a route that asks for more', async () => {
  const verifier = new TokenServer().verifier()
  const token = await bound()
  const request = call(`DPoP ${token}`, { dpop: await proof(token) })
  expect(await verifier.verify(request)).toEqual(await verifier.verify(request, { scope: 'orders:read' }))
  expect(await rejection(verifier.verify(request, { scope: 'admin' }))).toMatchObject({ status: 403 })
  expect(await rejection(verifier.verify(request.clone()))).toMatchObject(invalidProof)
})

test('a request that is looked at again is refused once its token has ended or is revoked, be it bound or opaque', async () => {
  const server = new TokenServer()
  const verifier = server.verifier({ clientId: 'api', clientSecret: 'api-secret' })
  const token = await bound()
  server.opaque.opaque = { active: true, aud: AUDIENCE, sub: 'ada' }
  const requests = [call(`DPoP ${token}`, { dpop: await proof(token) }), call('Bearer opaque')]
  for (const request of requests) expect(await verifier.verify(request)).toMatchObject({ sub: 'ada' })
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 310_000 })
  server.opaque = {}
  for (const request of requests) {
    expect(await rejection(verifier.verify(request))).toMatchObject({ code: 'invalid-token', status: 401 })
  }
})

test('a proof is remembered for as long as it could be taken', async () => {
  const verifier = new TokenServer().verifier()
  const token = await bound({ exp: now() + 3600 })
  const dpop = await proof(token, { iat: now() + 290 })
  await verifier.verify(call(`DPoP ${token}`, { dpop }))
  for (let count = 0; count < 4; count++) {
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 145_000 })
    expect(await rejection(verifier.verify(call(`DPoP ${token}`, { dpop })))).toMatchObject({ code: 'invalid-proof' })
  }
})

test('a token that is bound to a key is not taken as Bearer, with or without its proof', async () => {
  const verifier = new TokenServer().verifier()
  const token = await bound()
  for (const headers of [{}, { dpop: await proof(token) }]) {
    expect(await rejection(verifier.verify(call(`Bearer ${token}`, headers)))).toMatchObject({
      code: 'invalid-token',
      status: 401,
      challenge: `DPoP error="invalid_token", error_description="The token is bound to a key", ${ALGS}`,
    })
  }
})

test('a token that is bound to no key is not taken as DPoP', async () => {
  const token = await signed()
  const request = call(`DPoP ${token}`, { dpop: await proof(token) })
  expect(await rejection(new TokenServer().verifier().verify(request))).toMatchObject({
    code: 'invalid-token',
    challenge: `DPoP error="invalid_token", error_description="The token is not good here", ${ALGS}`,
  })
})

test('a bad token with a good proof is a bad token', async () => {
  const token = await bound({ exp: now() - 60 })
  const request = call(`DPoP ${token}`, { dpop: await proof(token) })
  expect(await rejection(new TokenServer().verifier().verify(request))).toMatchObject({
    code: 'invalid-token',
    challenge: `DPoP error="invalid_token", error_description="The token has expired", ${ALGS}`,
  })
})

test('where binding is required a bearer token is refused, and the challenge knows one scheme only', async () => {
  const verifier = new TokenServer().verifier({ dpop: 'required' })
  expect(await rejection(verifier.verify(call()))).toMatchObject({ code: 'token-missing', challenge: `DPoP ${ALGS}` })
  expect(await rejection(verifier.verify(call(`Bearer ${await signed()}`)))).toMatchObject({
    code: 'invalid-token',
    challenge: expect.stringMatching(/^DPoP error="invalid_token"/),
  })
  const token = await bound()
  expect(await verifier.verify(call(`DPoP ${token}`, { dpop: await proof(token) }))).toMatchObject({ sub: 'ada' })
})

test('behind a proxy the proof is made for where clients reach the API', async () => {
  const verifier = new TokenServer().verifier({ origin: 'https://api.example' })
  const token = await bound()
  const through = async (url: string) => {
    const headers = { authorization: `DPoP ${token}`, dpop: await proof(token) }
    return verifier.verify(new Request(url, { headers }))
  }
  expect(await through('http://10.0.0.7:8080/orders?page=2')).toMatchObject({ sub: 'ada' })
  expect(await through(URL_OF_ORDERS)).toMatchObject({ sub: 'ada' })
  expect(await rejection(through('http://10.0.0.7:8080/invoices'))).toMatchObject(invalidProof)
})

test('a proof that is too long is not looked at', async () => {
  const token = await bound()
  const server = new TokenServer()
  const request = call(`DPoP ${token}`, { dpop: 'a'.repeat(20_000) })
  expect(await rejection(server.verifier().verify(request))).toMatchObject({ code: 'invalid-token', status: 401 })
  expect(server.requests).toEqual([])
})
