import { once } from 'node:events'
import { createSecureServer, connect as http2 } from 'node:http2'
import { createServer, request } from 'node:https'
import { type AccessTokenVerifier, type ApiRequest, accessTokenVerifier, VerificationError } from '@keyturn/node'
import { expect, onTestFinished, test } from 'vitest'
import { rejection } from '../../../core/test/sign-in-server.ts'
import { certificate, hasOpenssl, type TestCertificate } from './certificates.ts'
import { AUDIENCE, bound, call, claimsOf, now, proof, signed, TokenServer } from './token-server.ts'

if (!hasOpenssl)
  console.warn('Without openssl there are no certificates to test with: client-certificate.test.ts is left out')
const withOpenssl = test.skipIf(!hasOpenssl)
const [own, other, tls] = hasOpenssl ? ['own', 'other', 'localhost'].map(certificate) : []

/** What is there where tests run at all. */
function made(certificate: TestCertificate | undefined): TestCertificate {
  if (!certificate) throw new Error('openssl is missing')
  return certificate
}

const cnf = () => ({ 'x5t#S256': made(own).thumbprint })
const boundToCertificate = () => signed(claimsOf({ cnf: cnf() }))

/** An API that ends TLS itself and asks for certificates of any maker; the token is what binds. */
async function start(verifier: AccessTokenVerifier = new TokenServer().verifier()) {
  const { key, cert } = made(tls)
  const api = createServer({ key, cert, requestCert: true, rejectUnauthorized: false }, async (incoming, response) => {
    try {
      response.end(JSON.stringify(await verifier.verify(incoming)))
    } catch (error) {
      if (!(error instanceof VerificationError)) throw error
      response.writeHead(error.status, error.headers).end()
    }
  }).listen(0, '127.0.0.1')
  await once(api, 'listening')
  onTestFinished(() => {
    api.close()
    api.closeAllConnections()
  })
  return Number(Object(api.address()).port)
}

async function send(port: number, headers: Record<string, string>, shown?: TestCertificate) {
  const identity = shown && { key: shown.key, cert: shown.cert }
  const sent = request({
    port,
    host: '127.0.0.1',
    path: '/orders',
    headers,
    ca: made(tls).cert,
    checkServerIdentity: () => undefined,
    agent: false,
    ...identity,
  })
  sent.end()
  const [answer] = await once(sent, 'response')
  let body = ''
  for await (const chunk of answer) body += chunk
  return { status: answer.statusCode, challenge: answer.headers['www-authenticate'], body }
}

withOpenssl(
  'a JWT that is bound to a certificate is taken over a connection with that certificate, and no other',
  async () => {
    const port = await start()
    const headers = { authorization: `Bearer ${await boundToCertificate()}` }
    const good = await send(port, headers, own)
    expect(good.status).toBe(200)
    expect(JSON.parse(good.body)).toMatchObject({ sub: 'ada', cnf: cnf() })
    expect(await send(port, headers, other)).toMatchObject({
      status: 401,
      challenge: 'Bearer error="invalid_token", error_description="The token is bound to another certificate"',
    })
    expect(await send(port, headers)).toMatchObject({
      status: 401,
      challenge: 'Bearer error="invalid_token", error_description="The token is bound to a certificate"',
    })
  },
)

withOpenssl(
  'an opaque token that is bound to a certificate is taken over a connection with that certificate',
  async () => {
    const server = new TokenServer()
    server.opaque = { opaque: { active: true, aud: AUDIENCE, sub: 'ada', exp: now() + 60, cnf: cnf() } }
    const port = await start(server.verifier({ clientId: 'api', clientSecret: 'api-secret' }))
    const headers = { authorization: 'Bearer opaque' }
    expect((await send(port, headers, own)).status).toBe(200)
    expect((await send(port, headers, other)).status).toBe(401)
    expect((await send(port, headers)).status).toBe(401)
  },
)

withOpenssl('a token that is bound to a certificate alone is not taken as DPoP, whatever is shown', async () => {
  const port = await start()
  const token = await boundToCertificate()
  for (const more of [{}, { dpop: await proof(token) }]) {
    const { status, challenge } = await send(port, { authorization: `DPoP ${token}`, ...more }, own)
    expect(status).toBe(401)
    expect(challenge).toMatch(/^DPoP error="invalid_token"/)
  }
})

