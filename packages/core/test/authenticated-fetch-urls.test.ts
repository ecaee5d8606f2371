import { authenticatedFetch } from '@keyturn/core'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { CountingSource } from './counting-source.ts'

const API = 'https://api.example.com/v1/'

/** Which of the URLs the fetch underneath was asked for with a token, and where those really lead. */
async function places(apis: string, urls: readonly string[]) {
  const withToken: string[] = []
  const without: string[] = []
  const reached: URL[] = []
  let current = ''
  const api = authenticatedFetch(new CountingSource(), {
    apis,
    fetch: async (input, init) => {
      const own = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined))
      ;(own.has('authorization') ? withToken : without).push(current)
      if (own.has('authorization')) reached.push(new URL(input instanceof Request ? input.url : input))
      return new Response()
    },
  })
  for (current of urls) await api(current)
  return { withToken, without, reached }
}

const HOSTS = [
  'evil.tld',
  'api.example.com.evil.tld',
  'api.example.com.',
  'api.example.co',
  'xapi.example.com',
  'x.api.example.com',
  'example.com',
  'api-example.com',
  'api.example.com:8443',
  'api.example.com:80',
  'api.example.com:4430',
  'api.example.com@evil.tld',
  'api.example.com:443@evil.tld',
  'api.example.com%2f@evil.tld',
  'user@api.example.com',
  'user:pass@api.example.com',
  ':pass@api.example.com',
  'evil.tld#@api.example.com',
  'evil.tld?@api.example.com',
  'evil.tld\\@api.example.com',
  'evil.tld/@api.example.com',
  'evil.tld/https://api.example.com',
  'api.example.com\t.evil.tld',
  'api.example.com\n.evil.tld',
  'api.examp\u200dle.com',
  'аpi.example.com', // Cyrillic а
  'api.exаmple.com',
  'api.example.ϲom',
  'xn--pi-7kc.example.com',
  'api。example。com.evil。tld',
  'api.example.com。evil.tld',
  'API.EXAMPLE.COM.EVIL.TLD',
  '127.0.0.1',
  'localhost',
  '[::1]',
  '0',
  'api.example.com%00.evil.tld',
  'api.example.com%2eevil.tld',
]

const SCHEMES = [
  'https://',
  'https:',
  'https:\\\\',
  'HTTPS://',
  'https:////',
  ' https://',
  'h\nttps://',
  'http://',
  'wss://',
  'ftp://',
]

const PATHS = [
  '/v1/',
  '/v1/orders',
  '\\v1\\orders',
  '/v1/../v1/x',
  '/v1/?a=https://api.example.com/v1/',
  '/v1/#https://api.example.com/',
]

const OTHER_SCHEMES = [
  'http://api.example.com/v1/',
  'http://api.example.com:443/v1/',
  'ws://api.example.com/v1/',
  'wss://api.example.com/v1/',
  'ftp://api.example.com/v1/',
  'file://api.example.com/v1/',
  'file:///v1/',
  'data:text/plain,https://api.example.com/v1/',
  'blob:https://api.example.com/v1/',
  'blob:https://api.example.com/0f5b1d1e-7c4a-4a8e-9d7c-1b2c3d4e5f60',
  'filesystem:https://api.example.com/v1/',
  'view-source:https://api.example.com/v1/',
  'javascript:fetch("https://api.example.com/v1/")',
  'about:blank',
  'x-https://api.example.com/v1/',
  'urn:https://api.example.com/v1/',
  '/v1/orders',
  '//api.example.com/v1/',
  'v1/orders',
  'api.example.com/v1/',
  '',
  'https://',
  'https:///',
]

const dots = ['..', '%2e%2e', '.%2e', '%2E.', '%2e%2E']
const slashes = ['/', '\\', '%2f', '%2F', '%5c', '%5C']

/** Paths of the right origin that are not below /v1/, or that a server may take for one that is not. */
const ESCAPES = [
  ...[
    '',
    '/',
    '/v2/',
    '/v1x/',
    '/v10/',
    '/v1-/',
    '/V1/',
    '/v%31/',
    '/%76%31/',
    '/v1%2f',
    '/v1%2forders',
    '/v1%5corders',
  ],
  ...['//v1/', '/./../v1x', '/v1/../', '/v1/..', '/v1/%2e%2e', '/v1/.%2e/', '/v1/../v2/', '/x/v1/', '/v1;x/', '/v1.'],
  ...dots.flatMap((dot) =>
    slashes.flatMap((slash) => [`/v1/${dot}${slash}admin`, `/v1/a${slash}${dot}${slash}${dot}${slash}admin`]),
  ),
  ...slashes.flatMap((slash) => [`/v1/a${slash}..${slash}..`, `/v1/a${slash}.${slash}%2e%2e${slash}..${slash}b`]),
].map((path) => `https://api.example.com${path}`)

test('no hostile URL gets a token', async () => {
  const hosts = SCHEMES.flatMap((scheme) => HOSTS.flatMap((host) => PATHS.map((path) => scheme + host + path)))
  const hostile = [...hosts, ...OTHER_SCHEMES, ...ESCAPES]
  expect(hostile.length).toBeGreaterThan(2000)
  const { withToken, without } = await places(API, hostile)
  expect(withToken).toEqual([])
  expect(without).toHaveLength(hostile.length)
})

