import { authorizationCode, clientCredentials, OAuthError, type SourceOptions } from '@keyturn/core'
import { expect, test } from 'vitest'
import { FakePage, rejection } from './sign-in-server.ts'

const given = { clientId: 'worker', clientSecret: 's3cret', discovery: false } as const

/** A source that records where it sends something, and gets a token from anybody. */
function recording(options: Partial<SourceOptions>) {
  const sent: string[] = []
  const source = clientCredentials({
    issuer: 'https://as.example',
    ...given,
    fetch: async (input) => {
      sent.push(new Request(input).url)
      return Response.json({ access_token: 'a', token_type: 'Bearer', expires_in: 60 })
    },
    onWarning: () => {},
    ...options,
  })
  return { source, sent }
}

const LOOPBACK = [
  'http://localhost',
  'http://localhost:8080/realms/a',
  'http://LOCALHOST',
  'http://as.localhost:9000',
  'http://a.b.localhost',
  'http://127.0.0.1:5556/dex',
  'http://127.1.2.3',
  'http://127.255.255.255',
  'http://[::1]:8080',
  'http://[0:0:0:0:0:0:0:1]',
]

const ELSEWHERE = [
  'http://as.example',
  'http://127.0.0.1.evil.tld',
  'http://localhost.evil.tld',
  'http://evil-localhost',
  'http://notlocalhost',
  'http://128.0.0.1',
  'http://0.0.0.0',
  'http://10.0.0.1',
  'http://192.168.0.1',
  'http://[::2]',
  'http://[::ffff:10.0.0.1]',
  'http://127.0.0.1@evil.tld',
  'http://evil.tld/#@localhost',
  'http://evil.tld?.localhost',
  'ftp://localhost',
  'ws://localhost',
  'file:///etc/passwd',
  'javascript:alert(1)',
  'data:text/plain,x',
  'blob:https://as.example/1',
  'as.example',
  '//as.example',
  '',
  'https://',
]

test.each(LOOPBACK)('the issuer %s is this machine, where http is good', async (issuer) => {
  const { source } = recording({ issuer, metadata: { token_endpoint: `${issuer}/token` } })
  expect(await source.getAccessToken()).toBe('a')
})

test.each(ELSEWHERE.filter(Boolean))('the issuer "%s" is refused at once, with what to change', (issuer) => {
  const error = (() => {
    try {
      return recording({ issuer })
    } catch (thrown) {
      return thrown
    }
  })()
  expect(error).toBeInstanceOf(OAuthError)
  expect(error).toMatchObject({ code: 'insecure-url', retryable: false, fix: expect.stringContaining('https') })
})

test('metadata that is null is none, as it is for whoever writes no types', async () => {
  const { source } = recording({ metadata: null as never })
  expect(await rejection(source.getAccessToken())).toMatchObject({ code: 'invalid-metadata' })
})

test('the token endpoint of a server far away is on this machine where the app itself says so', async () => {
  const { source, sent } = recording({ metadata: { token_endpoint: 'http://localhost:9000/token' } })
  expect(await source.getAccessToken()).toBe('a')
  expect(sent).toEqual(['http://localhost:9000/token'])
})

test.each(ELSEWHERE)('a token endpoint "%s" gets nothing', async (token_endpoint) => {
  const { source, sent } = recording({ metadata: { token_endpoint } })
  expect(await rejection(source.getAccessToken())).toBeInstanceOf(OAuthError)
  expect(sent).toEqual([])
})

test('a token endpoint over http is named as the reason', async () => {
  const { source } = recording({ metadata: { token_endpoint: 'http://as.example/token' } })
  expect(await rejection(source.getAccessToken())).toMatchObject({ code: 'insecure-url', retryable: false })
})

test('a revocation endpoint over http gets no token', async () => {
  const { source, sent } = recording({
    metadata: { token_endpoint: 'https://as.example/token', revocation_endpoint: 'http://as.example/revoke' },
  })
  await source.getAccessToken()
  await source.revoke()
  expect(sent).toEqual(['https://as.example/token'])
})

test.each(ELSEWHERE)('the user agent is not sent to an authorization endpoint "%s"', async (authorization_endpoint) => {
  const page = new FakePage()
  const auth = authorizationCode({
    issuer: 'https://as.example',
    clientId: 'app',
    redirectUri: 'https://app.example/',
    userAgent: page,
    discovery: false,
    metadata: { authorization_endpoint },
  })
  expect(await rejection(auth.login())).toBeInstanceOf(OAuthError)
  expect(page.events).toEqual([])
})

test('the user agent is not sent to a script or an http address in order to sign out', async () => {
  for (const end_session_endpoint of ['javascript:alert(1)', 'http://as.example/logout']) {
    const page = new FakePage()
    const warnings: string[] = []
    const auth = authorizationCode({
      issuer: 'https://as.example',
      clientId: 'app',
      redirectUri: 'https://app.example/',
      userAgent: page,
      discovery: false,
      metadata: { end_session_endpoint },
      onWarning: (message) => warnings.push(message),
    })
    await auth.logout()
    expect(page.events).toEqual([])
    expect(warnings).toHaveLength(1)
  }
})

test('allowInsecureRequests lets http pass, and nothing but http', async () => {
  const metadata = { token_endpoint: 'http://as.internal/token' }
  const { source } = recording({ issuer: 'http://as.internal', metadata, allowInsecureRequests: true })
  expect(await source.getAccessToken()).toBe('a')
  for (const issuer of ['ftp://as.internal', 'javascript:alert(1)', 'data:,x']) {
    expect(() => recording({ issuer, allowInsecureRequests: true }), issuer).toThrow(OAuthError)
  }
})

test('a client without an identifier is refused at once', () => {
  for (const clientId of ['', undefined as unknown as string, 7 as unknown as string]) {
    expect(() => recording({ clientId })).toThrow(expect.objectContaining({ code: 'invalid-options' }))
  }
})
