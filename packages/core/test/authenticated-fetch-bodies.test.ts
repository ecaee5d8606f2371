import { Readable } from 'node:stream'
import { authenticatedFetch } from '@keyturn/core'
import { expect, test } from 'vitest'
import { CountingSource } from './counting-source.ts'
import { json, type LoopbackServer, loopbackServer, type Received } from './loopback-server.ts'

/** An API that answers 401 once, and a fetch for it. */
async function refusesOnce() {
  const server = await loopbackServer((_request, response, count) => {
    if (count > 1) return json(response, { fine: true })
    response.writeHead(401, { 'www-authenticate': 'Bearer error="invalid_token"' }).end()
  })
  const source = new CountingSource()
  return { server, source, api: authenticatedFetch(source, { apis: server.origin }) }
}

function bothAttempts({ requests }: LoopbackServer): [Received, Received] {
  const [first, second, ...more] = requests
  if (first === undefined || second === undefined || more.length > 0) throw new Error(`${requests.length} requests`)
  expect(first.headers.authorization).toBe('Bearer token-1')
  expect(second.headers.authorization).toBe('Bearer token-2')
  return [first, second]
}

const bytes = Uint8Array.from({ length: 70_000 }, (_, index) => index % 256)
const form = () => {
  const data = new FormData()
  data.append('text', 'ünïcödé "quoted"')
  data.append('file', new Blob([bytes], { type: 'image/png' }), 'a.png')
  return data
}

test.each<[string, () => BodyInit, string | undefined]>([
  ['a string', () => 'ünïcödé \u0000', 'text/plain;charset=UTF-8'],
  ['an empty string', () => '', 'text/plain;charset=UTF-8'],
  ['a long string', () => 'x'.repeat(1_000_000), 'text/plain;charset=UTF-8'],
  ['a Blob', () => new Blob([bytes], { type: 'image/png' }), 'image/png'],
  ['a Blob without a type', () => new Blob(['a', bytes]), undefined],
  [
    'URLSearchParams',
    () => new URLSearchParams({ a: 'ö ü', b: '&=' }),
    'application/x-www-form-urlencoded;charset=UTF-8',
  ],
  ['an ArrayBuffer', () => bytes.buffer, undefined],
  ['a typed array', () => bytes.subarray(7, 60_000), undefined],
  ['a DataView', () => new DataView(bytes.buffer, 3, 1000), undefined],
  ['a Buffer', () => Buffer.from(bytes.subarray(1, 9)), undefined],
])('%s is sent again byte for byte', async (_, body, contentType) => {
  for (const asRequest of [false, true]) {
    const { server, api } = await refusesOnce()
    const init = { method: 'PUT', body: body(), headers: { 'x-own': '1' } }
    const response = await (asRequest ? api(new Request(`${server.origin}/a`, init)) : api(`${server.origin}/a`, init))
    expect(await response.json()).toEqual({ fine: true })
    const expected = Buffer.from(await new Response(body()).arrayBuffer())
    for (const { method, path, headers, body: received } of bothAttempts(server)) {
      expect([method, path, headers['x-own']]).toEqual(['PUT', '/a', '1'])
      expect(headers['content-type']).toBe(contentType)
      expect(received.equals(expected)).toBe(true)
    }
  }
})

test('a form is sent again with the same boundary', async () => {
  for (const asRequest of [false, true]) {
    const { server, api } = await refusesOnce()
    const init = { method: 'POST', body: form() }
    await (asRequest ? api(new Request(server.origin, init)) : api(server.origin, init))
    const [first, second] = bothAttempts(server)
    expect(second.headers['content-type']).toBe(first.headers['content-type'])
    expect(second.body.equals(first.body)).toBe(true)
    const read = await new Response(new Uint8Array(second.body), {
      headers: { 'content-type': second.headers['content-type'] ?? '' },
    }).formData()
    expect(read.get('text')).toBe('ünïcödé "quoted"')
    expect(Buffer.from(await (read.get('file') as File).arrayBuffer()).equals(Buffer.from(bytes))).toBe(true)
  }
})

test('a content type of the caller is kept', async () => {
  const { server, api } = await refusesOnce()
  await api(server.origin, { method: 'POST', body: '{}', headers: { 'Content-Type': 'application/json' } })
  for (const { headers } of bothAttempts(server)) expect(headers['content-type']).toBe('application/json')
})

test('the length of a body is told as fetch tells it', async () => {
  const { server, api } = await refusesOnce()
  await api(server.origin, { method: 'POST', body: 'seven b' })
  for (const { headers } of bothAttempts(server)) {
    expect([headers['content-length'], headers['transfer-encoding']]).toEqual(['7', undefined])
  }
})

test('a Request and options with another body send that body', async () => {
  const { server, api } = await refusesOnce()
  await api(new Request(server.origin, { method: 'POST', body: 'old' }), { method: 'PATCH', body: 'new' })
  for (const { method, body } of bothAttempts(server)) expect([method, body.toString()]).toEqual(['PATCH', 'new'])
})

test('a body that is changed after the call is sent as it was, both times', async () => {
  const { server, api } = await refusesOnce()
  const body = new Uint8Array([1, 2, 3])
  const parameters = new URLSearchParams('a=1')
  const sending = api(server.origin, { method: 'POST', body })
  body.fill(9)
  await sending
  for (const received of bothAttempts(server)) expect([...received.body]).toEqual([1, 2, 3])
  const other = await refusesOnce()
  const second = other.api(other.server.origin, { method: 'POST', body: parameters })
  parameters.set('a', '2')
  await second
  for (const received of bothAttempts(other.server)) expect(received.body.toString()).toBe('a=1')
})

test('a request without a body is tried again, too', async () => {
  for (const method of ['GET', 'HEAD', 'DELETE', 'OPTIONS', 'PATCH', 'POST']) {
    const { server, api } = await refusesOnce()
    expect((await api(server.origin, { method })).status).toBe(200)
    for (const received of bothAttempts(server)) expect([received.method, received.body.length]).toEqual([method, 0])
  }
})

test.each<[string, () => unknown]>([
  ['a stream', () => new Blob(['once']).stream()],
  ['an async iterable', () => Readable.from([Buffer.from('once')])],
  [
    'a generator',
    async function* () {
      yield Buffer.from('once')
    },
  ],
])('the refusal of a body that can be read once, %s, is the answer', async (_, body) => {
  const { server, source, api } = await refusesOnce()
  const init = { method: 'POST', body: body(), duplex: 'half' } as RequestInit
  const response = await api(server.origin, init)
  expect(response.status).toBe(401)
  expect(server.requests.map(({ body }) => body.toString())).toEqual(['once'])
  expect(source.refusals).toBe(0)
})

test('a Request around a stream is sent again whole or not at all', async () => {
  const { server, api } = await refusesOnce()
  const init = { method: 'POST', body: new Blob(['once']).stream(), duplex: 'half' } as RequestInit
  await api(new Request(server.origin, init))
  for (const { body } of server.requests) expect(body.toString()).toBe('once')
})

test('a Request whose body is used already rejects as fetch does', async () => {
  const { server, api } = await refusesOnce()
  const request = new Request(server.origin, { method: 'POST', body: 'x' })
  await request.text()
  await expect(api(request)).rejects.toThrow(TypeError)
  expect(server.requests).toEqual([])
})

test('a Request with a body is used up by the call, as by fetch', async () => {
  const { server, api } = await refusesOnce()
  const request = new Request(server.origin, { method: 'POST', body: 'x' })
  await api(request)
  expect(request.bodyUsed).toBe(true)
})
