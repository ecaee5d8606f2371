import {
  type AuthorizationCodeOptions,
  authenticatedFetch,
  authorizationCode,
  clientCredentials,
  dpop,
  fetchUserInfo,
  memoryStore,
  memoryTransactions,
  pushedAuthorizationRequests,
} from '@keyturn/core'
import { authenticatedKy } from '@keyturn/core/ky'
import { expect, test } from 'vitest'
import { signInOverHttp } from '../../../../examples/playground/src/sign-in-over-http.ts'
import { FakePage } from '../sign-in-server.ts'
import { pause, startWorld, type World } from './world.ts'

const ORIGIN = 'http://127.0.0.1:9'
const nonces = [false, true]

async function signedIn(world: World, options: Partial<AuthorizationCodeOptions> = {}) {
  const page = new FakePage(`${ORIGIN}/`)
  const settings = {
    issuer: world.issuer,
    clientId: 'spa-dpop',
    redirectUri: `${ORIGIN}/callback`,
    scope: 'openid profile api:read offline_access',
    store: memoryStore(),
    ...options,
  }
  const auth = authorizationCode({ ...settings, userAgent: page, dpop: dpop() })
  await auth.login()
  page.url = await signInOverHttp(page.lastVisited, { username: 'ada', password: 'lovelace' })
  return { auth, page, settings }
}

test.each(nonces)(
  'a person signs in, and every renewal and call is proved (nonces required: %s)',
  async (dpopNonce) => {
    // A token of one second may end at once: its end is told by the second.
    const world = await startWorld({ accessTokenTTL: 2, spaOrigins: [ORIGIN], dpopNonce })
    const { auth } = await signedIn(world)
    await auth.handleCallback()
    const api = authenticatedFetch(auth, { apis: world.orders.url })
    const tokens = new Set<string>()
    for (let round = 0; round < 3; round++) {
      const body = 'the very bytes'
      const response = await api(`${world.orders.url}orders?round=${round}#x`, { method: 'POST', body })
      expect(response.status).toBe(200)
      expect(await response.json()).toMatchObject({ sub: 'ada', bytes: body.length })
      tokens.add(await auth.getAccessToken())
      await pause(2050)
    }
    expect(tokens.size).toBe(3)
    expect(world.orders.proven).toBe(3)
    expect(world.server.reuses).toBe(0)
    expect(auth.session).toMatchObject({ status: 'signedIn', freshness: 'fresh' })
  },
)

test('a token that the API refuses is renewed, though the nonce is stale at the same time', async () => {
  const world = await startWorld({ spaOrigins: [ORIGIN], dpopNonce: true, accessTokenTTL: 60 })
  const { auth } = await signedIn(world)
  await auth.handleCallback()
  const api = authenticatedFetch(auth, { apis: world.orders.url })
  world.orders.refuseNext(1)
  expect((await api(world.orders.url)).status).toBe(200)
  expect(auth.stats()).toMatchObject({ renewals: 1 })
})

test.each(nonces)('the request is pushed with the thumbprint of the key (nonces required: %s)', async (dpopNonce) => {
  const world = await startWorld({ spaOrigins: [ORIGIN], dpopNonce })
  const { auth, page } = await signedIn(world, { par: pushedAuthorizationRequests() })
  expect([...new URL(page.lastVisited).searchParams.keys()]).toEqual(['client_id', 'request_uri'])
  await auth.handleCallback()
  expect(auth.session.status).toBe('signedIn')
})

test.each([
  ['a page that was loaded anew, with the key that its store kept,', true],
  ['another key', false],
])('%s redeems the code: %s', async (_, isOwn) => {
  const world = await startWorld({ spaOrigins: [ORIGIN] })
  const transactions = memoryTransactions()
  const { page, settings } = await signedIn(world, { transactions })
  const store = isOwn ? settings.store : memoryStore()
  const later = authorizationCode({ ...settings, store, userAgent: new FakePage(page.url), dpop: dpop() })
  const outcome = await later.handleCallback().catch((error) => error.error)
  expect(outcome).toEqual(isOwn ? {} : 'invalid_grant')
})

test.each(nonces)('UserInfo is asked with a proof (nonces required: %s)', async (dpopNonce) => {
  const world = await startWorld({ spaOrigins: [ORIGIN], dpopNonce })
  const { auth } = await signedIn(world, { scope: 'openid profile' })
  await auth.handleCallback()
  expect(await fetchUserInfo(auth)).toMatchObject({ sub: 'ada', name: expect.any(String) })
  expect(await fetchUserInfo(auth)).toMatchObject({ sub: 'ada' })
})

test.each(nonces)(
  'a machine proves, too, and ky signs each of its attempts (nonces required: %s)',
  async (dpopNonce) => {
    const { issuer, orders } = await startWorld({ dpopNonce })
    const [clientId, clientSecret] = ['worker', 'worker-secret']
    const source = clientCredentials({ issuer, clientId, clientSecret, scope: 'api:read', dpop: dpop() })
    const proofs: (string | null)[] = []
    const broken: typeof fetch = async (input, init) => {
      const request = new Request(input, init)
      proofs.push(request.headers.get('dpop'))
      return proofs.length < 3 ? new Response(undefined, { status: 503 }) : fetch(request)
    }
    const ky = authenticatedKy(source, { apis: orders.url, fetch: broken, retry: { delay: () => 1 } })
    expect((await ky.get(orders.url)).status).toBe(200)
    expect(await source.getTokenSet()).toMatchObject({ tokenType: 'DPoP' })
    expect(new Set(proofs).size).toBe(dpopNonce ? 4 : 3)
    expect(orders.proven).toBe(1)
  },
)
