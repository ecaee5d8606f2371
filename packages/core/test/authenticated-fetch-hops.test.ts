import { authenticatedFetch, type TokenSource } from '@keyturn/core'
import { expect, test } from 'vitest'
import { CountingSource } from './counting-source.ts'
import { json, type LoopbackServer, loopbackServer } from './loopback-server.ts'

/** Answers each path with a redirect as told, every other with 200. */
const redirecting = (to: Record<string, string>, status = 302) =>
  loopbackServer(({ path }, response) => {
    const location = to[path]
    if (location === undefined) return json(response, { path })
    response.writeHead(status, { location }).end('moved')
  })

const seen = ({ requests }: LoopbackServer) => requests.map(({ path, headers }) => [path, headers.authorization])

/** Signs: each time another proof, and which request it is for. */
function signingSource() {
  const asked: string[] = []
  const source: TokenSource = {
    getAccessToken: () => Promise.reject(new Error('not asked')),
    authorize: async ({ method, url }) => {
      const proof = `${asked.push(`${method} ${new URL(url).pathname}`)}`
      return { accessToken: 'bound', headers: { Authorization: 'DPoP bound', dpop: proof, 'x-signed': 'yes' } }
    },
  }
  return { source, asked }
}

test('a redirect on the same origin out of the path of the API goes on without the token, and back with it', async () => {
  const api = await redirecting({ '/v1/a': '/public', '/public': '/v1/../v1/b' })
  const response = await authenticatedFetch(new CountingSource(), { apis: `${api.origin}/v1/` })(`${api.origin}/v1/a`)
  expect(await response.json()).toEqual({ path: '/v1/b' })
  expect(seen(api)).toEqual([
    ['/v1/a', 'Bearer token-1'],
    ['/public', undefined],
    ['/v1/b', 'Bearer token-1'],
  ])
})

test('a redirect between two APIs of one origin carries to each its own token', async () => {
  const api = await redirecting({ '/orders': '/bills' })
  const apis = [
    { url: `${api.origin}/orders`, resource: 'orders' },
    { url: `${api.origin}/bills`, resource: 'bills' },
  ]
  await authenticatedFetch(new CountingSource(), { apis })(`${api.origin}/orders`)
  expect(seen(api)).toEqual([
    ['/orders', 'Bearer token-1@orders'],
    ['/bills', 'Bearer token-1@bills'],
  ])
})

test('whoever was redirected to another origin brings no token back', async () => {
  let home = ''
  const other = await loopbackServer((_request, response) => response.writeHead(307, { location: `${home}/b` }).end())
  const api = await redirecting({ '/a': `${other.origin}/x` }, 307)
  home = api.origin
  const { source } = signingSource()
  for (const api of [new CountingSource(), source]) {
    await authenticatedFetch(api, { apis: [home, other.origin] })(`${home}/a`, { method: 'POST', body: 'x' })
  }
  expect(seen(api)).toEqual([
    ['/a', 'Bearer token-1'],
    ['/b', undefined],
    ['/a', 'DPoP bound'],
    ['/b', undefined],
  ])
  expect(seen(other)).toEqual([
    ['/x', undefined],
    ['/x', undefined],
  ])
})

test('each hop is signed anew for its own method and address, and nothing of it goes where apis does not say', async () => {
  const other = await loopbackServer((_request, response) => json(response, {}))
  const api = await redirecting({ '/v1/a': '/v1/b', '/v1/b': '/free', '/free': `${other.origin}/` }, 303)
  const { source, asked } = signingSource()
  await authenticatedFetch(source, { apis: `${api.origin}/v1` })(`${api.origin}/v1/a`, {
    method: 'PUT',
    body: 'x',
    headers: { 'x-own': '1', cookie: 'a=b' },
  })
  expect(asked).toEqual(['PUT /v1/a', 'GET /v1/b'])
  const names = ['authorization', 'dpop', 'x-signed', 'x-own', 'cookie']
  const sent = [...api.requests, ...other.requests].map(({ headers }) => names.map((name) => headers[name]))
  expect(sent).toEqual([
    ['DPoP bound', '1', 'yes', '1', 'a=b'],
    ['DPoP bound', '2', 'yes', '1', 'a=b'],
    [undefined, undefined, undefined, '1', 'a=b'],
    [undefined, undefined, undefined, '1', undefined],
  ])
})

test('a GET with headers of its own has each hop signed, and takes those that are for one origin nowhere else', async () => {
  const other = await loopbackServer((_request, response) => json(response, {}))
  const api = await redirecting({ '/a': '/b', '/b': `${other.origin}/` })
  for (const given of [{ 'x-own': '1', cookie: 'a=b', 'proxy-authorization': 'me' }, [['x-own', '1']].values()]) {
    const headers = given as HeadersInit
    await authenticatedFetch(signingSource().source, { apis: api.origin })(`${api.origin}/a`, { headers })
  }
  const names = ['authorization', 'dpop', 'x-own', 'cookie', 'proxy-authorization']
  const sent = [...api.requests, ...other.requests].map(({ headers }) => names.map((name) => headers[name]))
  expect(sent).toEqual([
    ['DPoP bound', '1', '1', 'a=b', 'me'],
    ['DPoP bound', '2', '1', 'a=b', 'me'],
    ['DPoP bound', '1', '1', undefined, undefined],
    ['DPoP bound', '2', '1', undefined, undefined],
    [undefined, undefined, '1', undefined, undefined],
    [undefined, undefined, '1', undefined, undefined],
  ])
})