withOpenssl('over HTTP/2 it is the certificate of the session', async () => {
  const { key, cert } = made(tls)
  const verifier = new TokenServer().verifier()
  const api = createSecureServer(
    { key, cert, requestCert: true, rejectUnauthorized: false },
    async (incoming, response) => {
      const { status } = await verifier.verify(incoming).then(
        () => ({ status: 200 }),
        (error) => error,
      )
      response.writeHead(status).end()
    },
  ).listen(0, '127.0.0.1')
  await once(api, 'listening')
  const port = Object(api.address()).port
  const statuses: number[] = []
  for (const shown of [own, other]) {
    const identity = { key: made(shown).key, cert: made(shown).cert }
    const session = http2(`https://127.0.0.1:${port}`, { ca: cert, checkServerIdentity: () => undefined, ...identity })
    const stream = session.request({ ':path': '/orders', authorization: `Bearer ${await boundToCertificate()}` })
    const [headers] = await once(stream, 'response')
    statuses.push(headers[':status'])
    session.destroy()
  }
  api.close()
  expect(statuses).toEqual([200, 401])
})

withOpenssl('a token that is bound to no certificate is taken, whatever the connection shows', async () => {
  const port = await start()
  const headers = { authorization: `Bearer ${await signed()}` }
  expect((await send(port, headers, other)).status).toBe(200)
  expect((await send(port, headers)).status).toBe(200)
})

withOpenssl('a token that is bound to a key and to a certificate needs both', async () => {
  const { jkt } = JSON.parse(atob((await bound()).split('.')[1]?.replace(/-/g, '+').replace(/_/g, '/') ?? '')).cnf
  const verifier = new TokenServer().verifier({
    clientCertificate: 'X-Cert',
  })
  const token = await signed(claimsOf({ cnf: { jkt, ...cnf() } }))
  const shown = { 'x-cert': Buffer.from(made(own).der).toString('base64') }
  const dpop = async () => ({ dpop: await proof(token) })
  expect(await verifier.verify(call(`DPoP ${token}`, { ...(await dpop()), ...shown }))).toMatchObject({ sub: 'ada' })
  expect(await rejection(verifier.verify(call(`DPoP ${token}`, await dpop())))).toMatchObject({ code: 'invalid-token' })
  expect(await rejection(verifier.verify(call(`DPoP ${token}`, shown)))).toMatchObject({ code: 'invalid-proof' })
  expect(await rejection(verifier.verify(call(`Bearer ${token}`, shown)))).toMatchObject({ code: 'invalid-token' })
})

const forms: [string, (certificate: TestCertificate) => string | Uint8Array][] = [
  ['PEM', ({ cert }) => cert],
  ['PEM with its line ends as spaces', ({ cert }) => cert.replaceAll('\n', ' ')],
  [
    "PEM of a chain, the first of which is the client's",
    ({ cert }) => cert + made(cert === own?.cert ? other : own).cert,
  ],
  ['URL-encoded PEM', ({ cert }) => encodeURIComponent(cert)],
  [
    'URL-encoded PEM whose +, / and = are as they are',
    ({ cert }) => encodeURIComponent(cert).replace(/%2B/g, '+').replace(/%2F/g, '/').replace(/%3D/g, '='),
  ],
  ['base64', ({ der }) => Buffer.from(der).toString('base64')],
  ['base64 between colons (RFC 9440)', ({ der }) => `:${Buffer.from(der).toString('base64')}:`],
  ['DER', ({ der }) => der],
]

withOpenssl.each(forms)('a proxy may tell the certificate as %s', async (_, form) => {
  for (const [shown, isGood] of [
    [made(own), true],
    [made(other), false],
  ] as const) {
    const verifier = new TokenServer().verifier({
      clientCertificate: () => form(shown),
    })
    const verifying = verifier.verify(call(`Bearer ${await boundToCertificate()}`))
    if (isGood) expect(await verifying).toMatchObject({ sub: 'ada' })
    else expect(await rejection(verifying)).toMatchObject({ code: 'invalid-token', status: 401 })
  }
})