test.each([
  ['parameters of a path segment', ['/v1/..;/admin', '/v1/..;a=b/admin', '/v1/%2e%2e;/admin', '/v1/a/..;/..;/admin']],
  ['dots that are encoded twice', ['/v1/%252e%252e/admin', '/v1/..%252fadmin', '/v1/%252e%252e%252fadmin']],
])('%s do not lead a token out of its path', async (_, paths) => {
  expect(
    (
      await places(
        API,
        paths.map((path) => `https://api.example.com${path}`),
      )
    ).withToken,
  ).toEqual([])
})

test('no path leads out of an API that is a whole origin', async () => {
  const urls = ['/a/..%2fb', '/..;/admin', '/a/%252e%252e/b'].map((path) => `https://api.example.com${path}`)
  expect((await places('https://api.example.com', urls)).withToken).toEqual(urls)
})

test('every URL of the API gets a token, however it is spelt', async () => {
  const legitimate = [
    'https://api.example.com/v1',
    'https://api.example.com/v1/',
    'https://api.example.com/v1/orders',
    'https://api.example.com/v1/orders/7/lines?page=2&q=a%20b#top',
    'https://api.example.com/v1?x=/../',
    'https://api.example.com/v1#/../',
    'https://api.example.com:443/v1/orders',
    'https://API.Example.COM/v1/orders',
    'HTTPS://api.example.com/v1/orders',
    'https:\\\\api.example.com\\v1\\orders',
    'https:/api.example.com/v1/orders',
    ' https://api.example.com/v1/orders ',
    'https://api.example.com/v2/../v1/orders',
    'https://api.example.com/v1/a/../b',
    'https://api.example.com/v1/./b',
    'https://api.example.com/v1/a/%2e%2e/b',
    'https://api.example.com/v1//orders',
    'https://api.example.com/v1/a%2Fb',
    'https://api.example.com/v1/a%5Cb',
    'https://api.example.com/v1/.well-known/x',
    'https://api.example.com/v1/..hidden',
    'https://api.example.com/v1/a..b/c.',
    'https://api.example.com/v1/...',
    'https://api.example.com/v1/%2Ehidden',
    'https://api.example.com/v1/100%25',
    'https://api.example.com/v1/user@example.org',
    'https://api.example.com/v1/https://evil.tld/',
    'https://api.example.com/v1/a;b=c/d',
    'https://api.example.com/v1/search?url=https://evil.tld/../..',
    'https://api.example.com/v1/größe/日本',
    'https://ap\ti.example.com/v1/',
    'https://api。example。com/v1/',
  ]
  const { withToken } = await places(API, legitimate)
  expect(withToken).toEqual(legitimate)
})

test('what an API with a name in other letters covers is compared after parsing', async () => {
  const apis = 'https://bücher.example/größe'
  const good = [
    'https://bücher.example/größe/1',
    'https://xn--bcher-kva.example/gr%C3%B6%C3%9Fe',
    'https://BÜCHER.example/größe/',
  ]
  const wrong = [
    'https://bucher.example/größe/',
    'https://bücher.example/grosse/',
    'https://bücher.example/gr%c3%b6%c3%9fex',
  ]
  expect((await places(apis, [...good, ...wrong])).withToken).toEqual(good)
})

test('an API on loopback covers its own port and no other spelling of the machine', async () => {
  const apis = 'http://127.0.0.1:8080/'
  const good = ['http://127.0.0.1:8080/x', 'http://127.1:8080/x', 'http://0x7f.1:8080/']
  const wrong = ['http://localhost:8080/', 'http://127.0.0.1/', 'https://127.0.0.1:8080/', 'http://127.0.0.2:8080/']
  expect((await places(apis, [...good, ...wrong])).withToken).toEqual(good)
})

test("whatever is put together from pieces of the API's URL, a token goes below it or nowhere", async () => {
  const piece = fc.constantFrom(
    ...[
      'https:',
      'http:',
      '/',
      '//',
      '\\',
      '.',
      '..',
      '%2e',
      '%2f',
      '%5c',
      ';',
      '@',
      ':',
      '443',
      '8080',
      '?',
      '#',
      '\t',
      '\n',
    ],
    ...[
      'api',
      'example',
      'com',
      'api.example.com',
      'evil.tld',
      'v1',
      'V1',
      'admin',
      '。',
      '%00',
      '%',
      ' ',
      'а',
      '[::1]',
    ],
  )
  const hostile = fc.array(piece, { minLength: 1, maxLength: 9 })
  const prefix = fc.constantFrom('', 'https://', 'https://api.example.com', API, `${API}../`)
  await fc.assert(
    fc.asyncProperty(prefix, hostile, async (start, pieces) => {
      const { reached } = await places(API, [start + pieces.join('')])
      for (const { protocol, host, username, password, pathname } of reached) {
        expect([protocol, host, username, password]).toEqual(['https:', 'api.example.com', '', ''])
        expect(`${asServersResolve(pathname)}/`).toMatch(/^\/v1\//)
      }
    }),
    { numRuns: 3000 },
  )
})

/** The path after a server has decoded it, taken backslashes for slashes and resolved what dots that showed. */
function asServersResolve(pathname: string): string {
  const decoded = pathname.replace(/%2e/gi, '.').replace(/%2f/gi, '/').replace(/%5c/gi, '/').replace(/\\/g, '/')
  const stack: string[] = []
  for (const segment of decoded.split('/').slice(1)) {
    if (segment === '..') stack.pop()
    else if (segment !== '.') stack.push(segment)
  }
  return `/${stack.join('/')}`
}