test('a token that is refused after a redirect is renewed there; what was redirected is not sent again', async () => {
  const api = await loopbackServer(({ path, headers }, response) => {
    if (path === '/create') return response.writeHead(302, { location: '/created/7' }).end()
    if (headers.authorization === 'Bearer token-1') return response.writeHead(401).end()
    json(response, {})
  })
  const call = authenticatedFetch(new CountingSource(), { apis: api.origin })
  expect((await call(`${api.origin}/create`, { method: 'POST', body: 'order' })).status).toBe(200)
  expect(api.requests.map(({ method, path, headers }) => [method, path, headers.authorization])).toEqual([
    ['POST', '/create', 'Bearer token-1'],
    ['GET', '/created/7', 'Bearer token-1'],
    ['GET', '/created/7', 'Bearer token-2'],
  ])
})

test('where a redirect has left a stream behind, a token that is refused is renewed', async () => {
  const api = await loopbackServer(({ path, headers }, response) => {
    if (path === '/create') return response.writeHead(303, { location: '/created/7' }).end()
    if (headers.authorization === 'Bearer token-1') return response.writeHead(401).end()
    json(response, {})
  })
  const init = { method: 'POST', body: new Blob(['once']).stream(), duplex: 'half' } as RequestInit
  const response = await authenticatedFetch(new CountingSource(), { apis: api.origin })(`${api.origin}/create`, init)
  expect(response.status).toBe(200)
  expect(seen(api).map(([path]) => path)).toEqual(['/create', '/created/7', '/created/7'])
})

test('with integrity the platform follows and checks; what is signed is then not redirected', async () => {
  const integrity = 'sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=' // of "abc"
  const api = await loopbackServer(({ path }, response) =>
    path === '/a' ? response.writeHead(302, { location: '/b' }).end() : response.end('abc'),
  )
  const bearer = authenticatedFetch(new CountingSource(), { apis: api.origin })
  expect(await (await bearer(`${api.origin}/a`, { integrity })).text()).toBe('abc')
  const signed = authenticatedFetch(signingSource().source, { apis: api.origin })
  expect(await (await signed(`${api.origin}/b`, { integrity })).text()).toBe('abc')
  await expect(signed(`${api.origin}/a`, { integrity })).rejects.toThrow(TypeError)
  expect(api.requests.map(({ path }) => path)).toEqual(['/a', '/b', '/b', '/a'])
})

test('a signal that aborts between two hops rejects with its reason', async () => {
  const controller = new AbortController()
  const reason = new Error('enough')
  const api = await loopbackServer(({ path }, response) => {
    if (path !== '/a') return json(response, {})
    response.writeHead(307, { location: '/b' }).end()
  })
  const source: TokenSource = {
    getAccessToken: async () => 'never',
    authorize: async ({ url }) => {
      if (url.endsWith('/b')) controller.abort(reason)
      return { accessToken: 'token', headers: {} }
    },
  }
  const call = authenticatedFetch(source, { apis: api.origin })
  await expect(call(`${api.origin}/a`, { method: 'POST', body: 'x', signal: controller.signal })).rejects.toBe(reason)
  expect(api.requests.map(({ path }) => path)).toEqual(['/a'])
})

test('a fetch underneath that hides where it was redirected to makes the call fail, not succeed with nothing', async () => {
  const hidden = Object.defineProperties(new Response(), {
    ok: { value: false },
    type: { value: 'opaqueredirect' },
    status: { value: 0 },
  })
  const call = authenticatedFetch(new CountingSource(), { apis: 'https://api.example/', fetch: async () => hidden })
  await expect(call('https://api.example/')).rejects.toThrow(TypeError)
  expect(await call('https://api.example/', { redirect: 'manual' })).toBe(hidden)
})

test('the body of a redirect is let go, wherever that leads', async () => {
  for (const location of ['/b', 'ftp://api.example/', 'http://[bad']) {
    let isLetGo = false
    const cancel = () => {
      isLetGo = true
    }
    const body = new ReadableStream({ cancel })
    const answers = [new Response(body, { status: 302, headers: { location } }), new Response('here')]
    const fetch = async () => answers.shift() ?? new Response()
    const call = authenticatedFetch(new CountingSource(), { apis: 'https://api.example/', fetch })
    await call('https://api.example/').catch((error: unknown) => expect(error).toBeInstanceOf(TypeError))
    expect(isLetGo, location).toBe(true)
  }
})

test('a stream that is answered with a 303 leaves neither token nor proof on the way that apis does not cover', async () => {
  const other = await loopbackServer((_request, response) => json(response, {}))
  const api = await redirecting({ '/v1/a': '/public', '/v1/b': `${other.origin}/x` }, 303)
  for (const source of [new CountingSource(), signingSource().source]) {
    for (const path of ['/v1/a', '/v1/b']) {
      const init = { method: 'POST', body: new Blob(['once']).stream(), duplex: 'half' } as RequestInit
      await authenticatedFetch(source, { apis: `${api.origin}/v1/` })(`${api.origin}${path}`, init)
    }
  }
  const beyond = [...api.requests.filter(({ path }) => path === '/public'), ...other.requests]
  expect(beyond.map(({ method, headers }) => [method, headers.authorization, headers.dpop])).toEqual(
    Array(4).fill(['GET', undefined, undefined]),
  )
  expect(api.requests.find(({ path }) => path === '/v1/a')?.body.toString()).toBe('once')
})