withOpenssl.each<[string, unknown]>([
  ['nothing', undefined],
  ['null', null],
  ['an empty header', ''],
  ['the word for none', '(null)'],
  ['a broken escape', '%E0%A4%A'],
  ['PEM without an end', '-----BEGIN CERTIFICATE-----\nMIIB'],
  ['PEM of nothing', '-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----'],
  ['bytes of something else', new Uint8Array([1, 2, 3])],
  ['no bytes', new Uint8Array()],
  ['a promise', Promise.resolve('a')],
])('%s is no certificate', async (_, shown) => {
  const verifier = new TokenServer().verifier({ clientCertificate: () => shown as never })
  const error = await rejection(verifier.verify(call(`Bearer ${await boundToCertificate()}`)))
  expect(error).toMatchObject({ code: 'invalid-token', status: 401, message: 'The token is bound to a certificate' })
})

withOpenssl("of two headers with certificates none counts: one may be the client's own", async () => {
  const encoded = [own, other].map((each) => encodeURIComponent(made(each).cert))
  const port = await start(new TokenServer().verifier({ clientCertificate: 'x-cert' }))
  const authorization = `Bearer ${await boundToCertificate()}`
  const sent = async (certificates: string[]) =>
    (await send(port, { authorization, 'x-cert': certificates as never })).status
  expect(await sent(encoded.slice(0, 1))).toBe(200)
  expect(await sent(encoded)).toBe(401)
  expect(await sent(encoded.toReversed())).toBe(401)
})

test('the hash of something that is no certificate opens nothing', async () => {
  const shown = new TextEncoder().encode('no certificate')
  const hash = Buffer.from(await crypto.subtle.digest('SHA-256', shown)).toString('base64url')
  const verifier = new TokenServer().verifier({ clientCertificate: () => shown })
  const token = await signed(claimsOf({ cnf: { 'x5t#S256': hash } }))
  expect(await rejection(verifier.verify(call(`Bearer ${token}`)))).toMatchObject({ code: 'invalid-token' })
})

withOpenssl('where the app tells the certificate, that of the connection to the proxy does not count', async () => {
  const server = new TokenServer()
  const options = { issuer: server.issuer, audience: AUDIENCE, fetch: server.fetch, clientCertificate: () => undefined }
  const port = await start(accessTokenVerifier(options))
  expect((await send(port, { authorization: `Bearer ${await boundToCertificate()}` }, own)).status).toBe(401)
})

withOpenssl(
  'a function for the certificate that throws makes the API unavailable, and is asked for bound tokens only',
  async () => {
    const asked: ApiRequest[] = []
    const clientCertificate = (request: ApiRequest) => {
      asked.push(request)
      throw new Error('no header')
    }
    const verifier = new TokenServer().verifier({ clientCertificate })
    expect(await verifier.verify(call(`Bearer ${await signed()}`))).toMatchObject({ sub: 'ada' })
    expect(asked).toEqual([])
    const request = call(`Bearer ${await boundToCertificate()}`)
    const error = await rejection(verifier.verify(request))
    expect(error).toMatchObject({ code: 'verification-unavailable', status: 503, cause: { code: 'callback-failed' } })
    expect(asked).toEqual([request])
  },
)

test.each<[string, unknown]>([
  ['nothing', {}],
  ['null', null],
  ['a text', 'jkt'],
  ['a list', ['jkt']],
  ['a key in full', { jwk: { kty: 'EC' } }],
  ['a key by its name', { kid: 'a' }],
  ['a key that is no text', { jkt: 7 }],
  ['a certificate that is no text', { 'x5t#S256': ['a'] }],
  ['a certificate by its SHA-1', { x5t: 'a' }],
  ['a certificate, and what nobody knows', { 'x5t#S256': 'a', osc: {} }],
])('a token that is bound to %s is refused', async (_, binding) => {
  const token = await signed(claimsOf({ cnf: binding }))
  expect(await rejection(new TokenServer().verifier().verify(call(`Bearer ${token}`)))).toMatchObject({
    code: 'invalid-token',
    status: 401,
    challenge: 'Bearer error="invalid_token", error_description="The token is not good here"',
  })
})
