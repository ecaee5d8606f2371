import type { ServerResponse } from 'node:http'
import { gzipSync } from 'node:zlib'
import { clientCredentials, fetchUserInfo, memoryStore, TokenManager } from '@keyturn/core'
import { afterEach, expect, test, vi } from 'vitest'
import { json, loopbackServer, type Received } from './loopback-server.ts'
import { rejection, startApp } from './sign-in-server.ts'

// The platform's own fetch and real sockets: what a stand-in for fetch would not do by itself.

afterEach(() => {
  vi.useRealTimers()
})

const REDIRECTS = [300, 301, 302, 303, 305, 307, 308]
const TOKENS = { access_token: 'good', token_type: 'Bearer', expires_in: 60, sub: 'ada' }

type Answer = (request: Received, response: ServerResponse) => void

/** A server whose one endpoint the test answers; `moved` answers well, whatever comes. */
async function serverWith(path: string, answer: Answer) {
  const server = await loopbackServer((request, response) => {
    if (request.path === path) return answer(request, response)
    if (request.path === '/.well-known/openid-configuration') {
      const at = (name: string) => server.origin + name
      return json(response, {
        issuer: server.origin,
        token_endpoint: at('/token'),
        revocation_endpoint: at('/revoke'),
        userinfo_endpoint: at('/me'),
      })
    }
    json(response, TOKENS)
  })
  return server
}

const source = (issuer: string, timeout?: number) =>
  clientCredentials({ issuer, clientId: 'worker', clientSecret: 's3cret', timeout, onWarning: () => {} })

const person = (issuer: string) => {
  const grant = async () => ({ accessToken: 'ada-s', expiresAt: Date.now() + 60_000, claims: { sub: 'ada' } })
  return new TokenManager(grant, { issuer, clientId: 'page', store: memoryStore() })
}

test.each(REDIRECTS)(
  '%i from any endpoint is followed nowhere, neither on the same origin nor to another',
  async (status) => {
    const thief = await loopbackServer((_request, response) => json(response, TOKENS))
    for (const target of [() => `${thief.origin}/moved`, () => '/moved', (origin: string) => `${origin}/moved`]) {
      const moved: Answer = (_request, response) => {
        const location = target(`http://127.0.0.1:${response.socket?.localPort}`)
        response.writeHead(status, { location, 'content-type': 'application/json' }).end(JSON.stringify(TOKENS))
      }
      const token = await serverWith('/token', moved)
      expect(await rejection(source(token.origin).getAccessToken())).toMatchObject({ code: 'invalid-response' })
      const me = await serverWith('/me', moved)
      expect(await rejection(fetchUserInfo(person(me.origin)))).toMatchObject({ code: 'invalid-response' })
      const revoke = await serverWith('/revoke', moved)
      const machine = source(revoke.origin)
      await machine.getAccessToken()
      await machine.revoke()
      for (const { requests } of [token, me, revoke]) {
        expect(requests.map(({ path }) => path)).not.toContain('/moved')
        expect(requests.length).toBeGreaterThan(1)
      }
    }
    expect(thief.requests).toEqual([])
  },
)

test('metadata that hides behind a chain of redirects is followed on its origin only, and not for ever', async () => {
  const thief = await loopbackServer((_request, response) => json(response, { issuer: thief.origin }))
  const chain = await loopbackServer(({ path }, response) => {
    const step = Number(/^\/step-(\d)$/.exec(path)?.[1] ?? 0)
    response.writeHead(302, { location: step < 1 ? `/step-${step + 1}` : `${thief.origin}/step-2` }).end()
  })
  expect(await rejection(source(chain.origin).getAccessToken())).toMatchObject({ code: 'discovery-failed' })
  expect(thief.requests).toEqual([])
  expect(chain.requests.length).toBeLessThan(9)
})

