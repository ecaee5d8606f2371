import { authorizationCode, clientCredentials, password, refreshToken, type SourceOptions } from '@keyturn/core'
import { afterEach, expect, test, vi } from 'vitest'
import { json, loopbackServer } from './loopback-server.ts'
import { FakePage, rejection } from './sign-in-server.ts'

afterEach(() => {
  vi.useRealTimers()
})

const ISSUER = 'https://as.example'
const metadata = {
  issuer: ISSUER,
  token_endpoint: `${ISSUER}/token`,
  revocation_endpoint: `${ISSUER}/revoke`,
}

/** A server as a `fetch`; every access token is another one. */
function recorder(answer: (body: URLSearchParams, count: number) => object | Response = () => ({})) {
  const sent: {
    path: string
    method: string
    headers: Headers
    body: URLSearchParams
    init: RequestInit | undefined
  }[] = []
  let tokens = 0
  const recording: typeof fetch = async (input, init) => {
    const request = new Request(input, init)
    const path = new URL(request.url).pathname
    const body = new URLSearchParams(await request.text())
    sent.push({ path, method: request.method, headers: request.headers, body, init })
    if (path.startsWith('/.well-known/')) return Response.json(metadata)
    if (path !== '/token') return new Response()
    const more = answer(body, ++tokens)
    return more instanceof Response
      ? more
      : Response.json({ access_token: `token-${tokens}`, token_type: 'Bearer', expires_in: 60, ...more })
  }
  return { sent, fetch: recording }
}

function worker(options: Partial<SourceOptions>) {
  return clientCredentials({
    issuer: ISSUER,
    clientId: 'worker',
    clientSecret: 's3cret',
    onWarning: () => {},
    ...options,
  })
}

test('the custom fetch is honoured by discovery, token request and revocation', async () => {
  const { sent, fetch } = recorder()
  const source = worker({ fetch })
  await source.getAccessToken()
  await source.revoke()
  expect(sent.map(({ path }) => path)).toEqual(['/.well-known/openid-configuration', '/token', '/revoke'])
})

test('a token request is a form, asks for JSON, follows no redirect and can be aborted', async () => {
  const { sent, fetch } = recorder()
  await worker({ fetch, scope: 'a b', resource: ['https://one.example/', 'https://two.example/'] }).getAccessToken()
  const request = sent[1]
  expect(request?.method).toBe('POST')
  expect(request?.headers.get('content-type')).toMatch(/^application\/x-www-form-urlencoded/)
  expect(request?.headers.get('accept')).toBe('application/json')
  expect(request?.init).toMatchObject({ redirect: 'manual', signal: expect.any(AbortSignal) })
  expect(request?.body.get('grant_type')).toBe('client_credentials')
  expect(request?.body.get('scope')).toBe('a b')
  expect(request?.body.getAll('resource')).toEqual(['https://one.example/', 'https://two.example/'])
})

test('the secret function is asked at every request', async () => {
  const { sent, fetch } = recorder()
  const secrets = ['one', 'two', 'three']
  const source = worker({
    fetch,
    clientSecret: async () => secrets.shift() ?? 'none',
    clientAuthentication: 'client_secret_post',
  })
  await source.getAccessToken({ scope: 'a' })
  await source.getAccessToken({ scope: 'b' })
  await source.revoke()
  const bodies = sent.filter(({ method }) => method === 'POST').map(({ body }) => body.get('client_secret'))
  expect(bodies.slice(0, 3)).toEqual(['one', 'two', 'three'])
})

test('a client that is refused asks for the secret once more and tries once', async () => {
  const refuse = (good: string) => (body: URLSearchParams) =>
    body.get('client_secret') === good ? {} : Response.json({ error: 'invalid_client' }, { status: 401 })
  const secrets = ['old', 'new']
  const swapped = recorder(refuse('new'))
  const options = { clientAuthentication: 'client_secret_post' } as const
  const source = worker({ ...options, fetch: swapped.fetch, clientSecret: () => secrets.shift() ?? 'none' })
  expect(await source.getAccessToken()).toBe('token-2')
  const wrong = recorder(refuse('other'))
  const error = await rejection(worker({ ...options, fetch: wrong.fetch, clientSecret: () => 'same' }).getAccessToken())
  expect(error).toMatchObject({ code: 'client-refused', error: 'invalid_client', status: 401, fix: expect.any(String) })
  expect(wrong.sent.filter(({ path }) => path === '/token')).toHaveLength(1)
})

test("extra parameters never take the place of the protocol's own, in any grant", async () => {
  const own = ['grant_type', 'scope', 'resource', 'username', 'password', 'refresh_token', 'client_id']
  const parameters = { ...Object.fromEntries(own.map((name) => [name, 'mine'])), audience: 'a' }
  const { sent, fetch } = recorder(() => ({ expires_in: 60 }))
  const options = { issuer: ISSUER, clientId: 'app', fetch, parameters, scope: 'a', resource: 'https://one.example/' }
  await password({ ...options, username: 'ada', password: 'lovelace' }).getAccessToken()
  await refreshToken({ ...options, refreshToken: 'from-elsewhere' }).getAccessToken()
  const [first, second] = sent.filter(({ path }) => path === '/token').map(({ body }) => body)
  for (const name of ['grant_type', 'scope', 'resource', 'username', 'password', 'client_id']) {
    expect(first?.getAll(name), name).not.toContain('mine')
  }
  for (const name of ['grant_type', 'refresh_token', 'client_id']) {
    expect(second?.getAll(name), name).not.toContain('mine')
  }
  expect([first?.get('audience'), second?.get('audience')]).toEqual(['a', 'a'])
})

