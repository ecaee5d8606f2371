import { generateKeyPairSync, sign } from 'node:crypto'
import {
  type ClientAuthentication,
  clientAssertion,
  clientCredentials,
  clientSecretJwt,
  privateKeyJwt,
  type SigningAlgorithm,
  type SourceOptions,
  tlsClientAuth,
} from '@keyturn/core'
import {
  type CryptoKey,
  exportJWK,
  exportPKCS8,
  exportSPKI,
  generateKeyPair,
  type JWTVerifyOptions,
  jwtVerify,
} from 'jose'
import { expect, test } from 'vitest'
import { rejection } from './sign-in-server.ts'

const ISSUER = 'https://as.example'
const TOKEN_ENDPOINT = `${ISSUER}/token`

/** A worker, and the requests that it sends; the server refuses the first `refusals` of them. */
function worker(clientAuthentication: ClientAuthentication, options: Partial<SourceOptions> = {}, refusals = 0) {
  const sent: { url: string; body: URLSearchParams }[] = []
  const source = clientCredentials({
    issuer: ISSUER,
    clientId: 'worker',
    clientAuthentication,
    discovery: false,
    metadata: { token_endpoint: TOKEN_ENDPOINT },
    fetch: async (input, init) => {
      const request = new Request(input, init)
      sent.push({ url: request.url, body: new URLSearchParams(await request.text()) })
      return sent.length <= refusals
        ? Response.json({ error: 'invalid_client' }, { status: 401 })
        : Response.json({ access_token: 'a', token_type: 'Bearer' })
    },
    ...options,
  })
  return { source, sent }
}

/** What a worker's assertion says, once `key` has verified it. */
async function verified(
  body: URLSearchParams | undefined,
  key: CryptoKey | Uint8Array,
  options: JWTVerifyOptions = {},
) {
  expect(body?.get('client_assertion_type')).toBe('urn:ietf:params:oauth:client-assertion-type:jwt-bearer')
  expect(body?.get('client_id')).toBe('worker')
  expect(body?.has('client_secret')).toBe(false)
  const who = {
    issuer: 'worker',
    subject: 'worker',
    audience: ISSUER,
    requiredClaims: ['jti', 'iat', 'exp'],
    ...options,
  }
  return jwtVerify(body?.get('client_assertion') ?? '', key, who)
}

test.each<SigningAlgorithm>(['ES256', 'ES384', 'ES512', 'Ed25519', 'RS256', 'PS256'])(
  'a private key of %s signs, as a CryptoKey, a JWK and in PEM',
  async (algorithm) => {
    const { privateKey, publicKey } = await generateKeyPair(algorithm, { extractable: true })
    const jwk = { ...(await exportJWK(privateKey)), kid: 'mine' }
    for (const key of [privateKey, { key: privateKey }, jwk as { kty: string }, await exportPKCS8(privateKey)]) {
      const { source, sent } = worker(privateKeyJwt(key, { algorithm, kid: 'mine' }))
      await source.getAccessToken()
      const { protectedHeader, payload } = await verified(sent[0]?.body, publicKey)
      expect(protectedHeader).toMatchObject({ alg: algorithm, kid: 'mine' })
      expect(Number(payload.exp) - Number(payload.iat)).toBeLessThanOrEqual(60)
    }
  },
)

test('a key says by itself what it signs with: a curve, the algorithm of a JWK, RS256 for RSA', async () => {
  for (const [algorithm, named] of [['ES384'], ['Ed25519'], ['RS256'], ['PS384', 'PS384']] as const) {
    const { privateKey, publicKey } = await generateKeyPair(algorithm, { extractable: true })
    const jwk = { ...(await exportJWK(privateKey)), ...(named && { alg: named }) } as { kty: string }
    const keys = named ? [jwk] : [jwk, await exportPKCS8(privateKey)]
    for (const key of keys) {
      const { source, sent } = worker(privateKeyJwt(key))
      await source.getAccessToken()
      expect((await verified(sent[0]?.body, publicKey)).protectedHeader.alg).toBe(algorithm)
    }
  }
})

test('the key is asked for at every request, and no assertion is used twice', async () => {
  const pairs = [await generateKeyPair('ES256'), await generateKeyPair('ES256')]
  let asked = 0
  const key = async () => {
    const pair = pairs[asked++]
    if (!pair) throw new Error('asked too often')
    return { key: pair.privateKey, kid: `key-${asked}` }
  }
  const { source, sent } = worker(privateKeyJwt(key), {}, 1)
  expect(await source.getAccessToken()).toBe('a') // the first key is no longer known there
  const ids = await Promise.all(
    pairs.map(async ({ publicKey }, index) => (await verified(sent[index]?.body, publicKey)).payload.jti),
  )
  expect(new Set(ids).size).toBe(2)
})

