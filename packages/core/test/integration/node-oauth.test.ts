import { authorizationCode, clientCredentials, memoryStore, password } from '@keyturn/core'
import { afterEach, expect, test, vi } from 'vitest'
import { FakePage, rejection } from '../sign-in-server.ts'
import { startNodeOAuthServer } from './node-oauth-server.ts'
import { REDIRECT_URI } from './world.ts'

// The same grants at an authorization server of other people, so that nothing is tuned to one: it has no discovery, no
// OpenID Connect, no revocation; it says `Bearer` and `expires_in`, leaves `scope` as it likes, and rotates.

const LIFETIME = 3_600_000

afterEach(() => vi.useRealTimers())

/** The clocks of both sides are moved, and their timers are real. */
async function start() {
  vi.useFakeTimers({ toFake: ['Date', 'performance'] })
  const server = await startNodeOAuthServer({ redirectUri: REDIRECT_URI, accessTokenLifetime: LIFETIME / 1000 })
  const { issuer, metadata } = server
  const warnings: string[] = []
  const options = {
    issuer,
    metadata,
    discovery: false,
    scope: 'orders',
    onWarning: (message: string) => warnings.push(message),
  } as const
  return { server, options, warnings }
}

/** Somebody whom the server knows already: they come back at once. */
class SignedInPage extends FakePage {
  override async navigate(url: string): Promise<void> {
    super.navigate(url)
    const response = await fetch(url, { redirect: 'manual' })
    this.url = response.headers.get('location') ?? ''
  }
}

const web = { clientId: 'web', clientSecret: 'web-secret', redirectUri: REDIRECT_URI } as const
const page = { clientId: 'page', redirectUri: REDIRECT_URI } as const

test.each([
  ['a client with a secret', web],
  ['a public client', page],
])('%s signs a person in with a code and PKCE', async (_, client) => {
  const { server, options } = await start()
  const auth = authorizationCode({ ...options, ...client, userAgent: new SignedInPage() })
  await auth.login({ appState: 'deep' })
  expect(await auth.handleCallback()).toEqual({ appState: 'deep' })
  expect(await server.accepts(await auth.getAccessToken())).toBe(true)
  expect(auth.session).toMatchObject({ status: 'signedIn', renewable: true })
  expect((await auth.getTokenSet()).scope).toBe('orders')
})

test('a code is good for its verifier only, and once', async () => {
  const { server, options } = await start()
  const userAgent = new SignedInPage()
  const auth = authorizationCode({ ...options, ...page, userAgent })
  await auth.login()
  const spent = userAgent.url
  await auth.handleCallback()
  await auth.login()
  const stolen = new URL(userAgent.url)
  stolen.searchParams.set('code', new URL(spent).searchParams.get('code') ?? '')
  userAgent.url = stolen.href
  expect(await rejection(auth.handleCallback())).toMatchObject({ code: 'exchange-failed', error: 'invalid_grant' })
  await auth.login()
  const first = userAgent.url
  await auth.login() // another verifier
  const mixed = new URL(userAgent.url)
  mixed.searchParams.set('code', new URL(first).searchParams.get('code') ?? '')
  userAgent.url = mixed.href
  expect(await rejection(auth.handleCallback())).toMatchObject({ code: 'exchange-failed', error: 'invalid_grant' })
  expect(server.seen.map(({ status }) => status)).toEqual([200, 400, 400])
  expect(auth.session).toMatchObject({ status: 'signedIn' })
})

test.each([
  ['a client with a secret', web],
  ['a public client', page],
])('%s renews with rotation: eight who share a store spend no refresh token twice', async (_, client) => {
  const { server, options } = await start()
  const store = memoryStore()
  const userAgent = new SignedInPage()
  const tabs = Array.from({ length: 8 }, () => authorizationCode({ ...options, ...client, store, userAgent }))
  await tabs[0]?.login()
  await tabs[0]?.handleCallback()
  const seen = new Set<string>()
  for (let round = 0; round < 3; round++) {
    const tokens = await Promise.all(tabs.map((tab) => tab.getAccessToken()))
    expect(new Set(tokens).size).toBe(1)
    expect(await server.accepts(tokens[0] ?? '')).toBe(true)
    for (const token of tokens) seen.add(token)
    vi.advanceTimersByTime(LIFETIME)
  }
  expect(seen.size).toBe(3)
  const refreshes = server.seen.filter(({ grantType }) => grantType === 'refresh_token')
  expect(new Set(refreshes.map(({ status }) => status))).toEqual(new Set([200]))
  expect(new Set(refreshes.map(({ refreshToken }) => refreshToken)).size).toBe(refreshes.length)
  expect(refreshes.length).toBeLessThanOrEqual(4)
  for (const tab of tabs) await tab[Symbol.asyncDispose]()
})

