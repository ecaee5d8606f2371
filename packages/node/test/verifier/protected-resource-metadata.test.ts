import { OAuthError, protectedResourceMetadata } from '@keyturn/node'
import { expect, test } from 'vitest'

const issuer = 'https://as.example'

test('the metadata of an API says what it is, whose tokens it takes, and how', () => {
  expect(
    protectedResourceMetadata({ resource: 'https://api.example/', issuer, scope: 'orders:read orders:write' }),
  ).toEqual({
    url: 'https://api.example/.well-known/oauth-protected-resource',
    path: '/.well-known/oauth-protected-resource',
    document: {
      resource: 'https://api.example/',
      authorization_servers: [issuer],
      scopes_supported: ['orders:read', 'orders:write'],
      bearer_methods_supported: ['header'],
    },
  })
})

test('the well-known part goes between the host and the path', () => {
  const { url, path } = protectedResourceMetadata({ resource: 'https://api.example/v2/orders?tenant=1', issuer })
  expect(path).toBe('/.well-known/oauth-protected-resource/v2/orders?tenant=1')
  expect(url).toBe(`https://api.example${path}`)
})

test('further members are told, and do not change what the API is', () => {
  const metadata = { resource_name: 'Orders', resource: 'https://evil.example/' }
  const options = { resource: 'https://api.example/', issuer: [issuer, 'https://b.example'], dpop: 'required' as const }
  expect(protectedResourceMetadata({ ...options, metadata }).document).toEqual({
    resource: 'https://api.example/',
    resource_name: 'Orders',
    authorization_servers: [issuer, 'https://b.example'],
    bearer_methods_supported: ['header'],
    dpop_bound_access_tokens_required: true,
  })
})

test('an API over http, with a fragment, or without an issuer has no metadata', () => {
  for (const options of [
    { resource: 'http://api.example/', issuer },
    { resource: 'https://api.example/#a', issuer },
    { resource: 'https://api.example/', issuer: [] },
  ]) {
    expect(() => protectedResourceMetadata(options)).toThrow(OAuthError)
  }
})