test('a key management service signs in the place of a key', async () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const signer = {
    alg: 'ES256',
    kid: 'in-the-vault',
    sign: async (input: Uint8Array) => sign('sha256', input, { key: privateKey, dsaEncoding: 'ieee-p1363' }),
  }
  const { source, sent } = worker(privateKeyJwt(signer))
  await source.getAccessToken()
  const key = await crypto.subtle.importKey(
    'spki',
    publicKey.export({ type: 'spki', format: 'der' }),
    { name: 'ECDSA', namedCurve: 'P-256' },
    true,
    ['verify'],
  )
  const { protectedHeader, payload } = await verified(sent[0]?.body, key)
  expect(protectedHeader).toEqual({ alg: 'ES256', kid: 'in-the-vault' })
  expect(payload.jti).toHaveLength(36)
})

test('an assertion is for the issuer, or for the token endpoint where an older server wants that', async () => {
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  const signer = { alg: 'ES256', sign: (input: Uint8Array<ArrayBuffer>) => es256(privateKey, input) }
  for (const key of [privateKey, signer]) {
    const { source, sent } = worker(privateKeyJwt(key, { audience: 'token_endpoint' }))
    await source.getAccessToken()
    await verified(sent[0]?.body, publicKey, { audience: TOKEN_ENDPOINT })
  }
  const secret = new TextEncoder().encode('a secret of at least 32 characters')
  for (const [audience, expected] of [
    ['issuer', ISSUER],
    ['token_endpoint', TOKEN_ENDPOINT],
  ] as const) {
    const { source, sent } = worker(clientSecretJwt({ audience }), {
      clientSecret: 'a secret of at least 32 characters',
    })
    await source.getAccessToken()
    await verified(sent[0]?.body, secret, { audience: expected })
  }
})

test('a secret signs without travelling, and is asked for at every request', async () => {
  const secrets = ['the first secret of this little worker', 'the second secret of this little worker']
  let asked = 0
  const { source, sent } = worker(clientSecretJwt(), { clientSecret: () => secrets[asked++] ?? '' }, 1)
  await source.getAccessToken()
  for (const [index, secret] of secrets.entries()) {
    await verified(sent[index]?.body, new TextEncoder().encode(secret))
    expect(`${sent[index]?.body}`).not.toContain(secret.slice(0, 9))
  }
  const without = worker(clientSecretJwt())
  expect(await rejection(without.source.getAccessToken())).toMatchObject({ code: 'invalid-options' })
  expect(without.sent).toEqual([])
})

test('a workload shows an assertion that somebody else issued, as it is at that moment', async () => {
  let jwt = 'e30.e30.old'
  const { source, sent } = worker(
    clientAssertion(() => `${jwt}\n`),
    {},
    1,
  )
  const token = source.getAccessToken()
  jwt = 'e30.e30.new'
  await token
  expect(sent.map(({ body }) => body.get('client_assertion'))).toContain('e30.e30.new')
  const nothing = worker(clientAssertion(() => ' '))
  expect(await rejection(nothing.source.getAccessToken())).toMatchObject({ code: 'invalid-options' })
  expect(nothing.sent).toEqual([])
})

test.each<[string, () => Promise<unknown>]>([
  ['garbage', async () => 'garbage'],
  ['a PEM of nothing', async () => '-----BEGIN PRIVATE KEY-----\n*\n-----END PRIVATE KEY-----'],
  ['a public key', async () => exportSPKI((await generateKeyPair('ES256', { extractable: true })).publicKey)],
  ['a JWK without its private part', async () => exportJWK((await generateKeyPair('ES256')).publicKey)],
  ['a CryptoKey that may not sign', async () => (await generateKeyPair('ES256')).publicKey],
  [
    'SEC1',
    async () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'sec1', format: 'pem' }),
  ],
])('%s is no private key: a typed error says what to give, and nothing is sent', async (_, key) => {
  const given = await key()
  const { source, sent } = worker(privateKeyJwt(given as string))
  const error = await rejection(source.getAccessToken())
  expect(error).toMatchObject({ code: 'invalid-options', fix: expect.stringContaining('PKCS#8') })
  expect(sent).toEqual([])
  if (typeof given === 'string') expect(String(error)).not.toContain(given)
})

test('a key of another algorithm than the one that is named cannot be used', async () => {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true })
  const { source } = worker(privateKeyJwt(await exportPKCS8(privateKey), { algorithm: 'RS256' }))
  expect(await rejection(source.getAccessToken())).toMatchObject({
    code: 'invalid-options',
    fix: expect.stringContaining('PKCS#8'),
  })
})

