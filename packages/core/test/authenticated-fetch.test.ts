import {
  type Apis,
  authenticatedFetch,
  clientCredentials,
  LoginRequiredError,
  OAuthError,
  type TokenSource,
  TokenUnavailableError,
} from '@keyturn/core'
import { expect, test } from 'vitest'
import { CountingSource } from './counting-source.ts'
import { rejection } from './sign-in-server.ts'

const API = 'https://api.example/'

/** A fetch that answers as told, by turns, and remembers what it was sent. */
function recorder(...answers: (() => Response)[]) {
  const sent: Request[] = []
  const recording: typeof fetch = async (input, init) => {
    sent.push(new Request(input, init))
    const answer = answers[Math.min(sent.length, answers.length) - 1] ?? (() => new Response('fine'))
    return answer()
  }
  const tokens = () => sent.map(({ headers }) => headers.get('authorization'))
  return { sent, tokens, fetch: recording }
}

const refusal = (challenge?: string) => () =>
  new Response('refused', {
    status: 401,
    ...(challenge !== undefined && { headers: { 'www-authenticate': challenge } }),
  })
const fine = () => new Response('fine')

test('apis is required, and a URL in it is https or loopback without anything after its path, and no pattern', () => {
  const source = new CountingSource()
  const wrong = [undefined, null, [], '', 'api.example', '/orders', 'http://api.example/', 'https://u:p@api.example/']
  const more = [
    'https://api.example/?x=1',
    'https://api.example/#x',
    'https://*.example/',
    'https://api.example/orders/*',
    'javascript:alert(1)',
    'https://',
    '*',
    [undefined],
  ]
  for (const apis of [...wrong, ...more] as Apis[]) {
    expect(() => authenticatedFetch(source, { apis }), String(apis)).toThrow(OAuthError)
  }
  for (const apis of [API, 'http://localhost:8080/v1', 'http://[::1]/', [API, { url: 'https://other.example' }]]) {
    expect(() => authenticatedFetch(source, { apis })).not.toThrow()
  }
})

test('a request to an API carries the token, any other goes as it is', async () => {
  const { fetch, sent, tokens } = recorder()
  const source = new CountingSource()
  const api = authenticatedFetch(source, { apis: API, fetch })
  await api('https://api.example/orders')
  await api(new URL('https://api.example/orders?x=1'))
  await api(new Request('https://api.example/orders', { method: 'DELETE' }))
  await api('https://other.example/', { headers: { 'x-own': '1' } })
  expect(tokens()).toEqual(['Bearer token-1', 'Bearer token-1', 'Bearer token-1', null])
  expect(sent[2]?.method).toBe('DELETE')
  expect(sent[3]?.headers.get('x-own')).toBe('1')
  expect(source.asked).toHaveLength(3)
})

test('a request elsewhere reaches the fetch underneath with the very same arguments', async () => {
  const seen: unknown[] = []
  const underneath: typeof fetch = async (...parameters) => {
    seen.push(...parameters)
    return fine()
  }
  const api = authenticatedFetch(new CountingSource(), { apis: API, fetch: underneath })
  const given = [new Request('https://other.example/', { method: 'POST', body: 'x' }), { headers: { a: 'b' } }] as const
  await api(...given)
  expect(seen[0]).toBe(given[0])
  expect(seen[1]).toBe(given[1])
})

test('the most specific API decides which token it is, in whatever order they are named', async () => {
  const apis = [
    { url: 'https://api.example/', resource: 'root' },
    { url: 'https://api.example/v1/orders/', resource: 'orders', scope: 'read' },
    { url: 'https://api.example/v1', resource: 'v1', parameters: { audience: 'a' } },
  ]
  for (const order of [apis, [...apis].reverse()]) {
    const { fetch, tokens } = recorder()
    const source = new CountingSource()
    const api = authenticatedFetch(source, { apis: order, fetch })
    for (const path of ['', 'v1', 'v1/', 'v1/orders', 'v1/orders/7', 'v1/ordersX', 'v12']) await api(API + path)
    const expected = ['root', 'v1', 'v1', 'orders@read', 'orders@read', 'v1', 'root']
    expect(tokens()).toEqual(expected.map((which) => `Bearer token-1@${which}`))
    expect(source.asked[1]?.parameters).toEqual({ audience: 'a' })
  }
})

test('an Authorization header of the caller is never replaced', async () => {
  const { fetch, tokens } = recorder(refusal('Bearer'))
  const source = new CountingSource()
  const api = authenticatedFetch(source, { apis: API, fetch })
  const own = 'Basic b3du'
  await api(API, { headers: { AUTHORIZATION: own } })
  await api(API, { headers: [['authorization', own]] })
  await api(API, { headers: new Headers({ authorization: own }) })
  await api(new Request(API, { headers: { authorization: own } }))
  await api(new Request(API, { headers: { authorization: own } }), { method: 'PUT' })
  expect(tokens()).toEqual(Array(5).fill(own))
  expect(source.asked).toEqual([])
})

