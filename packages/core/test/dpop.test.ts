import { inspect } from 'node:util'
import {
  authenticatedFetch,
  clientCredentials,
  dpop,
  password,
  refreshToken,
  type SourceOptions,
  TokenManager,
} from '@keyturn/core'
import { expect, test } from 'vitest'
import { ProofServer } from './proof-server.ts'
import { rejection } from './sign-in-server.ts'

const API = 'https://api.example/'

function start(options: Partial<SourceOptions> = {}) {
  const server = new ProofServer()
  const warnings: string[] = []
  const all = {
    issuer: 'https://as.example',
    clientId: 'app',
    fetch: server.fetch,
    dpop: dpop(),
    onWarning: (message: string) => warnings.push(message),
    ...options,
  }
  const source = password({ ...all, username: 'ada', password: 'lovelace' })
  return { server, warnings, options: all, source, api: authenticatedFetch(source, { apis: API, fetch: server.fetch }) }
}

test('every grant proves its key to the token endpoint, and gets a token that is bound to it', async () => {
  const { server, options } = start()
  const sources = [
    clientCredentials({ ...options, clientSecret: 'secret' }),
    password({ ...options, username: 'ada', password: 'lovelace' }),
  ]
  for (const source of sources) expect(await source.getTokenSet()).toMatchObject({ tokenType: 'DPoP' })
  expect(server.proofs).toHaveLength(2)
  for (const { claims, jwk } of server.proofs) {
    expect(claims).toEqual({
      jti: expect.any(String),
      iat: expect.any(Number),
      htm: 'POST',
      htu: 'https://as.example/token',
    })
    expect(Object.keys(jwk).sort()).toEqual(['crv', 'kty', 'x', 'y'])
  }
})

test('each API request has its own proof, for its method, its URL without query and fragment, and its token', async () => {
  const { server, api } = start()
  for (const method of ['GET', 'post', 'patch', 'DELETE']) {
    expect((await api(`${API}a/b%2Fc?q=1#part`, { method })).status).toBe(200)
  }
  const proofs = server.proofsFor(API)
  expect(proofs.map(({ claims }) => claims.htm)).toEqual(['GET', 'POST', 'patch', 'DELETE'])
  expect(proofs.map(({ claims }) => claims.htu)).toEqual(Array(4).fill(`${API}a/b%2Fc`))
  expect(new Set(server.proofs.map(({ claims }) => claims.jti)).size).toBe(5)
  expect(new Set(server.proofs.map(({ thumbprint }) => thumbprint)).size).toBe(1)
})

test('a bound token is never sent as Bearer', async () => {
  const { server, api, source } = start()
  await api(API)
  const token = await source.getAccessToken()
  expect(server.requests.at(-1)?.headers.get('authorization')).toBe(`DPoP ${token}`)
})

test('a URL that apis does not cover gets neither token nor proof', async () => {
  const { server, api } = start()
  await api(API)
  await api('https://elsewhere.example/')
  const headers = server.requests.at(-1)?.headers
  expect([headers?.get('authorization'), headers?.get('dpop')]).toEqual([null, null])
})

test('a refresh is proved with the key that the refresh token is bound to', async () => {
  const { server, source } = start()
  const first = await source.getAccessToken()
  const second = await source.getAccessToken({ rejectedToken: first })
  expect(second).not.toBe(first)
  expect(server.tokenRequests.map((body) => body.get('grant_type'))).toEqual(['password', 'refresh_token'])
  expect(server.proofs[1]?.thumbprint).toBe(server.proofs[0]?.thumbprint)
})

test('a token that an API refuses is replaced, and the second attempt proves the second token', async () => {
  const { server, api } = start()
  await api(API)
  server.oldest = 2
  expect((await api(API)).status).toBe(200)
  expect(server.tokenRequests).toHaveLength(2)
})

test('nonces of the authorization server, of an API, and of one at the same origin are each their own', async () => {
  const { server, api, source } = start()
  const neighbour = authenticatedFetch(source, { apis: 'https://as.example/userinfo', fetch: server.fetch })
  Object.assign(server.wantsNonce, { token: true, api: true, userinfo: true })
  expect((await api(API)).status).toBe(200)
  expect((await neighbour('https://as.example/userinfo')).status).toBe(200)
  expect((await api(API)).status).toBe(200)
  await source.getAccessToken({ rejectedToken: await source.getAccessToken() })
  const nonces = server.proofs.map(({ claims }) => claims.nonce)
  const [token, here, there] = ['nonce-token-0', 'nonce-api-0', 'nonce-userinfo-0']
  expect(nonces).toEqual([undefined, token, undefined, here, undefined, there, here, token])
})

test('of many servers those that were heard of longest ago are forgotten', async () => {
  const { server, source } = start()
  server.wantsNonce.api = true
  const origins = Array.from({ length: 120 }, (_, n) => `https://api-${n}.example/`)
  const api = authenticatedFetch(source, { apis: origins, fetch: server.fetch })
  for (const url of origins) await api(url)
  const before = server.proofs.length
  expect((await api(origins[119] ?? '')).status).toBe(200)
  expect((await api(origins[0] ?? '')).status).toBe(200)
  expect(server.proofs.slice(before).map(({ claims }) => claims.nonce)).toEqual([
    'nonce-api-0',
    undefined,
    'nonce-api-0',
  ])
})

test('a challenge that is long and hostile holds nobody up', async () => {
  const { source } = start()
  const hostile = ['dpop error='.repeat(30_000), `dpop ${'error '.repeat(30_000)}`, `DPoP error${' '.repeat(200_000)}`]
  const begun = process.cpuUsage()
  for (const challenge of hostile) {
    const response = new Response(undefined, {
      status: 401,
      headers: { 'www-authenticate': challenge, 'dpop-nonce': 'n' },
    })
    expect(source.observe?.({ url: API, response })).toBe(false)
  }
  expect(process.cpuUsage(begun).user / 1000).toBeLessThan(1000)
})

