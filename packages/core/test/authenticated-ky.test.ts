import { type Answered, authenticatedFetch, LoginRequiredError, TokenUnavailableError } from '@keyturn/core'
import { authenticatedKy } from '@keyturn/core/ky'
import ky, { HTTPError } from 'ky'
import { expect, onTestFinished, test, vi } from 'vitest'
import { CountingSource } from './counting-source.ts'
import { json, loopbackServer } from './loopback-server.ts'
import { rejection } from './sign-in-server.ts'

const retry = { limit: 3, delay: () => 0 }

/** A source with another token for every call. */
function freshSource() {
  let count = 0
  return { getAccessToken: async () => `token-${++count}` }
}

test('it is a ky instance whose requests carry a token', async () => {
  const server = await loopbackServer(({ method, body }, response) => json(response, { method, body: body.toString() }))
  const client = authenticatedKy(new CountingSource(), { apis: server.origin, prefix: server.origin })
  expect(await client.get('orders').json()).toEqual({ method: 'GET', body: '' })
  expect(await client.post('orders', { json: { a: 1 } }).json()).toEqual({ method: 'POST', body: '{"a":1}' })
  expect(server.requests.map(({ path, headers }) => [path, headers.authorization])).toEqual([
    ['/orders', 'Bearer token-1'],
    ['/orders', 'Bearer token-1'],
  ])
})

test('each retry of ky carries a fresh token and the same body', async () => {
  const server = await loopbackServer((_request, response, count) => json(response, {}, count < 3 ? 503 : 200))
  const client = authenticatedKy(freshSource(), { apis: server.origin, retry })
  await client.put(server.origin, { json: { a: 1 } })
  expect(server.requests.map(({ headers, body }) => [headers.authorization, body.toString()])).toEqual([
    ['Bearer token-1', '{"a":1}'],
    ['Bearer token-2', '{"a":1}'],
    ['Bearer token-3', '{"a":1}'],
  ])
})

test('a refused token is renewed below ky, which sees one answer', async () => {
  const server = await loopbackServer(({ headers }, response) =>
    headers.authorization === 'Bearer token-1' ? response.writeHead(401).end() : json(response, { fine: true }),
  )
  const source = new CountingSource()
  const client = authenticatedKy(source, { apis: server.origin })
  expect(await client.post(server.origin, { json: { a: 1 } }).json()).toEqual({ fine: true })
  expect(server.requests.map(({ body }) => body.toString())).toEqual(['{"a":1}', '{"a":1}'])
  expect(source.refusals).toBe(1)
})

test('a refusal that stays is an HTTPError of ky after two requests', async () => {
  const server = await loopbackServer((_request, response) => response.writeHead(401).end())
  const client = authenticatedKy(new CountingSource(), { apis: server.origin, retry })
  expect(await rejection(client.get(server.origin))).toBeInstanceOf(HTTPError)
  expect(server.requests).toHaveLength(2)
})

test('where no token can be had ky rejects with the typed error, and does not repeat the call', async () => {
  const server = await loopbackServer((_request, response) => json(response, {}))
  for (const error of [
    new LoginRequiredError('login-required', 'nobody is here'),
    new TokenUnavailableError('network', 'fetch failed'),
  ]) {
    let asked = 0
    const source = {
      getAccessToken: async () => {
        asked++
        throw error
      },
    }
    expect(await rejection(authenticatedKy(source, { apis: server.origin, retry }).get(server.origin))).toBe(error)
    expect(asked).toBe(1)
  }
  expect(server.requests).toEqual([])
})

test('options of ky, its hooks, an extended instance and the fetch underneath work together', async () => {
  const sent: Request[] = []
  const hooked: string[] = []
  const client = authenticatedKy(new CountingSource(), {
    apis: 'https://api.example/',
    prefix: 'https://api.example/v1',
    headers: { 'x-own': '1' },
    fetch: async (input, init) => {
      sent.push(new Request(input, init))
      return Response.json({ fine: true })
    },
    hooks: {
      beforeRequest: [({ request }) => void hooked.push(request.url)],
      afterResponse: [({ response }) => void hooked.push(String(response.status))],
    },
  })
  expect(
    await client
      .extend({ headers: { 'x-more': '2' } })
      .get('orders', { searchParams: { a: 'b' } })
      .json(),
  ).toEqual({
    fine: true,
  })
  expect(hooked).toEqual(['https://api.example/v1/orders?a=b', '200'])
  const [request] = sent
  expect(request?.url).toBe('https://api.example/v1/orders?a=b')
  expect(['x-own', 'x-more', 'authorization'].map((name) => request?.headers.get(name))).toEqual([
    '1',
    '2',
    'Bearer token-1',
  ])
})

test('an Authorization header that is set in ky stays, and another host gets no token', async () => {
  const sent: (string | null)[] = []
  const client = authenticatedKy(new CountingSource(), {
    apis: 'https://api.example/',
    fetch: async (input, init) => {
      sent.push(new Request(input, init).headers.get('authorization'))
      return new Response()
    },
  })
  await client.get('https://api.example/', { headers: { authorization: 'Basic b3du' } })
  await client.get('https://api.example.evil.tld/')
  expect(sent).toEqual(['Basic b3du', null])
})

test('ky over authenticatedFetch is the same as authenticatedKy', async () => {
  const server = await loopbackServer((_request, response, count) => json(response, {}, count < 2 ? 503 : 200))
  await ky.create({ fetch: authenticatedFetch(freshSource(), { apis: server.origin }), retry }).get(server.origin)
  expect(server.requests.map(({ headers }) => headers.authorization)).toEqual(['Bearer token-1', 'Bearer token-2'])
})

test('a step-up is below ky, which sees one answer', async () => {
  const server = await loopbackServer(({ headers }, response) =>
    headers.authorization === 'Bearer token-1@more' ? json(response, { fine: true }) : response.writeHead(403).end(),
  )
  const stepUp = async ({ response }: Answered) => (response.status === 403 ? { scope: 'more' } : undefined)
  const client = authenticatedKy(new CountingSource(), { apis: server.origin, stepUp })
  expect(await client.get(server.origin).json()).toEqual({ fine: true })
  expect(server.requests).toHaveLength(2)
})

test('ky does not count how long a person takes, unless it is told to', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const stepUp = async () => {
    await new Promise((agreed) => setTimeout(agreed, 60_000))
    return { scope: 'more' }
  }
  const fetch = async (input: RequestInfo | URL, init?: RequestInit) =>
    new Response('', { status: new Request(input, init).headers.get('authorization') === 'Bearer token-1' ? 403 : 200 })
  const options = { apis: 'https://api.example/', fetch, stepUp }
  const call = (timeout?: number) =>
    authenticatedKy(new CountingSource(), { ...options, ...(timeout && { timeout }) })
      .get('https://api.example/')
      .then(({ status }) => status, String)
  const calls = Promise.all([call(), call(30_000)])
  await vi.advanceTimersByTimeAsync(61_000)
  expect(await calls).toEqual([200, expect.stringContaining('TimeoutError')])
})

test('apis is required', () => {
  expect(() => authenticatedKy(new CountingSource(), { apis: [] })).toThrow(
    expect.objectContaining({ code: 'invalid-options' }),
  )
})
