import { type Apis, authenticatedFetch, OAuthError, type TokenSource } from '@keyturn/core'
import { HttpResponse, http } from 'msw'
import { setupServer } from 'msw/node'
import { afterEach, expect, test, vi } from 'vitest'
import { CountingSource } from './counting-source.ts'
import { json, loopbackServer } from './loopback-server.ts'

afterEach(() => {
  vi.unstubAllGlobals()
})

/** Refuses once. */
const refusesOnce = () =>
  loopbackServer((_request, response, count) => (count > 1 ? json(response, {}) : response.writeHead(401).end('no')))

test('options that are a Request are read as fetch reads them', async () => {
  const server = await refusesOnce()
  const api = authenticatedFetch(new CountingSource(), { apis: server.origin })
  const options = new Request('https://ignored.example/', { method: 'DELETE', headers: { 'x-own': '1' } })
  expect((await api(`${server.origin}/a`, options)).status).toBe(200)
  expect(server.requests.map(({ method, path, headers }) => [method, path, headers['x-own']])).toEqual([
    ['DELETE', '/a', '1'],
    ['DELETE', '/a', '1'],
  ])
})

test('options that are a Request with a body are sent with that body', async () => {
  const server = await loopbackServer((_request, response) => json(response, {}))
  const api = authenticatedFetch(new CountingSource(), { apis: server.origin })
  const options = new Request('https://ignored.example/', {
    method: 'POST',
    headers: { 'x-own': '1' },
    body: 'the body',
  })
  await api(server.origin, options)
  const [request] = server.requests
  expect([request?.method, request?.headers['x-own'], request?.body.toString()]).toEqual(['POST', '1', 'the body'])
  expect(request?.headers.authorization).toBe('Bearer token-1')
})

test('options that inherit are read as fetch reads them', async () => {
  const server = await refusesOnce()
  const api = authenticatedFetch(new CountingSource(), { apis: server.origin })
  const shared = { method: 'PUT', headers: { 'x-own': '1' }, body: 'shared' }
  await api(server.origin, Object.create(shared) as RequestInit)
  expect(server.requests.map(({ method, headers, body }) => [method, headers['x-own'], body.toString()])).toEqual([
    ['PUT', '1', 'shared'],
    ['PUT', '1', 'shared'],
  ])
})

test('options of null are none', async () => {
  const server = await loopbackServer((_request, response) => json(response, {}))
  const api = authenticatedFetch(new CountingSource(), { apis: server.origin })
  expect((await api(server.origin, null as unknown as RequestInit)).status).toBe(200)
  expect(server.requests[0]?.headers.authorization).toBe('Bearer token-1')
})

test('options are read once: headers that can be read once are sent at both attempts, as they were at the call', async () => {
  const server = await refusesOnce()
  const api = authenticatedFetch(new CountingSource(), { apis: server.origin })
  const headers = new Map([['x-own', 'before']]).entries()
  const options = { method: 'DELETE', headers: headers as unknown as Headers }
  const answer = api(server.origin, options)
  options.method = 'PUT'
  options.headers = new Headers({ 'x-own': 'after' })
  expect((await answer).status).toBe(200)
  expect(server.requests.map(({ method, headers }) => [method, headers['x-own']])).toEqual([
    ['DELETE', 'before'],
    ['DELETE', 'before'],
  ])
})

test.each([
  { method: 'patch' },
  { method: 'get' },
  { method: 'a b' },
  { headers: { 'x-own': 'a\nb' } },
  { mode: 'navigate' as const },
])('what fetch does with the options %j, an authenticated fetch does', async (options) => {
  const server = await loopbackServer((_request, response) => json(response, {}))
  const api = authenticatedFetch(new CountingSource(), { apis: server.origin })
  const said = ({ status }: Response) => status
  const failed = ({ name }: Error) => name
  const [own, plain] = [api, fetch].map((call) => call(server.origin, options).then(said, failed))
  expect(await own).toBe(await plain)
  expect(new Set(server.requests.map(({ method }) => method)).size).toBeLessThan(2)
})

test('a refusal of which somebody keeps an unread copy does not hold up the second attempt', async () => {
  const server = await refusesOnce()
  const copies: Response[] = []
  const api = authenticatedFetch(new CountingSource(), {
    apis: server.origin,
    fetch: async (input, init) => {
      const response = await fetch(input, init)
      copies.push(response.clone())
      return response
    },
  })
  expect((await api(server.origin)).status).toBe(200)
  expect(copies).toHaveLength(2)
}, 20_000)