test('a refresh token that the server does not know any more ends the session, once', async () => {
  const { server, options } = await start()
  const store = memoryStore()
  const userAgent = new SignedInPage()
  const auth = authorizationCode({ ...options, ...page, store, userAgent })
  await auth.login()
  await auth.handleCallback()
  const key = JSON.stringify([options.issuer, 'page', 'authorization_code', 'default'])
  const record = await store.get(key)
  const { refreshToken = '' } = record ?? {}
  const elsewhere = { grant_type: 'refresh_token', client_id: 'page', refresh_token: refreshToken }
  await fetch(options.metadata.token_endpoint, { method: 'POST', body: new URLSearchParams(elsewhere) })
  const rejectedToken = await auth.getAccessToken()
  for (let count = 0; count < 3; count++) {
    expect(await rejection(auth.getAccessToken({ rejectedToken }))).toMatchObject({ code: 'session-ended' })
  }
  expect(server.seen.map(({ status }) => status)).toEqual([200, 200, 400])
  expect(auth.session).toMatchObject({ status: 'signedOut', ended: { reason: 'refused', error: 'invalid_grant' } })
})

test.each(['client_secret_basic', 'client_secret_post'] as const)(
  'a machine has one token: %s',
  async (clientAuthentication) => {
    const { server, options } = await start()
    const source = clientCredentials({
      ...options,
      clientId: 'worker',
      clientSecret: 'worker-secret',
      clientAuthentication,
    })
    const tokens = await Promise.all(Array.from({ length: 50 }, () => source.getAccessToken()))
    expect(new Set(tokens).size).toBe(1)
    expect(await server.accepts(tokens[0] ?? '')).toBe(true)
    expect(server.seen).toEqual([{ grantType: 'client_credentials', status: 200 }])
  },
)

test('a machine with a wrong secret, and one that may not, are told why', async () => {
  const { options } = await start()
  const wrong = clientCredentials({ ...options, clientId: 'worker', clientSecret: 'wrong' })
  expect(await rejection(wrong.getAccessToken())).toMatchObject({ code: 'client-refused', error: 'invalid_client' })
  const barred = clientCredentials({ ...options, ...web })
  expect(await rejection(barred.getAccessToken())).toMatchObject({
    code: 'request-refused',
    error: 'unauthorized_client',
  })
  const greedy = clientCredentials({ ...options, clientId: 'worker', clientSecret: 'worker-secret', scope: 'all' })
  expect(await rejection(greedy.getAccessToken())).toMatchObject({ code: 'request-refused', error: 'invalid_scope' })
})

test('a password is sent once, and the refresh token serves from then on', async () => {
  const { server, options } = await start()
  const source = password({
    ...options,
    clientId: 'cli',
    clientSecret: 'cli-secret',
    username: 'ada',
    password: 'lovelace',
  })
  const first = await source.getAccessToken()
  vi.advanceTimersByTime(LIFETIME)
  const second = await source.getAccessToken()
  expect(second).not.toBe(first)
  expect(await server.accepts(second)).toBe(true)
  expect(server.seen.map(({ grantType }) => grantType)).toEqual(['password', 'refresh_token'])
})

test('a wrong password is told, and not sent again', async () => {
  const { server, options } = await start()
  const source = password({
    ...options,
    clientId: 'cli',
    clientSecret: 'cli-secret',
    username: 'ada',
    password: 'wrong',
  })
  for (let count = 0; count < 3; count++) {
    expect(await rejection(source.getAccessToken())).toMatchObject({
      code: 'credentials-refused',
      error: 'invalid_grant',
    })
  }
  expect(server.seen).toHaveLength(1)
})

test('where there is no revocation and no logout, a sign-out is local, and that is final', async () => {
  const { options } = await start()
  const userAgent = new SignedInPage()
  const auth = authorizationCode({ ...options, ...page, userAgent })
  await auth.login()
  await auth.handleCallback()
  await auth.logout()
  expect(auth.session).toMatchObject({ status: 'signedOut', ended: { reason: 'signed-out' } })
  expect(userAgent.visited).toHaveLength(1)
})
