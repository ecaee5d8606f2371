import { once } from 'node:events'
import { createServer } from 'node:http'
import {
  accessTokenVerifier,
  authenticatedFetch,
  clientCredentials,
  type DPoPNonces,
  dpop,
  dpopNonces,
  OAuthError,
  VerificationError,
} from '@keyturn/node'
import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import { startAuthorizationServer } from '../../../../examples/playground/src/authorization-server.ts'
import { rejection } from '../../../core/test/sign-in-server.ts'
import { bound, call, now, proof, signed, TokenServer } from './token-server.ts'

afterEach(() => {
  vi.useRealTimers()
})

const later = (seconds: number) => vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + seconds * 1000 })
const key = crypto.getRandomValues(new Uint8Array(32))

/** What a client sends: a token that lives for a day, and a proof with what its case is about. */
async function request(more: Record<string, unknown> = {}) {
  const token = await bound({ exp: now() + 86_400 })
  return call(`DPoP ${token}`, { dpop: await proof(token, more) })
}

const start = (nonces: DPoPNonces = dpopNonces()) => new TokenServer().verifier({ nonces })

async function challengedBy(verifier: ReturnType<typeof start>, more: Record<string, unknown> = {}) {
  const error = await rejection(verifier.verify(await request(more)))
  expect(error).toBeInstanceOf(VerificationError)
  return error as VerificationError
}

async function nonceOf(verifier: ReturnType<typeof start>): Promise<string> {
  return (await challengedBy(verifier)).headers['dpop-nonce'] ?? ''
}

test('a proof without a nonce is answered with one, with which the next is good', async () => {
  const verifier = start()
  const { code, status, challenge, headers } = await challengedBy(verifier)
  expect({ code, status }).toEqual({ code: 'nonce-required', status: 401 })
  expect(challenge).toMatch(
    /^DPoP error="use_dpop_nonce", error_description="The DPoP proof needs the nonce of this answer", algs="ES256 /,
  )
  expect(headers).toMatchObject({ 'www-authenticate': challenge, 'cache-control': 'no-store' })
  expect(await verifier.verify(await request({ nonce: headers['dpop-nonce'] }))).toMatchObject({ sub: 'ada' })
})

test.each<[string, unknown]>([
  ['somebody made up', 'bm9uY2U'],
  ['is no text', 7],
  ['is empty', ''],
  ['is endless', 'A'.repeat(8000)],
])('a nonce that %s is answered with a new one', async (_, nonce) => {
  const verifier = start()
  const { code, headers } = await challengedBy(verifier, { nonce })
  expect(code).toBe('nonce-required')
  expect(await verifier.verify(await request({ nonce: headers['dpop-nonce'] }))).toMatchObject({ sub: 'ada' })
})

test('a nonce of which any character was changed is none', async () => {
  later(0) // time stands still: the second could pass
  const nonces = dpopNonces()
  const nonce = await nonces.issue()
  expect(await nonces.issuedAt(nonce)).toBe(now())
  for (let at = 0; at < nonce.length; at++) {
    for (const character of ['A', 'Q', '_', 'é', '=']) {
      const changed = nonce.slice(0, at) + character + nonce.slice(at + 1)
      if (changed !== nonce) expect(await nonces.issuedAt(changed), changed).toBeUndefined()
    }
  }
  expect(await nonces.issuedAt(`${nonce}A`)).toBeUndefined()
})

test('a nonce is good for five minutes, or as long as is set', async () => {
  for (const [options, lifetime] of [
    [{}, 300],
    [{ lifetime: 20 }, 20],
  ] as const) {
    vi.useRealTimers()
    const verifier = start(dpopNonces(options))
    const nonce = await nonceOf(verifier)
    later(lifetime - 2)
    expect(await verifier.verify(await request({ nonce }))).toMatchObject({ sub: 'ada' })
    later(3)
    expect(await challengedBy(verifier, { nonce })).toMatchObject({ code: 'nonce-required' })
  }
})

test('an answer offers a newer nonce in the second half of the life of an old one, and only then', async () => {
  const verifier = start()
  const nonce = await nonceOf(verifier)
  const early = await request({ nonce })
  expect(verifier.responseHeaders(early)).toEqual({}) // nothing is known of it yet
  await verifier.verify(early)
  expect(verifier.responseHeaders(early)).toEqual({})
  later(160)
  const late = await request({ nonce })
  await verifier.verify(late)
  const { 'dpop-nonce': newer, ...others } = verifier.responseHeaders(late)
  expect(others).toEqual({ 'cache-control': 'no-store' })
  expect(newer).not.toBe(nonce)
  later(145)
  expect(await verifier.verify(await request({ nonce: newer }))).toMatchObject({ sub: 'ada' })
  expect(await challengedBy(verifier, { nonce })).toMatchObject({ code: 'nonce-required' })
})

