import { authenticatedFetch, clientCredentials, type TokenSource } from '@keyturn/core'
import { expect, test } from 'vitest'
import { CountingSource } from './counting-source.ts'
import { rejection } from './sign-in-server.ts'

const API = 'https://api.example/'
const reason = new Error('the user went away')

/** Resolves when `happened` has been called. */
function moment() {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { promise, happened: resolve }
}

/** A real fetch holds its request while it is under way; one that nobody holds never hears of a time-out. */
const underWay = new Set<Request>()

/** Never answers; rejects as fetch does when its signal aborts. */
function hangingFetch(called: () => void): typeof fetch {
  return (input, init) =>
    new Promise((_, reject) => {
      const request = new Request(input, init)
      underWay.add(request)
      const { signal } = request
      signal.addEventListener('abort', () => reject(signal.reason))
      called()
    })
}

const requests = (signal: AbortSignal) =>
  [
    ['in the options', [API, { signal }]],
    ['of a Request', [new Request(API, { signal })]],
  ] as [string, [RequestInfo, RequestInit?]][]

test('a signal that is aborted already rejects with its reason, and asks for no token', async () => {
  for (const [, input] of requests(AbortSignal.abort(reason))) {
    let sent = 0
    const source: TokenSource = {
      getAccessToken: async () => {
        sent++
        return 'token'
      },
    }
    const api = authenticatedFetch(source, { apis: API, fetch: hangingFetch(() => sent++) })
    expect(await rejection(api(...input))).toBe(reason)
    expect(sent).toBe(0)
  }
})

test('a signal that aborts while the token is fetched rejects with its reason, and the others get their token', async () => {
  for (const index of [0, 1]) {
    const controller = new AbortController()
    const [, input] = requests(controller.signal)[index] ?? ['', [API]]
    const asked = moment()
    const answered = moment()
    const source = clientCredentials({
      issuer: 'https://as.example',
      clientId: 'worker',
      discovery: false,
      metadata: { token_endpoint: 'https://as.example/token' },
      fetch: async () => {
        asked.happened()
        await answered.promise
        return Response.json({ access_token: 'good', token_type: 'Bearer' })
      },
    })
    const api = authenticatedFetch(source, { apis: API, fetch: async () => new Response('fine') })
    const failed = rejection(api(...input))
    const other = api(API)
    await asked.promise
    controller.abort(reason)
    expect(await failed).toBe(reason)
    answered.happened()
    expect((await other).status).toBe(200)
    expect(source.stats().tokenRequests).toBe(1)
  }
})

test('a signal that aborts while the API is asked rejects with its reason', async () => {
  for (const index of [0, 1]) {
    const controller = new AbortController()
    const [, input] = requests(controller.signal)[index] ?? ['', [API]]
    const asked = moment()
    const api = authenticatedFetch(new CountingSource(), { apis: API, fetch: hangingFetch(asked.happened) })
    const failed = rejection(api(...input))
    await asked.promise
    controller.abort(reason)
    expect(await failed).toBe(reason)
  }
})

test('a signal that aborts while another token is fetched rejects with its reason, not with the 401', async () => {
  const controller = new AbortController()
  const source: TokenSource = {
    getAccessToken: ({ rejectedToken, signal } = {}) => {
      if (rejectedToken === undefined) return Promise.resolve('first')
      return new Promise((_, reject) => {
        signal?.addEventListener('abort', () => reject(signal.reason))
        controller.abort(reason)
      })
    },
  }
  const api = authenticatedFetch(source, { apis: API, fetch: async () => new Response('', { status: 401 }) })
  expect(await rejection(api(API, { signal: controller.signal }))).toBe(reason)
})

test('a time-out of the platform rejects as that of fetch does', async () => {
  const api = authenticatedFetch(new CountingSource(), { apis: API, fetch: hangingFetch(() => {}) })
  expect(await rejection(api(API, { signal: AbortSignal.timeout(10) }))).toMatchObject({ name: 'TimeoutError' })
})

test('a request that is changed after the call is sent as it was when it was called', async () => {
  const sent: { url: string; method: string; token: string | null }[] = []
  const api = authenticatedFetch(new CountingSource(), {
    apis: 'https://api.example/v1/',
    fetch: async (input, init) => {
      const { url, method, headers } = new Request(input, init)
      sent.push({ url, method, token: headers.get('authorization') })
      return new Response()
    },
  })
  const url = new URL('https://api.example/v1/orders?page=1')
  const init = { method: 'GET' }
  const first = api(url, init)
  url.searchParams.set('page', '2')
  const second = api(url, init)
  url.host = 'evil.example'
  init.method = 'DELETE'
  await Promise.all([first, second])
  expect(sent).toEqual([
    { url: 'https://api.example/v1/orders?page=1', method: 'GET', token: 'Bearer token-1' },
    { url: 'https://api.example/v1/orders?page=2', method: 'GET', token: 'Bearer token-1' },
  ])
})

test('something that reads as another URL every time gets no token to another place', async () => {
  const sent: { url: string; token: string | null }[] = []
  const api = authenticatedFetch(new CountingSource(), {
    apis: API,
    fetch: async (input, init) => {
      const { url, headers } = new Request(input, init)
      sent.push({ url, token: headers.get('authorization') })
      return new Response()
    },
  })
  let reads = 0
  const shifty = { toString: () => (reads++ === 0 ? API : 'https://evil.example/') }
  await api(shifty as unknown as string)
  expect(sent.filter(({ url, token }) => token !== null && !url.startsWith(API))).toEqual([])
})
