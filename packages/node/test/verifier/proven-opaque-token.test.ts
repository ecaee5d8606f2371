import { VerificationError } from '@keyturn/node'
import { exportJWK, generateKeyPair } from 'jose'
import { expect, test } from 'vitest'
import { rejection } from '../../../core/test/sign-in-server.ts'
import { AUDIENCE, call, now, part, proof, proofKey, signed, TokenServer, thumbprint } from './token-server.ts'

const TOKEN = 'opaque-and-bound'
const others = await generateKeyPair('ES256', { extractable: true })
const rsa = await generateKeyPair('RS256', { extractable: true })

async function start(answer: object = {}) {
  const server = new TokenServer()
  const cnf = { jkt: await thumbprint(proofKey) }
  const good = { active: true, aud: AUDIENCE, sub: 'ada', exp: now() + 300, token_type: 'DPoP', cnf }
  server.opaque = { [TOKEN]: { ...good, ...answer } }
  return { server, verifier: server.verifier({ clientId: 'api', clientSecret: 'api-secret' }) }
}

test('a token that is no JWT and bound to a key is taken with a proof of that, once', async () => {
  const { verifier } = await start()
  const dpop = await proof(TOKEN)
  expect(await verifier.verify(call(`DPoP ${TOKEN}`, { dpop }))).toMatchObject({ sub: 'ada' })
  expect(await rejection(verifier.verify(call(`DPoP ${TOKEN}`, { dpop })))).toMatchObject({ code: 'invalid-proof' })
  const { verifier: withoutType } = await start({ token_type: undefined })
  expect(await withoutType.verify(call(`DPoP ${TOKEN}`, { dpop: await proof(TOKEN) }))).toMatchObject({ sub: 'ada' })
})

test.each<[string, () => string | Promise<string> | undefined]>([
  ['is missing', () => undefined],
  ['is garbage', () => 'garbage'],
  ['is for another token', () => proof('another')],
  ['is for no token', () => proof(TOKEN, { ath: undefined })],
  ['is for another address', () => proof(TOKEN, { htu: 'https://api.example/invoices' })],
  ['is for an address that is none', () => proof(TOKEN, { htu: '/orders' })],
  ['is for no address', () => proof(TOKEN, { htu: undefined })],
  ['is for another method', () => proof(TOKEN, { htm: 'POST' })],
  ['is for the method in small letters', () => proof(TOKEN, { htm: 'get' })],
  ['is for no method', () => proof(TOKEN, { htm: undefined })],
  ['is six minutes old', () => proof(TOKEN, { iat: now() - 360 })],
  ['is of in six minutes', () => proof(TOKEN, { iat: now() + 360 })],
  ['has ended', () => proof(TOKEN, { exp: now() - 60 })],
  ['has no jti', () => proof(TOKEN, { jti: undefined })],
  ['has a jti that is no text', () => proof(TOKEN, { jti: 7 })],
  ['has an iat that is text', () => proof(TOKEN, { iat: `${now()}` })],
  ['has no type', () => proof(TOKEN, {}, { typ: undefined as never })],
  ['is of another type', () => proof(TOKEN, {}, { typ: 'at+jwt' })],
  ['shows no key', () => proof(TOKEN, {}, { jwk: undefined as never })],
  ['shows the private key', async () => proof(TOKEN, {}, { jwk: await exportJWK(proofKey.privateKey) })],
  ['shows a secret', () => proof(TOKEN, {}, { jwk: { kty: 'oct', k: 'c2VjcmV0' } })],
  ['shows a key of another kind', async () => proof(TOKEN, {}, { jwk: await exportJWK(rsa.publicKey) })],
  [
    'shows another key than it is signed with',
    async () => proof(TOKEN, {}, { jwk: await exportJWK(others.publicKey) }),
  ],
  [
    'is not signed',
    async () => {
      const [header = '', payload] = (await proof(TOKEN)).split('.')
      const { jwk } = JSON.parse(Buffer.from(header, 'base64url').toString())
      return `${part({ alg: 'none', typ: 'dpop+jwt', jwk })}.${payload}.`
    },
  ],
  ['is an access token', () => signed()],
  ['comes twice', async () => `${await proof(TOKEN)}, ${await proof(TOKEN)}`],
])('a proof that %s is refused', async (_, make) => {
  const { verifier } = await start()
  const dpop = await make()
  const error = await rejection(verifier.verify(call(`DPoP ${TOKEN}`, dpop === undefined ? {} : { dpop })))
  expect(error).toBeInstanceOf(VerificationError)
  expect(error).toMatchObject({
    code: 'invalid-proof',
    status: 401,
    challenge: expect.stringMatching(/^DPoP error="invalid_dpop_proof"/),
  })
  for (const piece of [TOKEN, ...(dpop ?? '').split('.')].filter(({ length }) => length > 7)) {
    expect(JSON.stringify([error, String(error), String(Object(error).cause)])).not.toContain(piece)
  }
})

test.each([
  ['with a query and a fragment', 'https://api.example/orders?other=1#there'],
  ['in capitals', 'HTTPS://API.EXAMPLE/orders'],
  ['with the port that https has', 'https://api.example:443/orders'],
])('the address in a proof may be written %s', async (_, htu) => {
  const { verifier } = await start()
  expect(await verifier.verify(call(`DPoP ${TOKEN}`, { dpop: await proof(TOKEN, { htu }) }))).toMatchObject({
    sub: 'ada',
  })
})

test.each(['RS256', 'PS256', 'ES384', 'Ed25519'])('a proof may be signed with %s', async (alg) => {
  const pair = await generateKeyPair(alg, { extractable: true })
  const { verifier } = await start({ cnf: { jkt: await thumbprint(pair) } })
  const dpop = await proof(TOKEN, {}, { alg }, pair)
  expect(await verifier.verify(call(`DPoP ${TOKEN}`, { dpop }))).toMatchObject({ sub: 'ada' })
})

test('a proof by another key makes the token invalid', async () => {
  const { verifier } = await start()
  const request = call(`DPoP ${TOKEN}`, { dpop: await proof(TOKEN, {}, {}, others) })
  expect(await rejection(verifier.verify(request))).toMatchObject({
    code: 'invalid-token',
    challenge: expect.stringMatching(
      /^DPoP error="invalid_token", error_description="The token is bound to another key"/,
    ),
  })
})

test('a bound token is not taken as Bearer, with or without its proof', async () => {
  const { verifier } = await start()
  for (const headers of [{}, { dpop: await proof(TOKEN) }]) {
    expect(await rejection(verifier.verify(call(`Bearer ${TOKEN}`, headers)))).toMatchObject({
      code: 'invalid-token',
      challenge: expect.stringMatching(/^DPoP error="invalid_token", error_description="The token is bound to a key"/),
    })
  }
})

test('a token of that type is bound to a key, or refused', async () => {
  for (const cnf of [undefined, {}, { jkt: 7 }, { 'x5t#S256': 'a' }]) {
    const { verifier } = await start({ cnf })
    const request = call(`DPoP ${TOKEN}`, { dpop: await proof(TOKEN) })
    expect(await rejection(verifier.verify(request))).toMatchObject({ code: 'invalid-token' })
  }
})
