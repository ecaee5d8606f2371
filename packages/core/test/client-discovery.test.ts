import { clientCredentials, OAuthError, type SourceOptions } from '@keyturn/core'
import { afterEach, expect, test, vi } from 'vitest'
import { json, loopbackServer } from './loopback-server.ts'
import { rejection } from './sign-in-server.ts'

afterEach(() => {
  vi.useRealTimers()
})

type Routes = Record<string, (origin: string) => { status?: number; location?: string; html?: true; body?: unknown }>

/** A server whose token endpoint always answers, and whose other answers the test says. */
async function serverWith(routes: Routes) {
  let origin = ''
  const server = await loopbackServer(({ path, method }, response) => {
    if (path === '/token' && method === 'POST') {
      return json(response, { access_token: 'good', token_type: 'Bearer', expires_in: 60 })
    }
    const { status = 200, location, html, body } = routes[path]?.(origin) ?? { status: 404 }
    if (location !== undefined) return response.writeHead(status, { location }).end()
    if (html) return response.writeHead(status, { 'content-type': 'text/html' }).end('<!doctype html><p>app')
    json(response, body ?? {}, status)
  })
  origin = server.origin
  return { ...server, paths: () => server.requests.map(({ path }) => path) }
}

const metadata = (issuer: string) => ({ issuer, token_endpoint: `${new URL(issuer).origin}/token` })

function worker(issuer: string, options: Partial<SourceOptions> = {}) {
  return clientCredentials({ issuer, clientId: 'worker', clientSecret: 's3cret', ...options })
}

const OIDC = '/.well-known/openid-configuration'
const OAUTH = '/.well-known/oauth-authorization-server'

test('OpenID Connect metadata is found, and fetched once', async () => {
  const server = await serverWith({ [OIDC]: (origin) => ({ body: metadata(origin) }) })
  const source = worker(server.origin)
  expect(await Promise.all([source.getAccessToken(), source.getAccessToken()])).toEqual(['good', 'good'])
  await source.getAccessToken({ scope: 'other' })
  expect(server.paths()).toEqual([OIDC, '/token', '/token'])
})

test('RFC 8414 metadata is found where there is none of OpenID Connect', async () => {
  for (const missing of [
    { status: 404 },
    { status: 403 },
    { html: true } as const,
    { status: 204, html: true } as const,
  ]) {
    const server = await serverWith({ [OIDC]: () => missing, [OAUTH]: (origin) => ({ body: metadata(origin) }) })
    expect(await worker(server.origin).getAccessToken()).toBe('good')
    expect(server.paths()).toEqual([OIDC, OAUTH, '/token'])
  }
})

test('JSON that is no metadata does not hide the metadata at the other path', async () => {
  for (const body of [{ error: 'not_found' }, { issuer: null }]) {
    const server = await serverWith({ [OIDC]: () => ({ body }), [OAUTH]: (origin) => ({ body: metadata(origin) }) })
    expect(await worker(server.origin).getAccessToken()).toBe('good')
  }
})

test('an issuer with a path has its metadata below it, or by RFC 8414 before it', async () => {
  const below = await serverWith({ [`/t1${OIDC}`]: (origin) => ({ body: metadata(`${origin}/t1`) }) })
  expect(await worker(`${below.origin}/t1`).getAccessToken()).toBe('good')
  const before = await serverWith({ [`${OAUTH}/t1`]: (origin) => ({ body: metadata(`${origin}/t1`) }) })
  expect(await worker(`${before.origin}/t1`).getAccessToken()).toBe('good')
})

test('an issuer may end with a slash', async () => {
  const root = await serverWith({ [OIDC]: (origin) => ({ body: metadata(`${origin}/`) }) })
  expect(await worker(`${root.origin}/`).getAccessToken()).toBe('good')
  const path = await serverWith({ [`/t1${OIDC}`]: (origin) => ({ body: metadata(`${origin}/t1/`) }) })
  expect(await worker(`${path.origin}/t1/`).getAccessToken()).toBe('good')
})

test('a redirect is followed on the same origin', async () => {
  for (const status of [301, 302, 307, 308]) {
    const server = await serverWith({
      [OIDC]: () => ({ status, location: '/moved' }),
      '/moved': (origin) => ({ status, location: `${origin}/moved/` }),
      '/moved/': (origin) => ({ body: metadata(origin) }),
    })
    expect(await worker(server.origin).getAccessToken()).toBe('good')
  }
})

test('a redirect to another origin is not followed', async () => {
  const other = await serverWith({})
  const server = await serverWith({
    [OIDC]: () => ({ status: 302, location: `${other.origin}${OIDC}` }),
    [OAUTH]: () => ({ status: 302, location: `//127.0.0.1:${new URL(other.origin).port}/` }),
  })
  expect(await rejection(worker(server.origin).getAccessToken())).toMatchObject({ code: 'discovery-failed' })
  expect(other.requests).toEqual([])
})

test('redirects that go round in circles come to an end', async () => {
  const server = await serverWith({ [OIDC]: () => ({ status: 302, location: OIDC }) })
  expect(await rejection(worker(server.origin).getAccessToken())).toMatchObject({ code: 'discovery-failed' })
  expect(server.requests.length).toBeLessThan(10)
})