test('with a nonce the clock of the client does not count, and without one it does', async () => {
  const verifier = start()
  const nonce = await nonceOf(verifier)
  expect(await verifier.verify(await request({ nonce, iat: now() - 7200 }))).toMatchObject({ sub: 'ada' })
  const error = await rejection(new TokenServer().verifier().verify(await request({ nonce, iat: now() - 7200 })))
  expect(error).toMatchObject({ code: 'invalid-proof' })
})

test('a proof with a nonce is taken once, for as long as the nonce is good', async () => {
  const verifier = start()
  const nonce = await nonceOf(verifier)
  const sent = await request({ nonce, iat: now() - 7200 })
  await verifier.verify(sent)
  expect(await rejection(verifier.verify(sent.clone()))).toMatchObject({ code: 'invalid-proof' })
  later(290)
  expect(await rejection(verifier.verify(sent.clone()))).toMatchObject({ code: 'invalid-proof' })
  later(11)
  expect(await rejection(verifier.verify(sent.clone()))).toMatchObject({ code: 'nonce-required' })
})

test('what is wrong with a proof besides is said first, and no nonce is given for it', async () => {
  for (const more of [{ htm: 'POST' }, { htu: 'https://evil.example/' }, { ath: 'a' }, { jti: '' }]) {
    const { code, headers } = await challengedBy(start(), more)
    expect(code).toBe('invalid-proof')
    expect(headers).not.toHaveProperty('dpop-nonce')
  }
})

test('processes that share a key take the nonces of each other, and those of another key are none', async () => {
  const nonce = await nonceOf(start(dpopNonces({ key })))
  expect(await start(dpopNonces({ key: Buffer.from(key) })).verify(await request({ nonce }))).toMatchObject({
    sub: 'ada',
  })
  expect(await challengedBy(start(dpopNonces()), { nonce })).toMatchObject({ code: 'nonce-required' })
  later(-100) // the clock of the other process
  expect(await start(dpopNonces({ key })).verify(await request({ nonce }))).toMatchObject({ sub: 'ada' })
})

test('bearer tokens need no nonce', async () => {
  expect(await start().verify(call(`Bearer ${await signed()}`))).toMatchObject({ sub: 'ada' })
})

test('keys that are too short and lives that are none are refused', () => {
  for (const options of [
    { key: new Uint8Array(31) },
    { key: 'a'.repeat(32) as never },
    { lifetime: 0 },
    { lifetime: Number.NaN },
    { lifetime: Number.POSITIVE_INFINITY },
  ]) {
    expect(() => dpopNonces(options)).toThrow(OAuthError)
  }
})

test('a client of ours learns the nonce, and renews no token for it', async () => {
  const audience = 'urn:orders'
  const server = await startAuthorizationServer({ apis: [audience], accessTokenTTL: 3600 })
  onTestFinished(() => server.stop())
  const { issuer } = server
  const verifier = accessTokenVerifier({ issuer, audience, dpop: 'required', nonces: dpopNonces({ key }) })
  const statuses: number[] = []
  let refusals = 0
  const api = createServer(async (incoming, response) => {
    try {
      await verifier.verify(incoming)
      const status = refusals-- > 0 ? 401 : 200
      const refused = status === 401 && { 'www-authenticate': 'DPoP error="invalid_token"' }
      response.writeHead(status, { ...verifier.responseHeaders(incoming), ...refused }).end()
    } catch (error) {
      if (!(error instanceof VerificationError)) throw error
      response.writeHead(error.status, error.headers).end()
    }
    statuses.push(response.statusCode)
  }).listen(0, '127.0.0.1')
  await once(api, 'listening')
  onTestFinished(() => {
    api.close()
    api.closeAllConnections()
  })
  const url = `http://127.0.0.1:${Object(api.address()).port}/orders`
  const client = { issuer, clientId: 'worker', clientSecret: 'worker-secret', scope: 'api:read', resource: audience }
  const source = clientCredentials({ ...client, dpop: dpop() })
  const call = authenticatedFetch(source, { apis: url })
  expect((await call(url)).status).toBe(200)
  expect((await call(url)).status).toBe(200)
  expect(statuses.splice(0)).toEqual([401, 200, 200])
  expect(source.stats().tokenRequests).toBe(1)
  // The newer nonce comes with an answer, so that nobody is refused when the old one ends.
  later(200)
  expect((await call(url)).status).toBe(200)
  later(200)
  expect((await call(url)).status).toBe(200)
  expect(statuses.splice(0)).toEqual([200, 200])
  // The retry for a refused token is still there after one for a nonce.
  later(400)
  refusals = 1
  expect((await call(url)).status).toBe(200)
  expect(statuses).toEqual([401, 401, 200])
  expect(source.stats().tokenRequests).toBe(2)
})
