import { authenticatedFetch, clientCredentials, LoginRequiredError, password, refreshToken } from '@keyturn/core'
import { expect, test } from 'vitest'
import { rejection } from '../sign-in-server.ts'
import { pause, startWorld, watchedStore } from './world.ts'

const scope = 'api:read'

test('a machine proves who it is with Basic and in the body', async () => {
  const world = await startWorld()
  for (const [clientId, clientAuthentication] of [
    ['worker', undefined],
    ['worker', 'client_secret_basic'],
    ['worker-post', 'client_secret_post'],
  ] as const) {
    const source = clientCredentials({
      issuer: world.issuer,
      clientId,
      clientSecret: 'worker-secret',
      clientAuthentication,
      scope,
    })
    const api = authenticatedFetch(source, { apis: world.orders.url })
    expect(await (await api(world.orders.url)).json()).toMatchObject({ client_id: clientId })
  }
})

test('a machine with a wrong secret is told what to check', async () => {
  const world = await startWorld()
  const source = clientCredentials({ issuer: world.issuer, clientId: 'worker', clientSecret: 'wrong', scope })
  expect(await rejection(source.getAccessToken())).toMatchObject({
    name: 'AuthorizationServerError',
    code: 'client-refused',
    error: 'invalid_client',
    status: 401,
    fix: expect.stringContaining('clientSecret'),
  })
})

test('a machine has a token for each API, and each is asked for once', async () => {
  const world = await startWorld()
  const source = clientCredentials({ issuer: world.issuer, clientId: 'worker', clientSecret: 'worker-secret', scope })
  const api = authenticatedFetch(source, {
    apis: [world.orders, world.invoices].map(({ url }) => ({ url, resource: url })),
  })
  const urls = Array.from({ length: 20 }, (_, index) => (index % 2 ? world.orders : world.invoices).url)
  const statuses = (await Promise.all(urls.map((url) => api(url)))).map(({ status }) => status)
  expect(new Set(statuses)).toEqual(new Set([200]))
  expect(world.server.tokenRequests()).toBe(2)
})

test('a machine asks again after real expiry', async () => {
  const world = await startWorld({ accessTokenTTL: 1 })
  const source = clientCredentials({ issuer: world.issuer, clientId: 'worker', clientSecret: 'worker-secret', scope })
  const first = await source.getAccessToken()
  await pause(1050)
  expect(await source.getAccessToken()).not.toBe(first)
  await source.revoke()
  expect(await source.getAccessToken()).not.toBe(first)
})

test('a password is asked for once, and then the refresh token serves', async () => {
  const world = await startWorld({ accessTokenTTL: 2 }) // one of 1 s may end at once, for its end is told by the second
  let asked = 0
  const source = password({
    issuer: world.issuer,
    clientId: 'legacy',
    clientSecret: 'legacy-secret',
    username: 'ada',
    password: async () => {
      asked++
      return 'lovelace'
    },
    scope: 'openid api:read',
  })
  const api = authenticatedFetch(source, { apis: world.orders.url })
  for (let round = 0; round < 2; round++) {
    expect(await (await api(world.orders.url)).json()).toMatchObject({ sub: 'ada' })
    await pause(2050)
  }
  await source.getAccessToken()
  expect(asked).toBe(1)
  expect(source.session).toMatchObject({ status: 'signedIn', claims: { sub: 'ada' } })
  expect(world.server.tokenRequests({ grantType: 'password' })).toBe(1)
  expect(world.server.reuses).toBe(0)
})

test('a wrong password is told, and not sent again', async () => {
  const world = await startWorld()
  const source = password({ issuer: world.issuer, clientId: 'cli', username: 'ada', password: 'wrong', scope })
  for (let count = 0; count < 3; count++) {
    expect(await rejection(source.getAccessToken())).toMatchObject({
      code: 'credentials-refused',
      error: 'invalid_grant',
    })
  }
  expect(world.server.tokenRequests()).toBe(1)
})

test('a refresh token from elsewhere starts a session, finds its successor, and ends with revoke()', async () => {
  const world = await startWorld()
  const client = { issuer: world.issuer, clientId: 'cli', scope }
  const elsewhere = watchedStore()
  await password({ ...client, store: elsewhere.store, username: 'ada', password: 'lovelace' }).getAccessToken()
  const [seed = ''] = elsewhere.refreshTokens

  const { store, refreshTokens } = watchedStore()
  const first = refreshToken({ ...client, store, refreshToken: seed })
  const api = authenticatedFetch(first, { apis: world.orders.url })
  expect(await (await api(world.orders.url)).json()).toMatchObject({ sub: 'ada', client_id: 'cli' })

  const restarted = refreshToken({ ...client, store, refreshToken: seed })
  expect(await restarted.getAccessToken()).toBe(await first.getAccessToken())
  await restarted.getAccessToken({ rejectedToken: await restarted.getAccessToken() })
  expect(world.server.reuses).toBe(0)

  await restarted.revoke()
  expect(await rejection(restarted.getAccessToken())).toBeInstanceOf(LoginRequiredError)
  const response = await fetch(`${world.issuer}/token`, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'refresh_token',
      client_id: 'cli',
      refresh_token: refreshTokens.at(-1) ?? '',
    }),
  })
  expect(await response.json()).toMatchObject({ error: 'invalid_grant' })
})

test('a refresh token that was revoked is inactive by introspection', async () => {
  const world = await startWorld()
  const { store, refreshTokens } = watchedStore()
  const credentials = { clientId: 'legacy', clientSecret: 'legacy-secret' }
  const source = password({ issuer: world.issuer, ...credentials, store, username: 'ada', password: 'lovelace', scope })
  await source.getAccessToken()
  const introspect = async () => {
    const response = await fetch(`${world.issuer}/token/introspection`, {
      method: 'POST',
      headers: { authorization: `Basic ${btoa('legacy:legacy-secret')}` },
      body: new URLSearchParams({ token: refreshTokens.at(-1) ?? '' }),
    })
    return response.json()
  }
  expect(await introspect()).toMatchObject({ active: true })
  await source.revoke()
  expect(await introspect()).toEqual({ active: false })
})