test("a client with a certificate goes to the server's mutual-TLS addresses, through the caller's fetch", async () => {
  const aliases = { token_endpoint: 'https://mtls.as.example/token' }
  const metadata = { token_endpoint: TOKEN_ENDPOINT, mtls_endpoint_aliases: aliases }
  const { source, sent } = worker(tlsClientAuth(), { metadata })
  await source.getAccessToken()
  expect(sent[0]?.url).toBe(aliases.token_endpoint)
  expect([...(sent[0]?.body.keys() ?? [])].sort()).toEqual(['client_id', 'grant_type'])
  for (const other of [{}, 'garbage', null]) {
    const without = worker(tlsClientAuth(), { metadata: { ...metadata, mtls_endpoint_aliases: Object(other) } })
    await without.source.getAccessToken()
    expect(without.sent[0]?.url).toBe(TOKEN_ENDPOINT)
  }
  const insecure = worker(tlsClientAuth(), {
    metadata: { ...metadata, mtls_endpoint_aliases: { token_endpoint: 'http://mtls.as.example/token' } },
  })
  expect(await rejection(insecure.source.getAccessToken())).toMatchObject({ code: 'insecure-url' })
  const { privateKey } = await generateKeyPair('ES256')
  const other = worker(privateKeyJwt(privateKey), { metadata })
  await other.source.getAccessToken()
  expect(other.sent[0]?.url).toBe(TOKEN_ENDPOINT)
})

const es256 = (key: CryptoKey, input: Uint8Array<ArrayBuffer>) =>
  crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, key, input)

/** A server that takes assertions of its own time only, and says what that is; `more` goes into the answers. */
function punctual(hours: number, key: CryptoKey | Uint8Array, error = 'invalid_client') {
  const now = () => new Date(Date.now() + hours * 3_600_000)
  const taken: boolean[] = []
  const server = async (input: Parameters<typeof fetch>[0], init?: RequestInit) => {
    const body = new URLSearchParams(await new Request(input, init).text())
    const isTaken = await verified(body, key, { currentDate: now(), maxTokenAge: 60 }).then(
      () => true,
      () => false,
    )
    taken.push(isTaken)
    const headers = { date: now().toUTCString() }
    return isTaken
      ? Response.json({ access_token: `a${taken.length}`, token_type: 'Bearer' }, { headers })
      : Response.json({ error }, { status: 401, headers })
  }
  return { taken, fetch: server }
}

test.each([
  [3, 'invalid_client'],
  [-3, 'invalid_client'],
  [3, 'invalid_request'],
  [3, 'unauthorized_client'],
] as const)(
  "with a clock that is %i hours wrong it costs one refusal, %s, to sign by the server's",
  async (hours, error) => {
    const { privateKey, publicKey } = await generateKeyPair('ES256')
    const secret = 'a secret that is long enough for HS256'
    const signer = {
      alg: 'ES256',
      sign: (input: Uint8Array<ArrayBuffer>) =>
        crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, privateKey, input),
    }
    for (const [authentication, key, clientSecret] of [
      [privateKeyJwt(privateKey), publicKey, undefined],
      [privateKeyJwt(signer), publicKey, undefined],
      [clientSecretJwt(), new TextEncoder().encode(secret), secret],
    ] as const) {
      const { taken, fetch } = punctual(hours, key, error)
      const { source } = worker(authentication, { fetch, ...(clientSecret && { clientSecret }) })
      const rejectedToken = await source.getAccessToken()
      expect(taken).toEqual([false, true])
      await source.getAccessToken({ rejectedToken, scope: 'other' })
      expect(taken).toEqual([false, true, true])
    }
  },
)

test('what is refused by the time of the server, too, is signed by its own clock again, and no oftener than before', async () => {
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  const times: (number | undefined)[] = []
  const { source } = worker(privateKeyJwt(privateKey), {
    // A proxy's clock is wrong, and the server does not know the key yet.
    fetch: async (input, init) => {
      const { payload } = await verified(new URLSearchParams(await new Request(input, init).text()), publicKey, {
        currentDate: new Date(Date.now() + (times.length === 1 ? 7_200_000 : 0)),
      })
      times.push(payload.iat)
      const headers = { date: new Date(Date.now() + 7_200_000).toUTCString() }
      return Response.json({ error: 'invalid_client' }, { status: 401, headers })
    },
  })
  expect(await rejection(source.getAccessToken())).toMatchObject({ code: 'client-refused' })
  expect(times).toHaveLength(3) // by this clock, by the server's, and with what may be another key
  expect(Math.abs(Number(times[2]) - Number(times[0]))).toBeLessThan(60)
})

test('a refused grant is not presented again, whatever the time is there', async () => {
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  const { taken, fetch } = punctual(3, publicKey, 'invalid_grant')
  const { source } = worker(privateKeyJwt(privateKey), { fetch })
  expect(await rejection(source.getAccessToken())).toMatchObject({ error: 'invalid_grant' })
  expect(taken).toEqual([false])
})
