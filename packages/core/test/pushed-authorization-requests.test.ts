import { OAuthError, pushedAuthorizationRequests } from '@keyturn/core'
import { expect, test } from 'vitest'
import { type App, comeBack, ISSUER, rejection, startApp } from './sign-in-server.ts'

const start = (options: Parameters<typeof startApp>[0] = {}) =>
  startApp({ par: pushedAuthorizationRequests(), ...options })
const pushed = ({ server }: App) => server.requests.filter(({ path }) => path === '/par')

async function refusedLogin(app: App) {
  const error = await rejection(app.auth.login({ appState: 'deep' }))
  expect(error).toBeInstanceOf(OAuthError)
  expect(app.page.visited).toEqual([])
  return error
}

test('the request is pushed, and the user agent takes along a reference alone', async () => {
  const app = start({ scope: 'openid orders', resource: ['urn:a', 'urn:b'] })
  await app.auth.login({ appState: 'deep', loginHint: 'ada', parameters: { ui_locales: 'de' } })
  const [request] = pushed(app)
  expect(Object.fromEntries(request?.body ?? [])).toMatchObject({
    response_type: 'code',
    client_id: 'app',
    scope: 'openid orders',
    login_hint: 'ada',
    ui_locales: 'de',
    code_challenge_method: 'S256',
  })
  expect(request?.body.getAll('resource')).toEqual(['urn:a', 'urn:b'])
  const { origin, pathname, searchParams } = new URL(app.page.lastVisited)
  expect(origin + pathname).toBe(`${ISSUER}/authorize`)
  expect([...searchParams.keys()]).toEqual(['client_id', 'request_uri'])
  app.page.url = app.server.authorize(app.page.lastVisited)
  expect(await app.auth.handleCallback()).toEqual({ appState: 'deep' })
  expect(app.auth.session.status).toBe('signedIn')
})

test.each(['client_secret_basic', 'client_secret_post'] as const)(
  'the request is pushed with the authentication of the token endpoint: %s',
  async (clientAuthentication) => {
    const app = start({ clientSecret: () => 'secret-of-app', clientAuthentication })
    await comeBack(app)
    await app.auth.handleCallback()
    const credentials = ['/par', '/token'].map((at) => {
      const request = app.server.requests.find(({ path }) => path === at)
      return [request?.headers.get('authorization'), request?.body.get('client_secret')]
    })
    expect(credentials[0]).toEqual(credentials[1])
    expect(credentials.flat().filter(Boolean)).toHaveLength(2)
    expect(app.page.lastVisited).not.toContain('secret')
  },
)

test('where the server wants requests to be pushed and nobody does, the error says how, before anything leaves', async () => {
  const app = start({ par: undefined })
  app.server.metadata = { require_pushed_authorization_requests: true }
  expect(await refusedLogin(app)).toMatchObject({
    code: 'invalid-options',
    fix: expect.stringContaining('pushedAuthorizationRequests()'),
  })
  const mended = start()
  mended.server.metadata = { require_pushed_authorization_requests: true }
  await mended.auth.login()
  expect(mended.page.visited).toHaveLength(1)
})

test('a refusal is told with what the server said, without secrets', async () => {
  const app = start({ clientSecret: 'secret-of-app' })
  app.server.pushed = () =>
    Response.json({ error: 'invalid_scope', error_description: 'no orders for secret-of-app' }, { status: 400 })
  const error = await refusedLogin(app)
  expect(error).toMatchObject({ name: 'AuthorizationServerError', code: 'request-refused', error: 'invalid_scope' })
  expect(Object(error).message).not.toContain('secret')
})

test('a client that the server does not know is told so', async () => {
  const app = start()
  const headers = { 'www-authenticate': 'Basic realm="as"' }
  app.server.pushed = () => Response.json({ error: 'invalid_client' }, { status: 401, headers })
  expect(await refusedLogin(app)).toMatchObject({ code: 'client-refused', error: 'invalid_client' })
})

test.each<[string, () => Response | object]>([
  ['HTML with status 200', () => new Response('<html>', { headers: { 'content-type': 'text/html' } })],
  ['HTML with status 201', () => new Response('<html>', { status: 201 })],
  ['another status', () => Response.json({ request_uri: 'urn:x', expires_in: 60 }, { status: 200 })],
  ['no request_uri', () => ({ expires_in: 60 })],
  ['a request_uri that is no text', () => ({ request_uri: { href: 'urn:x' }, expires_in: 60 })],
  ['no lifetime', () => ({ request_uri: 'urn:x' })],
  ['an array', () => []],
  ['more than a megabyte', () => ({ request_uri: 'x'.repeat(2_000_000), expires_in: 60 })],
  ['a redirect', () => Response.redirect('https://evil.example/par', 307)],
])('%s is no answer to a pushed request', async (_, answer) => {
  const app = start()
  app.server.pushed = answer
  expect(await refusedLogin(app)).toMatchObject({ code: 'invalid-response' })
  expect(pushed(app)).toHaveLength(1)
})

test('an outage may pass', async () => {
  const app = start()
  app.server.pushed = () => new Response(undefined, { status: 503 })
  expect(await refusedLogin(app)).toMatchObject({ code: 'server-error', retryable: true })
})

test('a push that hangs is given up with the time-out', async () => {
  const app = start({ timeout: 50 })
  app.server.pushed = () => new Promise<Response>(() => {})
  expect(await refusedLogin(app)).toMatchObject({ code: 'timeout' })
})

test('requests are pushed to https only', async () => {
  for (const [endpoint, code] of [
    ['http://as.example/par', 'insecure-url'],
    [undefined, 'invalid-metadata'],
  ]) {
    const app = start()
    app.server.metadata = { pushed_authorization_request_endpoint: endpoint }
    expect(await refusedLogin(app)).toMatchObject({ code })
    expect(pushed(app)).toEqual([])
  }
})

test("a request_uri of the server's choice cannot bring parameters of its own", async () => {
  const app = start()
  app.server.pushed = () => ({ request_uri: 'urn:x&redirect_uri=https://evil.example', expires_in: 60 })
  await app.auth.login()
  const { searchParams } = new URL(app.page.lastVisited)
  expect(Object.fromEntries(searchParams)).toEqual({
    client_id: 'app',
    request_uri: 'urn:x&redirect_uri=https://evil.example',
  })
})

test('a login that could not be pushed is not under way', async () => {
  const app = start()
  app.server.pushed = () => Response.json({ error: 'invalid_request' }, { status: 400 })
  await refusedLogin(app)
  app.page.url = 'https://app.example/callback?code=of-somebody-else&state=theirs'
  expect(await app.auth.handleCallback()).toBeUndefined()
})
