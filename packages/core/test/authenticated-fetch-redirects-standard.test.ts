import { authenticatedFetch } from '@keyturn/core'
import { expect, test } from 'vitest'
import { CountingSource } from './counting-source.ts'
import { type LoopbackServer, loopbackServer } from './loopback-server.ts'

/** `/to/302/<location>` redirects there, `/count/3` three times, everything else answers with what it was sent. */
const standardServer = () =>
  loopbackServer(({ path }, response) => {
    const [, status, to] = /^\/to\/(\d+)(?:\/([^?#]*))?/.exec(path) ?? []
    const [, left] = /^\/count\/(\d+)/.exec(path) ?? []
    if (status) {
      const location =
        to === undefined ? {} : { location: Buffer.from(decodeURIComponent(to), 'utf8').toString('latin1') }
      return response.writeHead(Number(status), location).end(status === '304' ? undefined : 'moved')
    }
    if (left && left !== '0') return response.writeHead(302, { location: `/count/${Number(left) - 1}` }).end('moved')
    response.end('here')
  })

const to = (status: number, location: string) => `/to/${status}/${encodeURIComponent(location)}`

/** What a call comes to, and what the server saw of it, but for who asks. */
async function outcome(call: typeof fetch, server: LoopbackServer, path: string, init: RequestInit) {
  const before = server.requests.length
  const answer = await call(server.origin + path, init).then(
    async (response) => {
      const { status, redirected, url, type } = response
      const copy = response.clone()
      return { status, redirected, url, type, copied: [copy.redirected, copy.url], text: await response.text() }
    },
    ({ name, message, cause }) => ({ name, message, hasCause: cause instanceof Error }),
  )
  const sent = server.requests.slice(before).map(({ method, path, headers: { authorization, ...headers }, body }) => ({
    method,
    path,
    headers,
    body: body.toString(),
  }))
  return { answer, sent }
}

const bodies: Record<string, () => RequestInit> = {
  GET: () => ({}),
  'GET with headers': () => ({ headers: { 'x-own': '1', 'content-language': 'de' } }),
  HEAD: () => ({ method: 'HEAD' }),
  'POST of a string': () => ({ method: 'POST', body: 'ü', headers: { 'content-language': 'de', 'x-own': '1' } }),
  'POST of a form': () => ({ method: 'POST', body: new URLSearchParams({ a: 'b' }) }),
  'POST without a body': () => ({ method: 'POST' }),
  'PUT of bytes': () => ({ method: 'PUT', body: new Uint8Array([1, 2, 3]) }),
  'PATCH of a Blob': () => ({ method: 'PATCH', body: new Blob(['{}'], { type: 'application/json' }) }),
  DELETE: () => ({ method: 'DELETE' }),
  'PUT of a stream': () => ({ method: 'PUT', body: new Blob(['once']).stream(), duplex: 'half' }) as RequestInit,
  'POST, redirect error': () => ({ method: 'POST', body: 'x', redirect: 'error' }),
  'POST, redirect manual': () => ({ method: 'POST', body: 'x', redirect: 'manual' }),
  'with a fetch that keeps alive': () => ({ method: 'POST', body: 'x', keepalive: true, credentials: 'omit' }),
}

test.each(Object.entries(bodies))('%s is redirected as fetch redirects it', async (_, init) => {
  const server = await standardServer()
  const api = authenticatedFetch(new CountingSource(), { apis: server.origin })
  for (const status of [300, 301, 302, 303, 304, 305, 306, 307, 308]) {
    for (const path of [to(status, '/x?y=1'), to(status, to(302, '/z')), `/to/${status}`]) {
      expect(await outcome(api, server, path, init()), path).toEqual(await outcome(fetch, server, path, init()))
    }
  }
})

test.each([
  '',
  '.',
  '../x',
  'x/y',
  '/x#end',
  '#only',
  '?a=b',
  '/größe/日本',
  '/with space',
  '//[bad',
  'http://[bad',
  'https://',
  'data:text/plain,here',
  'ftp://127.0.0.1/',
  'javascript:1',
  'blob:null/x',
  'about:blank',
  'mailto:a@b',
  '\\x',
  '/\t/x',
])('a redirect to "%s" leads where fetch goes', async (location) => {
  const server = await standardServer()
  const api = authenticatedFetch(new CountingSource(), { apis: server.origin })
  const path = to(302, location)
  expect(await outcome(api, server, path, {})).toEqual(await outcome(fetch, server, path, {}))
  expect(await outcome(api, server, `${path}#mine`, {})).toEqual(await outcome(fetch, server, `${path}#mine`, {}))
})

test('a redirect with a referrer policy of its own sends no referrer on; without, what fetch sends', async () => {
  const other = await standardServer()
  let policy: string | undefined
  const server = await loopbackServer(({ path }, response) => {
    const location = { '/here': '/there', '/away': `${other.origin}/x` }[path]
    if (!location) return response.end('here')
    response.writeHead(307, { location, ...(policy && { 'referrer-policy': policy }) }).end()
  })
  const api = authenticatedFetch(new CountingSource(), { apis: server.origin })
  const init: RequestInit = { referrer: `${server.origin}/from?secret`, referrerPolicy: 'unsafe-url' }
  const referrers = async (call: typeof fetch) => {
    for (const path of ['/here', '/away']) await call(server.origin + path, init)
    return [...server.requests.splice(0), ...other.requests.splice(0)].map(({ headers }) => headers.referer)
  }
  expect(await referrers(api)).toEqual(await referrers(fetch))
  for (policy of ['no-referrer', 'origin', 'unsafe-url, same-origin']) {
    const { referrer } = init
    expect(await referrers(api), policy).toEqual([referrer, undefined, referrer, undefined])
  }
})

test('a request that is to stay at its origin is redirected to no other', async () => {
  const [server, other] = [await standardServer(), await standardServer()]
  const api = authenticatedFetch(new CountingSource(), { apis: [server.origin, other.origin] })
  for (const status of [302, 303, 307]) {
    for (const location of ['/x', `${other.origin}/x`, to(302, `${other.origin}/x`)]) {
      for (const init of [{}, { method: 'POST', body: 'mine' }]) {
        const [path, options]: [string, RequestInit] = [to(status, location), { ...init, mode: 'same-origin' }]
        expect(await outcome(api, server, path, options)).toEqual(await outcome(fetch, server, path, options))
      }
    }
  }
  expect(other.requests).toEqual([])
})

test('twenty redirects are followed, one more is too many', async () => {
  const server = await standardServer()
  const api = authenticatedFetch(new CountingSource(), { apis: server.origin })
  for (const path of ['/count/20', '/count/21']) {
    const got = await outcome(api, server, path, {})
    expect(got).toEqual(await outcome(fetch, server, path, {}))
    expect(got.sent).toHaveLength(21)
  }
})

test('a redirect with user information fails as fetch fails', async () => {
  const server = await standardServer()
  const api = authenticatedFetch(new CountingSource(), { apis: server.origin })
  const { host } = new URL(server.origin)
  for (const location of [`http://u:p@${host}/x`, `http://u@${host}/x`, 'http://u:p@localhost:1/']) {
    const path = to(307, location)
    const got = await outcome(api, server, path, {})
    expect(got).toEqual(await outcome(fetch, server, path, {}))
    expect([got.answer, got.sent.length], location).toMatchObject([{ name: 'TypeError', message: 'fetch failed' }, 1])
  }
})

test('the fragment of an address reaches the last hop of a chain that names none', async () => {
  const urls: string[] = []
  const server = await standardServer()
  const api = authenticatedFetch(new CountingSource(), {
    apis: server.origin,
    fetch: (input, init) => {
      urls.push(new Request(input, init).url.replace(server.origin, ''))
      return fetch(input, init)
    },
  })
  await api(`${server.origin}/count/1#mine`)
  await api(`${server.origin}${to(302, '/x#theirs')}#mine`)
  expect(urls).toEqual(['/count/1#mine', '/count/0#mine', `${to(302, '/x#theirs')}#mine`, '/x#theirs'])
})

test('where a redirect has left its origin no later hop there has a token, even at another API', async () => {
  const [server, other] = [await standardServer(), await standardServer()]
  const api = authenticatedFetch(new CountingSource(), { apis: [server.origin, other.origin] })
  await api(server.origin + to(302, other.origin + to(302, '/x')))
  expect(other.requests.map(({ path, headers }) => [path, headers.authorization])).toEqual([
    [to(302, '/x'), undefined],
    ['/x', undefined],
  ])
})