test('a redirect of the token endpoint is not followed, whatever its status', async () => {
  for (const status of [301, 302, 303, 307, 308]) {
    const thief = await loopbackServer((_request, response) =>
      json(response, { access_token: 'evil', token_type: 'Bearer' }),
    )
    const server = await loopbackServer(({ path }, response) => {
      if (path !== '/token') return json(response, { issuer: server.origin, token_endpoint: `${server.origin}/token` })
      response
        .writeHead(status, { location: `${thief.origin}/token` })
        .end('{"access_token":"evil","token_type":"Bearer"}')
    })
    const error = await rejection(worker({ issuer: server.origin }).getAccessToken())
    expect(error).toMatchObject({ code: 'invalid-response' })
    expect(thief.requests).toEqual([])
  }
})

test('an authorization server that does not answer is a typed time-out', async () => {
  vi.useFakeTimers()
  let silent: string | undefined
  const { fetch } = recorder()
  const hanging: typeof fetch = (input, init) =>
    String(input).includes(silent ?? '') ? new Promise(() => {}) : fetch(input, init)
  for (silent of ['openid-configuration', '/token']) {
    const failed = rejection(worker({ fetch: hanging, timeout: 3000 }).getAccessToken())
    await vi.advanceTimersByTimeAsync(2999)
    let settled = false
    void failed.then(() => {
      settled = true
    })
    await vi.advanceTimersByTimeAsync(0)
    expect(settled).toBe(false)
    await vi.advanceTimersByTimeAsync(2)
    expect(await failed).toMatchObject({ name: 'TokenUnavailableError', code: 'timeout', retryable: true })
  }
})

test('an answer whose body never ends is a typed time-out, and its request is aborted', async () => {
  vi.useFakeTimers()
  const { fetch } = recorder(() => new Response(new ReadableStream({ pull: () => new Promise(() => {}) })))
  let aborted = false
  const watching: typeof fetch = (input, init) => {
    init?.signal?.addEventListener('abort', () => {
      aborted = true
    })
    return fetch(input, init)
  }
  const failed = rejection(worker({ fetch: watching }).getAccessToken())
  await vi.advanceTimersByTimeAsync(10_001)
  expect(await failed).toMatchObject({ code: 'timeout' })
  expect(aborted).toBe(true)
})

test('a secret function that never answers is a typed time-out, too', async () => {
  vi.useFakeTimers()
  const { fetch } = recorder()
  const failed = rejection(worker({ fetch, clientSecret: () => new Promise<string>(() => {}) }).getAccessToken())
  await vi.advanceTimersByTimeAsync(10_001)
  expect(await failed).toMatchObject({ code: 'timeout' })
})

test('Retry-After is told to the caller, in seconds and as a date, an hour at most', async () => {
  vi.useFakeTimers({ toFake: ['Date'], now: Date.UTC(2026, 0, 1) })
  for (const [value, seconds] of [
    ['30', 30],
    [new Date(Date.now() + 40_000).toUTCString(), 40],
    ['999999', 3600],
  ] as const) {
    const { fetch } = recorder(() => new Response('', { status: 503, headers: { 'retry-after': value } }))
    const error = await rejection(worker({ fetch }).getAccessToken())
    expect(error).toMatchObject({ code: 'server-error', retryable: true, retryAt: Date.now() + seconds * 1000 })
  }
})

test('revocation that the server answers strangely breaks nothing', async () => {
  for (const answer of [
    () => new Response('no', { status: 401 }),
    () => new Response('', { status: 503 }),
    () => new Response(undefined, { status: 302, headers: { location: 'https://evil.example/' } }),
    () => Response.error(),
    () => Promise.reject(new TypeError('fetch failed')),
  ]) {
    const { fetch } = recorder()
    const source = worker({
      fetch: (input, init) => (String(input).endsWith('/revoke') ? Promise.resolve(answer()) : fetch(input, init)),
    })
    await source.getAccessToken()
    await source.revoke()
    expect(source.session.status).not.toBe('unknown')
  }
})

test('a revocation that the server refuses is a warning that says why, and holds no secret', async () => {
  const { fetch } = recorder()
  for (const error of ['invalid_client', 'invalid_token']) {
    const warnings: string[] = []
    const refused = () => Response.json({ error, error_description: 's3cret' }, { status: 401 })
    const source = worker({
      fetch: async (input, init) => (String(input).endsWith('/revoke') ? refused() : fetch(input, init)),
      onWarning: (message) => void warnings.push(message),
    })
    await source.getAccessToken()
    await source.revoke()
    // What the server does not know is as good as revoked.
    const isKnown = error !== 'invalid_token'
    expect(warnings).toEqual(isKnown ? [`A token could not be revoked: The authorization server said ${error}`] : [])
    expect(source.session.status).toBe('signedOut')
  }
})

test('a logout waits for a server that does not answer one time-out at most, and is local at once', async () => {
  vi.useFakeTimers()
  const page = new FakePage()
  const auth = authorizationCode({
    issuer: ISSUER,
    clientId: 'app',
    redirectUri: 'https://app.example/',
    userAgent: page,
    fetch: () => new Promise(() => {}),
    timeout: 3000,
    onWarning: () => {},
  })
  let done = false
  const logout = auth.logout().then(() => {
    done = true
  })
  await vi.advanceTimersByTimeAsync(1)
  expect(auth.session.status).toBe('signedOut')
  expect(done).toBe(false)
  await vi.advanceTimersByTimeAsync(3000)
  expect(done).toBe(true)
  await logout
})
