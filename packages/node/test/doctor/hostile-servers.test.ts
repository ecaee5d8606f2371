import { expect, test } from 'vitest'
import { diagnosed } from './broken-server.ts'

/** A server elsewhere, as `fetch` sees it; gives where requests went. */
function elsewhere(metadata: Record<string, unknown>) {
  const issuer = 'http://login.example.com'
  const hosts = new Set<string>()
  const send: typeof fetch = async (input) => {
    const url = new URL(String(input))
    hosts.add(url.host)
    const isMetadata = url.pathname === '/.well-known/openid-configuration'
    return isMetadata ? Response.json({ issuer, ...metadata }) : new Response('{}', { status: 400 })
  }
  return { options: { issuer, allowInsecureRequests: true, fetch: send }, hosts }
}

test.each([
  { token_endpoint: 'http://127.0.0.1:8080/token' },
  { token_endpoint: 'https://localhost/token' },
  { jwks_uri: 'http://[::1]/keys' },
  { authorization_endpoint: 'http://any.localhost/auth' },
  { mtls_endpoint_aliases: { token_endpoint: 'https://127.0.0.1/token' } },
])('what a server elsewhere says of this machine is an error, and nothing is sent there: %o', async (astray) => {
  const own = 'http://login.example.com/here'
  const { options, hosts } = elsewhere({ token_endpoint: own, authorization_endpoint: own, ...astray })
  const { findings } = await diagnosed({ ...options, clientId: 'me', clientSecret: 'a secret' })
  expect(findings).toContainEqual(
    expect.objectContaining({ id: 'endpoints', level: 'error', sentence: expect.stringMatching(/is on this machine/) }),
  )
  expect([...hosts]).toEqual(['login.example.com'])
})

test('keys with many certificates are read whole, as the library reads them', async () => {
  const { options } = elsewhere({ jwks_uri: 'http://login.example.com/keys' })
  const key = { kty: 'RSA', n: 'n', e: 'AQAB', x5c: ['M'.repeat(1000)] }
  const send: typeof fetch = async (...request) =>
    String(request[0]).endsWith('/keys') ? Response.json({ keys: Array(500).fill(key) }) : options.fetch(...request)
  const { findings } = await diagnosed({ ...options, fetch: send })
  expect(findings).toContainEqual(expect.objectContaining({ id: 'keys', level: 'ok' }))
})

test('members of the metadata that cannot even be written as text are findings', async () => {
  const nothing = { toString: 1, valueOf: 1 }
  const { options } = elsewhere({
    token_endpoint: nothing,
    jwks_uri: [nothing],
    mtls_endpoint_aliases: { jwks_uri: nothing },
  })
  const { wrong } = await diagnosed({ ...options, clientId: 'me' })
  expect(wrong).toContain('error endpoints')
})