test.each<[string, Answer, object]>([
  ['a reset', (_request, response) => response.socket?.resetAndDestroy(), { code: 'network' }],
  ['a connection that is closed', (_request, response) => response.socket?.end(), { code: 'network' }],
  [
    'a body that breaks off',
    (_request, response) => {
      response.writeHead(200, { 'content-length': '1000' }).write('{"access_token":"half')
      setImmediate(() => response.destroy())
    },
    { code: 'network' },
  ],
  ['what is no HTTP', (_request, response) => response.socket?.end('SSH-2.0-OpenSSH_9.9\r\n'), { code: 'network' }],
  [
    'two lengths',
    (_request, response) =>
      response.socket?.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}x'),
    { code: 'network' },
  ],
  [
    'an encoding that is not true',
    (_request, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end('{"access_token":"a"}'),
    { code: 'network' },
  ],
  [
    'headers of a megabyte',
    (_request, response) => response.socket?.end(`HTTP/1.1 200 OK\r\nx: ${'x'.repeat(1_000_000)}\r\n\r\n`),
    { code: 'network' },
  ],
  [
    'a bomb: a kilobyte that unpacks to a gigabyte of nothing',
    (_request, response) => response.writeHead(200, { 'content-encoding': 'gzip, gzip' }).end(bomb),
    { code: 'invalid-response' },
  ],
])('a token request that is answered with %s is a typed failure', async (_, answer, expected) => {
  const server = await serverWith('/token', answer)
  const begun = performance.now()
  const error = await rejection(source(server.origin).getAccessToken())
  expect(error).toMatchObject({ name: 'TokenUnavailableError', retryable: true, ...expected })
  expect(performance.now() - begun).toBeLessThan(10_000)
})

const bomb = gzipSync(gzipSync(Buffer.alloc(100_000_000, ' ')))

/** A body that comes a byte at a time, by the clock. */
function dripping(milliseconds: number): Response {
  let timer: ReturnType<typeof setInterval> | undefined
  const body = new ReadableStream({
    start(controller) {
      timer = setInterval(() => controller.enqueue(new Uint8Array([0x20])), milliseconds)
    },
    cancel: () => clearInterval(timer),
  })
  return new Response(body)
}

test.each(['/token', '/.well-known/openid-configuration'])(
  'a body that drips is given up after one time-out: %s',
  async (path) => {
    vi.useFakeTimers()
    const app = clientCredentials({
      issuer: 'https://as.example',
      clientId: 'worker',
      timeout: 3000,
      fetch: async (input) => {
        const url = new URL(String(input))
        if (url.pathname === path) return dripping(1000)
        return Response.json({ issuer: url.origin, token_endpoint: `${url.origin}/token` })
      },
    })
    const failed = rejection(app.getAccessToken())
    await vi.advanceTimersByTimeAsync(3001)
    expect(await failed).toMatchObject({ code: 'timeout', retryable: true })
  },
)

test('a login waits for slow metadata three time-outs at most, whatever is redirected', async () => {
  vi.useFakeTimers()
  const { auth, page } = startApp({
    timeout: 3000,
    fetch: async () => {
      await new Promise((resolve) => setTimeout(resolve, 2900))
      return new Response('', { status: 302, headers: { location: '/next' } })
    },
  })
  let error: unknown
  auth.login().catch((thrown) => {
    error = thrown
  })
  await vi.advanceTimersByTimeAsync(3 * 3000 + 1)
  expect(error).toMatchObject({ name: 'TokenUnavailableError', code: 'timeout', retryable: true })
  expect(page.visited).toEqual([])
})

test.each(['1e999', '99999999999', '-1', 'Infinity', 'soon', '', 'Fri, 31 Dec 9999 23:59:59 GMT'])(
  'Retry-After "%s" of user info is nothing to wait for longer than an hour',
  async (value) => {
    const server = await serverWith('/me', (_request, response) =>
      response.writeHead(503, { 'retry-after': value }).end(),
    )
    const error = Object(await rejection(fetchUserInfo(person(server.origin))))
    expect(error).toMatchObject({ code: 'server-error', retryAt: expect.any(Number) })
    expect(error.retryAt).toBeLessThanOrEqual(Date.now() + 3_600_000)
    expect(error.retryAt).toBeGreaterThan(Date.now() - 10_000)
  },
)
