import { authenticatedFetch, tokenFetch } from '@keyturn/core'
import { expect, test } from 'vitest'
import { CountingSource } from './counting-source.ts'
import { json, loopbackServer } from './loopback-server.ts'

test.each([301, 302, 303, 307, 308])(
  'a redirect with %i to another origin goes on without the token',
  async (status) => {
    const other = await loopbackServer((_request, response) => json(response, { fine: true }))
    const api = await loopbackServer((_request, response) =>
      response.writeHead(status, { location: `${other.origin}/x` }).end(),
    )
    for (const init of [{}, { method: 'POST', body: 'x' }]) {
      const response = await authenticatedFetch(new CountingSource(), { apis: api.origin })(`${api.origin}/a`, init)
      expect([response.redirected, response.url]).toEqual([true, `${other.origin}/x`])
    }
    expect(api.requests.map(({ headers }) => headers.authorization)).toEqual(['Bearer token-1', 'Bearer token-1'])
    expect(other.requests.map(({ headers }) => headers.authorization)).toEqual([undefined, undefined])
  },
)

test('a refusal by another origin after a redirect is not about our token', async () => {
  const other = await loopbackServer((_request, response) =>
    response.writeHead(401, { 'www-authenticate': 'Bearer' }).end(),
  )
  const api = await loopbackServer((_request, response) => response.writeHead(302, { location: other.origin }).end())
  const source = new CountingSource()
  expect((await authenticatedFetch(source, { apis: api.origin })(api.origin)).status).toBe(401)
  expect(source.refusals).toBe(0)
  expect([api.requests.length, other.requests.length]).toEqual([1, 1])
})

test('where the platform follows by itself, a refusal by another origin is not about our token either', async () => {
  const other = await loopbackServer((_request, response) => response.writeHead(401).end())
  const api = await loopbackServer((_request, response) => response.writeHead(302, { location: other.origin }).end())
  const source = new CountingSource()
  expect((await tokenFetch(source, { apis: api.origin })(api.origin)).status).toBe(401)
  expect([source.refusals, api.requests.length, other.requests.length]).toEqual([0, 1, 1])
})

test('a fetch underneath that reaches the API elsewhere has its refused tokens renewed', async () => {
  const container = await loopbackServer(({ headers }, response) =>
    headers.authorization === 'Bearer token-1' ? response.writeHead(401).end() : json(response, {}),
  )
  const apis = 'https://api.example/'
  for (const make of [authenticatedFetch, tokenFetch]) {
    const call = make(new CountingSource(), { apis, fetch: (_, init) => fetch(container.origin, init) })
    expect((await call(apis)).status).toBe(200)
  }
})

test('a redirect between two APIs does not carry the token of one to the other', async () => {
  const second = await loopbackServer((_request, response) => json(response, {}))
  const first = await loopbackServer((_request, response) => response.writeHead(307, { location: second.origin }).end())
  const apis = [
    { url: first.origin, resource: 'first' },
    { url: second.origin, resource: 'second' },
  ]
  await authenticatedFetch(new CountingSource(), { apis })(first.origin)
  expect(first.requests[0]?.headers.authorization).toBe('Bearer token-1@first')
  expect(second.requests[0]?.headers.authorization).toBeUndefined()
})

test('a redirect within the API keeps the token, and a refusal there is answered by another one, sent there only', async () => {
  const api = await loopbackServer(({ path, headers }, response) => {
    if (path === '/a') return response.writeHead(307, { location: '/b' }).end()
    if (headers.authorization === 'Bearer token-1') return response.writeHead(401).end()
    json(response, {})
  })
  const response = await authenticatedFetch(new CountingSource(), { apis: api.origin })(`${api.origin}/a`, {
    method: 'POST',
    body: 'again',
  })
  expect(response.status).toBe(200)
  expect(api.requests.map(({ path, headers, body }) => [path, headers.authorization, body.toString()])).toEqual([
    ['/a', 'Bearer token-1', 'again'],
    ['/b', 'Bearer token-1', 'again'],
    ['/b', 'Bearer token-2', 'again'],
  ])
})

test('a redirect from elsewhere to an API brings no token there', async () => {
  const api = await loopbackServer((_request, response) => response.writeHead(401).end())
  const elsewhere = await loopbackServer((_request, response) =>
    response.writeHead(302, { location: api.origin }).end(),
  )
  const source = new CountingSource()
  expect((await authenticatedFetch(source, { apis: api.origin })(elsewhere.origin)).status).toBe(401)
  expect(source.asked).toEqual([])
  expect(api.requests).toHaveLength(1)
})
