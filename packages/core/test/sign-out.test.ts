import { authorizationCode, memoryStore, revocationOutbox } from '@keyturn/core'
import { expect, test, vi } from 'vitest'
import { type App, comeBack, FakePage, ISSUER, REDIRECT_URI, rejection, startApp } from './sign-in-server.ts'

async function signedIn(app: App): Promise<void> {
  await comeBack(app)
  await app.auth.handleCallback()
  expect(app.auth.session.status).toBe('signedIn')
}

const revoked = ({ server }: App) =>
  server.requests.filter(({ path }) => path === '/revoke').map(({ body }) => body.get('token'))

test('a logout without an ID token says which client it is for', async () => {
  const app = startApp({ scope: 'orders' })
  app.server.tokenResponse = ({ id_token: _, ...rest }) => rest
  await signedIn(app)
  await app.auth.logout({ postLogoutRedirectUri: 'https://app.example/bye' })
  const { origin, pathname, searchParams } = new URL(app.page.lastVisited)
  expect(origin + pathname).toBe(`${ISSUER}/logout`)
  expect(Object.fromEntries(searchParams)).toEqual({
    client_id: 'app',
    post_logout_redirect_uri: 'https://app.example/bye',
  })
  expect(revoked(app)).toEqual(['refresh-token-of-ada'])
})

test('at a server that knows no logout the session ends here, its tokens there, and the page stays', async () => {
  const app = startApp()
  app.server.metadata = { end_session_endpoint: undefined }
  await signedIn(app)
  const { visited } = app.page
  const before = visited.length
  await app.auth.logout()
  expect(visited).toHaveLength(before)
  expect(app.auth.session).toMatchObject({ status: 'signedOut', ended: { reason: 'signed-out' } })
  expect(revoked(app)).toEqual(['refresh-token-of-ada'])
})

test('a sign-in that gives the tokens of before is not undone by a sign-out that is finished late', async () => {
  const store = memoryStore()
  const app = startApp({ store })
  await signedIn(app)
  let isAway = true
  const { answer } = app.server
  vi.spyOn(app.server, 'answer').mockImplementation((request) => {
    if (isAway && request.url.endsWith('/revoke')) throw new TypeError('fetch failed')
    return answer.call(app.server, request)
  })
  await app.auth.logout({ endSession: false })
  isAway = false
  await signedIn(app) // this server gives the same refresh token every time
  const watch = () => () => {}
  const page = Object.assign(new FakePage(), { watch })
  const next = authorizationCode({
    ...{ issuer: ISSUER, clientId: 'app', redirectUri: REDIRECT_URI, scope: 'openid' },
    ...{ userAgent: page, store, fetch: app.server.fetch, outbox: revocationOutbox() },
  })
  await new Promise((resolve) => setTimeout(resolve, 1100)) // past the first back-off
  await next.handleCallback()
  expect(await next.getAccessToken()).toEqual(expect.any(String))
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(revoked(app)).toEqual([])
})

test('the network that comes back finishes a sign-out at once, one attempt in 30 seconds', async () => {
  let wake = () => {}
  const page = Object.assign(new FakePage(), {
    watch(listener: () => void) {
      wake = listener
      return () => {}
    },
  })
  const app = startApp({ userAgent: page })
  await signedIn({ ...app, page })
  const { answer } = app.server
  let sent = 0
  vi.spyOn(app.server, 'answer').mockImplementation((request) => {
    if (!request.url.endsWith('/revoke')) return answer.call(app.server, request)
    sent++
    return Promise.resolve(new Response('', { status: 503, headers: { 'retry-after': '3000' } }))
  })
  await app.auth.logout({ endSession: false })
  expect(sent).toBe(1)
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 31_000 })
  wake()
  await expect.poll(() => sent).toBe(2)
  vi.setSystemTime(Date.now() + 29_000)
  wake()
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(sent).toBe(2)
  vi.useRealTimers()
})

test.each([
  [{ refresh_expires_in: 1800 }, 1_800_000],
  [{ refresh_token_expires_in: '86399' }, 86_399_000],
  [{ refresh_expires_in: 0 }, undefined], // Keycloak of one that does not end
  [{ refresh_expires_in: null }, undefined],
  [{ refresh_expires_in: 1e300 }, undefined],
  [{}, undefined],
])('of a token response with %j the horizon of the session is told', async (members, lifetime) => {
  const store = memoryStore()
  const app = startApp({ store })
  app.server.tokenResponse = (body) => ({ ...body, ...members })
  await signedIn(app)
  const { issuedAt, refreshTokenExpiresAt } = await app.auth.getTokenSet()
  expect(refreshTokenExpiresAt).toBe(lifetime && issuedAt + lifetime)
  const reloaded = startApp({ store })
  expect((await reloaded.auth.getTokenSet()).refreshTokenExpiresAt).toBe(refreshTokenExpiresAt)
})

test('a refresh token whose time is said to be over is sent all the same: only a refusal ends a session', async () => {
  const app = startApp()
  app.server.tokenResponse = (body) => ({ ...body, refresh_expires_in: 1 })
  await signedIn(app)
  const rejectedToken = await app.auth.getAccessToken()
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 10_000 })
  app.server.tokenResponse = ({ refresh_token: _, ...body }) => ({ ...body, access_token: 'another' })
  const { accessToken, refreshTokenExpiresAt } = await app.auth.getTokenSet({ rejectedToken })
  vi.useRealTimers()
  expect(accessToken).not.toBe(rejectedToken)
  expect(refreshTokenExpiresAt).toBeLessThan(Date.now() + 2000) // it is the same refresh token
})

test('whoever signs out names the reason, and others learn it', async () => {
  const store = memoryStore()
  const [app, other] = [startApp({ store }), startApp({ store })]
  other.auth.subscribe(() => {})
  await signedIn(app)
  await app.auth.revoke({ reason: 'idle' })
  expect(app.auth.session).toMatchObject({ status: 'signedOut', ended: { reason: 'idle', origin: 'user' } })
  await expect.poll(() => other.auth.session).toMatchObject({ ended: { reason: 'idle', origin: 'another' } })
  expect(await rejection(app.auth.getAccessToken())).toMatchObject({ code: 'session-ended' })
})

test('a sign-out elsewhere in the same millisecond as the sign-in here is by another', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const store = memoryStore()
  const app = startApp({ store })
  await signedIn(app)
  const next = startApp({ store })
  await next.auth.revoke()
  await vi.waitFor(() => expect(app.auth.session.status).toBe('signedOut'))
  vi.useRealTimers()
  expect(app.auth.session).toMatchObject({ ended: { origin: 'another' } })
  expect(next.auth.session).toMatchObject({ ended: { origin: 'user' } })
})