test('a nonce that comes with a good answer is the next one', async () => {
  const { server, api } = start()
  await api(API)
  Object.assign(server.wantsNonce, { token: true, api: true })
  server.changesNonce = true
  for (let call = 0; call < 5; call++) expect((await api(API)).status).toBe(200)
  expect(server.proofsFor(API)).toHaveLength(1 + 6)
})

test('where each answer of the authorization server has another nonce, one request is refused and no more', async () => {
  const { server, source } = start()
  server.wantsNonce.token = true
  server.changesNonce = true
  await source.getAccessToken({ rejectedToken: await source.getAccessToken() })
  const asked = server.tokenRequests.map((body) => body.get('grant_type'))
  expect(asked).toEqual(['password', 'password', 'refresh_token'])
})

test('a refused proof does not spend the one retry of a refused token', async () => {
  const { server, api } = start()
  await api(API)
  server.wantsNonce.api = true
  server.changesNonce = true
  server.oldest = 2
  expect((await api(API, { method: 'PUT', body: 'bytes' })).status).toBe(200)
  expect(server.tokenRequests).toHaveLength(2)
})

test('a nonce is taken where CORS hides the challenge', async () => {
  const { server, api } = start()
  Object.assign(server, { showsChallenge: false })
  server.wantsNonce.api = true
  expect((await api(API)).status).toBe(200)
  expect(server.tokenRequests).toHaveLength(1)
})

test('servers that are never content with a nonce are asked twice, and no more', async () => {
  const { server, source } = start()
  server.neverContent = true
  expect(await rejection(source.getAccessToken())).toMatchObject({ error: 'use_dpop_nonce', code: 'request-refused' })
  expect(server.tokenRequests).toHaveLength(2)
  const other = start()
  await other.api(API)
  other.server.neverContent = true
  expect((await other.api(API)).status).toBe(401)
  expect(other.server.proofsFor(API)).toHaveLength(1 + 2)
  expect(other.server.tokenRequests).toHaveLength(1)
})

test.each([3 * 3600, -3 * 3600])(
  'a clock that is off by %i seconds changes nothing but the first attempt',
  async (ahead) => {
    const { server, api, source } = start()
    server.ahead = ahead
    for (let call = 0; call < 3; call++) expect((await api(API)).status).toBe(200)
    await source.getAccessToken({ rejectedToken: await source.getAccessToken() })
    expect(server.tokenRequests).toHaveLength(3)
    expect(server.proofsFor(API)).toHaveLength(3)
  },
)

test('a proxy whose clock is wrong spoils no proof for a server that takes them as they are', async () => {
  const { server, source } = start()
  server.proxyAhead = 600
  await source.getAccessToken({ rejectedToken: await source.getAccessToken() })
  expect(server.tokenRequests.map((body) => body.get('grant_type'))).toEqual(['password', 'refresh_token'])
})

test('an API whose own clock is wrong is proved by that', async () => {
  const { server, api } = start()
  server.apiAhead = 600
  for (let call = 0; call < 3; call++) expect((await api(API)).status).toBe(200)
  expect(server.proofsFor(API)).toHaveLength(4)
  expect(server.tokenRequests).toHaveLength(1)
})

test('an answer of type Bearer is refused, and one of type DPoP without a key, too', async () => {
  const { server, source } = start()
  server.tokenType = 'bearer'
  expect(await rejection(source.getAccessToken())).toMatchObject({ code: 'invalid-response' })
  const plain = clientCredentials({
    issuer: 'https://as.example',
    clientId: 'app',
    clientSecret: 'secret',
    fetch: async (input, init) => {
      if (!String(input).endsWith('/token')) return server.fetch(input, init)
      return Response.json({ access_token: 'a', token_type: 'DPoP', expires_in: 60 })
    },
  })
  expect(await rejection(plain.getAccessToken())).toMatchObject({ code: 'invalid-response' })
  const grant = async () => ({ accessToken: 'a', tokenType: 'DPoP' as const, expiresAt: Date.now() + 60_000 })
  const own = new TokenManager(grant, { issuer: 'https://as.example', clientId: 'app' })
  expect(await rejection(own.getAccessToken())).toMatchObject({ code: 'invalid-response' })
})

test('a refresh token that is bound to another key is refused by the server', async () => {
  const { server, options, source } = start()
  await source.getAccessToken()
  const stolen = refreshToken({ ...options, dpop: dpop(), refreshToken: 'refresh-token-1' })
  expect(await rejection(stolen.getAccessToken())).toMatchObject({ code: 'session-ended' })
  expect(server.proofs[1]?.thumbprint).not.toBe(server.proofs[0]?.thumbprint)
})

test('who is asked for a token signs; what is shown of a source holds no key', async () => {
  const { source } = start()
  const answer = await source.authorize?.({ method: 'GET', url: `${API}?q` })
  expect(Object.keys(answer?.headers ?? {}).sort()).toEqual(['authorization', 'dpop'])
  expect(JSON.stringify([source, await source.getTokenSet(), source.explain()])).not.toMatch(/"(d|privateKey|pair)"/)
  expect(inspect([source, source.client], { depth: 9, showHidden: true })).not.toMatch(/CryptoKey|thumbprint: '/)
  expect(
    clientCredentials({ issuer: 'https://as.example', clientId: 'a', clientSecret: 'b' }).authorize,
  ).toBeUndefined()
})