test('all other headers and options of the request stay as they are, at both attempts', async () => {
  const { fetch, sent } = recorder(refusal(), fine)
  const api = authenticatedFetch(new CountingSource(), { apis: API, fetch })
  await api(new Request(API, { headers: { a: '1', b: '2' }, cache: 'no-store', credentials: 'omit' }), {
    headers: { a: '3' },
    redirect: 'manual',
  })
  expect(sent).toHaveLength(2)
  for (const { headers, cache, credentials, redirect } of sent) {
    expect([headers.get('a'), headers.get('b')]).toEqual(['3', null])
    expect({ cache, credentials, redirect }).toEqual({ cache: 'no-store', credentials: 'omit', redirect: 'manual' })
  }
})

test('a refused token is reported, and the request tried once more with another', async () => {
  const { fetch, tokens } = recorder(refusal('Bearer error="invalid_token"'), fine)
  const source = new CountingSource()
  const response = await authenticatedFetch(source, { apis: API, fetch })(API)
  expect(await response.text()).toBe('fine')
  expect(tokens()).toEqual(['Bearer token-1', 'Bearer token-2'])
  expect(source.asked[1]).toMatchObject({ rejectedToken: 'token-1' })
})

test('whatever comes after the second attempt is the answer: no loop', async () => {
  const { fetch, tokens } = recorder(refusal('Bearer'))
  const response = await authenticatedFetch(new CountingSource(), { apis: API, fetch })(API)
  expect(response.status).toBe(401)
  expect(await response.text()).toBe('refused')
  expect(tokens()).toEqual(['Bearer token-1', 'Bearer token-2'])
})

test('where there is no other token the refusal is the answer, and can be read', async () => {
  const sources: TokenSource[] = [
    { getAccessToken: async () => 'always the same' },
    {
      getAccessToken: async ({ rejectedToken } = {}) => {
        if (rejectedToken === undefined) return 'first'
        throw new TokenUnavailableError('network', 'gone')
      },
    },
    {
      getAccessToken: async ({ rejectedToken } = {}) => {
        if (rejectedToken === undefined) return 'first'
        throw new LoginRequiredError('session-ended', 'over')
      },
    },
  ]
  for (const source of sources) {
    const { fetch, sent } = recorder(refusal('Bearer'))
    const response = await authenticatedFetch(source, { apis: API, fetch })(API)
    expect(response.status).toBe(401)
    expect(await response.text()).toBe('refused')
    expect(sent).toHaveLength(1)
  }
})

test.each([
  'Bearer',
  'bearer realm="x"',
  'BEARER error="invalid_token", error_description="expired"',
  'DPoP algs="ES256"',
  'Basic realm="x", Bearer realm="y"',
  'Basic realm="a \\" b", Bearer',
  'error="invalid_token"',
  'realm="x"',
  '',
  undefined,
])('the challenge %s is ours', async (challenge) => {
  const { fetch, sent } = recorder(refusal(challenge), fine)
  await authenticatedFetch(new CountingSource(), { apis: API, fetch })(API)
  expect(sent).toHaveLength(2)
})

test.each([
  'Basic realm="x"',
  'Basic',
  'Negotiate',
  'Negotiate YII=',
  'NTLM, Negotiate',
  'Digest realm="x", qop="auth", nonce="n"',
  'BearerX realm="x"',
  'X-Bearer realm="x"',
  'Basic realm="the bearer of this"',
  'Basic realm="for staff, Bearer of keys"',
])('the challenge %s is not ours: the answer is returned', async (challenge) => {
  const { fetch, sent } = recorder(refusal(challenge))
  const source = new CountingSource()
  expect((await authenticatedFetch(source, { apis: API, fetch })(API)).status).toBe(401)
  expect(sent).toHaveLength(1)
  expect(source.refusals).toBe(0)
})

test('no status but 401 asks for another token, and none makes fetch reject', async () => {
  for (const status of [200, 204, 304, 400, 403, 404, 407, 429, 500, 503]) {
    const answer = () => new Response(undefined, { status, headers: { 'www-authenticate': 'Bearer' } })
    const { fetch, sent } = recorder(answer)
    expect((await authenticatedFetch(new CountingSource(), { apis: API, fetch })(API)).status).toBe(status)
    expect(sent).toHaveLength(1)
  }
})

test('the Response is the one that came from underneath', async () => {
  const response = new Response('x', { headers: { 'x-theirs': '1' } })
  const { fetch } = recorder(() => response)
  expect(await authenticatedFetch(new CountingSource(), { apis: API, fetch })(API)).toBe(response)
})

test('an error of the fetch underneath comes through as it is, and is not tried again', async () => {
  const failure = new TypeError('fetch failed')
  const { fetch, sent } = recorder(() => {
    throw failure
  })
  expect(await rejection(authenticatedFetch(new CountingSource(), { apis: API, fetch })(API))).toBe(failure)
  expect(sent).toHaveLength(1)
})

test('where no token can be had, fetch rejects with the typed error, and nothing is sent', async () => {
  const { fetch, sent } = recorder()
  const source = clientCredentials({
    issuer: 'https://as.example',
    clientId: 'worker',
    clientSecret: 's3cret',
    fetch: () => Promise.reject(new TypeError('fetch failed')),
  })
  const error = await rejection(authenticatedFetch(source, { apis: API, fetch })(API))
  expect(error).toBeInstanceOf(TokenUnavailableError)
  expect(error).toMatchObject({ code: 'network', retryable: true })
  expect(sent).toEqual([])
})