test("a refusal whose body is somebody else's or broken does not spoil the second attempt", async () => {
  const bodies = [
    () => {
      const response = new Response('locked', { status: 401 })
      response.body?.getReader()
      return response
    },
    () =>
      new Response(new ReadableStream({ start: (controller) => controller.error(new Error('cut')) }), { status: 401 }),
    () => new Response(new ReadableStream({ cancel: () => Promise.reject(new Error('cannot')) }), { status: 401 }),
  ]
  for (const refusal of bodies) {
    let calls = 0
    const fetch = async () => (++calls === 1 ? refusal() : new Response('fine'))
    const response = await authenticatedFetch(new CountingSource(), { apis: 'https://api.example/', fetch })(
      'https://api.example/',
    )
    expect(await response.text()).toBe('fine')
  }
})

test('a signal of null in the options takes the signal of the Request away', async () => {
  const controller = new AbortController()
  controller.abort()
  const api = authenticatedFetch(new CountingSource(), {
    apis: 'https://api.example/',
    fetch: async () => new Response('fine'),
  })
  const request = new Request('https://api.example/', { signal: controller.signal })
  expect(await (await api(request, { signal: null })).text()).toBe('fine')
})

test.each([
  ['a page', 'document', 'baseURI'],
  ['a worker of a page', 'location', 'href'],
])('in %s, relative addresses are those of it', async (_, global, name) => {
  const base = 'https://app.example/deep/page'
  vi.stubGlobal(global, { [name]: base })
  const sent: [string, string | null][] = []
  const asked: string[] = []
  const source: TokenSource = {
    getAccessToken: async () => 'never',
    authorize: async ({ url }) => {
      asked.push(url)
      return { accessToken: 'token', headers: {} }
    },
  }
  const api = authenticatedFetch(source, {
    apis: '/api/',
    fetch: async (input, init) => {
      const request = new Request(input instanceof Request ? input : new URL(`${input}`, base), init)
      sent.push([request.url, request.headers.get('authorization')])
      return new Response()
    },
  })
  for (const url of ['/api/orders', '../api/x', 'api/x', '//evil.tld/api/', '/api/../x', '/apis/']) await api(url)
  expect(sent).toEqual([
    ['https://app.example/api/orders', 'Bearer token'],
    ['https://app.example/api/x', 'Bearer token'],
    ['https://app.example/deep/api/x', null],
    ['https://evil.tld/api/', null],
    ['https://app.example/x', null],
    ['https://app.example/apis/', null],
  ])
  // A proof (RFC 9449) names the whole URL.
  expect(asked).toEqual(['https://app.example/api/orders', 'https://app.example/api/x'])
})

test('in a page, apis that are missing are missed all the same', () => {
  vi.stubGlobal('document', { baseURI: 'https://app.example/' })
  for (const apis of [undefined, null, [], [undefined], [null], [{}], [{ url: undefined }], ''] as unknown as Apis[]) {
    expect(() => authenticatedFetch(new CountingSource(), { apis }), JSON.stringify(apis)).toThrow(OAuthError)
  }
})

test('headers of a request with a body survive interception', async () => {
  const seen: (string | null)[][] = []
  const network = setupServer(
    http.post('https://api.example/orders', async ({ request }) => {
      seen.push([request.headers.get('x-own'), request.headers.get('authorization'), await request.text()])
      return new HttpResponse(null, { status: seen.length > 1 ? 200 : 401 })
    }),
  )
  network.listen({ onUnhandledFrame: 'error' })
  try {
    const api = authenticatedFetch(new CountingSource(), { apis: 'https://api.example/' })
    const headers = { 'x-own': '1' }
    expect((await api('https://api.example/orders', { method: 'POST', body: 'x', headers })).status).toBe(200)
    expect(seen).toEqual([
      ['1', 'Bearer token-1', 'x'],
      ['1', 'Bearer token-2', 'x'],
    ])
  } finally {
    network.close()
  }
})

test('an aborted signal ends the wait for a source that does not look at it', async () => {
  const controller = new AbortController()
  const source = { getAccessToken: () => new Promise<string>(() => {}) }
  const call = authenticatedFetch(source, { apis: 'https://api.example/' })('https://api.example/', controller)
  controller.abort(new Error('enough'))
  await expect(call).rejects.toThrow('enough')
})

test('options that only the fetch underneath knows reach it, at both attempts', async () => {
  const seen: unknown[] = []
  const api = authenticatedFetch(new CountingSource(), {
    apis: 'https://api.example/',
    fetch: async (_, init) => {
      seen.push({ ...init })
      return new Response('', { status: 401 })
    },
  })
  const next = { revalidate: 60 }
  await api('https://api.example/', { method: 'POST', body: 'x', headers: { a: '1' }, next } as RequestInit)
  const redirect = 'manual' // so that each hop can be signed for itself
  expect(seen).toEqual(Array(2).fill(expect.objectContaining({ method: 'POST', next, redirect })))
  expect(seen.flatMap((options) => Object.keys(Object(options)))).not.toContain('headers')
})