test('no metadata anywhere is said, and that it can be given', async () => {
  const server = await serverWith({})
  const error = await rejection(worker(server.origin).getAccessToken())
  expect(error).toBeInstanceOf(OAuthError)
  expect(error).toMatchObject({ code: 'discovery-failed', retryable: false, fix: expect.stringContaining('metadata') })
})

test('metadata of another issuer is refused', async () => {
  const others = [(origin: string) => `${origin}/t2`, () => 'https://evil.example', (origin: string) => `${origin}/t1/`]
  for (const other of others) {
    const server = await serverWith({ [`/t1${OIDC}`]: (origin) => ({ body: metadata(other(origin)) }) })
    const error = await rejection(worker(`${server.origin}/t1`).getAccessToken())
    expect(error).toMatchObject({ code: 'issuer-mismatch', retryable: false, fix: expect.stringContaining('issuer') })
    expect(server.paths()).not.toContain('/token')
  }
})

test('what the options say is laid over what is found, except for the issuer', async () => {
  const server = await serverWith({
    [OIDC]: (origin) => ({ body: { issuer: origin, token_endpoint: 'https://wrong.example/token' } }),
  })
  const overlay = { issuer: 'https://evil.example', token_endpoint: `${server.origin}/token` }
  expect(await worker(server.origin, { metadata: overlay }).getAccessToken()).toBe('good')
})

test('with discovery: false nothing but the given metadata is used, and nothing is fetched', async () => {
  const server = await serverWith({})
  const options = { discovery: false, metadata: { token_endpoint: `${server.origin}/token` } } as const
  expect(await worker('https://as.example', options).getAccessToken()).toBe('good')
  expect(server.paths()).toEqual(['/token'])
})

test('metadata without a token endpoint is a mistake in the setup, not an outage', async () => {
  const error = await rejection(worker('https://as.example', { discovery: false }).getAccessToken())
  expect(error).toMatchObject({
    code: 'invalid-metadata',
    retryable: false,
    fix: expect.stringContaining('token_endpoint'),
  })
})

test('a server that is not there is a failure that may pass, and is asked again when it is back', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  let away = true
  const server = await serverWith({ [OIDC]: (origin) => ({ body: metadata(origin) }) })
  const source = worker(server.origin, {
    fetch: (input, init) => (away ? Promise.reject(new TypeError('fetch failed')) : fetch(input, init)),
  })
  const error = await rejection(source.getAccessToken())
  expect(error).toMatchObject({
    name: 'TokenUnavailableError',
    code: 'network',
    retryable: true,
    fix: expect.any(String),
  })
  const { retryAt } = error as { retryAt: number }
  expect(retryAt).toBeGreaterThan(Date.now())
  expect(retryAt).toBeLessThanOrEqual(Date.now() + 120_000)
  away = false
  vi.setSystemTime(retryAt + 1)
  expect(await source.getAccessToken()).toBe('good')
})

test('a server in trouble is not one without metadata', async () => {
  for (const [status, code] of [
    [500, 'server-error'],
    [503, 'server-error'],
    [429, 'throttled'],
  ] as const) {
    const server = await serverWith({ [OIDC]: () => ({ status }), [OAUTH]: (origin) => ({ body: metadata(origin) }) })
    expect(await rejection(worker(server.origin).getAccessToken())).toMatchObject({ code, retryable: true })
  }
})

test('a real refused connection is a typed failure of the network', async () => {
  const { origin } = await serverWith({})
  const gone = `http://127.0.0.1:${new URL(origin).port === '1' ? 2 : 1}`
  expect(await rejection(worker(gone).getAccessToken())).toMatchObject({ code: 'network', retryable: true })
})

test('in a container the server is reached at another address: endpoints by metadata, and the issuer is still checked', async () => {
  const issuer = 'https://login.example.com' // what browsers see, and tokens say
  const inside = await serverWith({ '/realm': () => ({ body: metadata(issuer) }) })
  /** Discovery goes to the address inside, the rest where the overlay says. */
  const through: typeof fetch = (input, init) => {
    const { href, pathname } = new URL(String(input))
    return fetch(pathname.startsWith('/.well-known/') ? `${inside.origin}/realm` : href, init)
  }
  const overlay = { token_endpoint: `${inside.origin}/token` }
  const reached = clientCredentials({
    ...{ issuer, clientId: 'worker', clientSecret: 'secret' },
    ...{ fetch: through, metadata: overlay },
  })
  expect(await reached.getAccessToken()).toBe('good')
  expect(inside.paths()).toEqual(['/realm', '/token'])

  const alone = { discovery: false, metadata: overlay } as const
  const without = clientCredentials({ issuer, clientId: 'worker', clientSecret: 'secret', ...alone })
  expect(await without.getAccessToken()).toBe('good')

  const foreign = await serverWith({ '/realm': () => ({ body: metadata('https://evil.example') }) })
  const misled: typeof fetch = (_, init) => fetch(`${foreign.origin}/realm`, init)
  const other = clientCredentials({
    ...{ issuer, clientId: 'worker', clientSecret: 'secret' },
    ...{ fetch: misled, metadata: { token_endpoint: `${foreign.origin}/token` } },
  })
  expect(await rejection(other.getAccessToken())).toMatchObject({ code: 'issuer-mismatch' })
  expect(foreign.paths()).toEqual(['/realm'])
})
