import { InvalidCallbackError, memoryTransactions, StoreError } from '@keyturn/core'
import { afterEach, expect, test, vi } from 'vitest'
import { comeBack, REDIRECT_URI, rejection, startApp } from './sign-in-server.ts'

afterEach(() => {
  vi.useRealTimers()
})

test('a login that comes back signs in and gives back what the app gave', async () => {
  const app = startApp()
  const appState = { to: '/orders/7', list: [1, null, 'ünïcödé'] }
  await comeBack(app, {}, appState)
  expect(await app.auth.handleCallback()).toEqual({ appState })
  expect(app.auth.session).toMatchObject({
    status: 'signedIn',
    claims: { sub: 'ada' },
    freshness: 'fresh',
    renewable: true,
  })
  expect(await app.auth.getAccessToken()).toBe('access-token-of-ada')
})

test('one URL is exchanged once, with one result, however often and whenever handleCallback() is called', async () => {
  const app = startApp()
  await comeBack(app, {}, 'deep')
  const replaceUrl = app.page.replaceUrl.bind(app.page)
  const cleaned = vi.spyOn(app.page, 'replaceUrl').mockImplementation(replaceUrl)
  const atOnce = Array.from({ length: 10 }, () => app.auth.handleCallback())
  while (cleaned.mock.calls.length === 0) await new Promise((resolve) => setImmediate(resolve))
  const inBetween = app.auth.handleCallback()
  expect(await Promise.all([...atOnce, inBetween])).toEqual(Array(11).fill({ appState: 'deep' }))
  expect(app.server.tokenRequests).toHaveLength(1)
  expect(app.page.events.filter((event) => event === 'replaceUrl')).toHaveLength(1)
})

test('after the address was cleaned there is nothing to handle', async () => {
  const app = startApp()
  await comeBack(app)
  await app.auth.handleCallback()
  expect(await app.auth.handleCallback()).toBeUndefined()
  expect(await app.auth.handleCallback()).toBeUndefined()
  expect(app.server.tokenRequests).toHaveLength(1)
  expect(app.auth.session.status).toBe('signedIn')
})

test('where the address cannot be cleaned the same URL gives the same result', async () => {
  const app = startApp()
  app.page.replaceUrl = () => {}
  await comeBack(app, {}, 'deep')
  for (let count = 0; count < 3; count++) expect(await app.auth.handleCallback()).toEqual({ appState: 'deep' })
  expect(app.server.tokenRequests).toHaveLength(1)
})

test('a failure is the same failure for everybody who asks for that URL', async () => {
  const app = startApp()
  app.page.replaceUrl = () => {}
  await comeBack(app, { error: 'access_denied' })
  const errors = await Promise.all([rejection(app.auth.handleCallback()), rejection(app.auth.handleCallback())])
  errors.push(await rejection(app.auth.handleCallback()))
  expect(new Set(errors).size).toBe(1)
  expect(errors[0]).toBeInstanceOf(InvalidCallbackError)
})

test("the response leaves the address before anything else runs, and the app's own parameters stay", async () => {
  const order: string[] = []
  const transactions = memoryTransactions()
  const app = startApp({
    redirectUri: `${REDIRECT_URI}?tenant=t1`,
    transactions: {
      ...transactions,
      take: (state) => {
        order.push('take')
        return transactions.take(state)
      },
    },
    fetch: (input, init) => {
      order.push(new URL(new Request(input, init).url).pathname)
      return app.server.fetch(input, init)
    },
  })
  const { replaceUrl } = app.page
  app.page.replaceUrl = (url) => {
    order.push('replaceUrl')
    replaceUrl.call(app.page, url)
  }
  await comeBack(app)
  app.page.url += '&session_state=abc&error_uri=x&code_hint=stays#part'
  order.length = 0
  const handled = app.auth.handleCallback()
  expect(order[0]).toBe('replaceUrl')
  expect(app.page.url).toBe(`${REDIRECT_URI}?tenant=t1&code_hint=stays#part`)
  await handled
  expect(order).toEqual(['replaceUrl', 'take', '/token'])
})

test("the app's own parameters are kept as they were written", async () => {
  const app = startApp()
  const [address, response] = (await comeBack(app)).split('?')
  app.page.url = `${address}?q=a%20b&flag&x=%7E*(1)&${response}`
  await app.auth.handleCallback()
  expect(app.page.url).toBe(`${address}?q=a%20b&flag&x=%7E*(1)`)
})

test('a URL that is no callback is nothing to handle, and the session is known', async () => {
  const urls = [
    'https://app.example/',
    'https://app.example/callback',
    'https://app.example/callback?state=x',
    'https://app.example/other?code=x&state=y',
    'https://app.example/callback/?code=x',
    'http://app.example/callback?code=x',
    'https://app.example:8443/callback?code=x',
    'https://app.example/callback#code=x',
    'about:blank',
    '',
  ]
  for (const url of urls) {
    const { auth, page, server } = startApp()
    await auth.login()
    page.url = url
    expect(await auth.handleCallback(), url).toBeUndefined()
    expect(auth.session.status, url).toBe('signedOut')
    expect(page.url).toBe(url)
    expect(server.tokenRequests).toEqual([])
  }
})

test("somebody else's response is left alone while no login is under way", async () => {
  const foreign = ['code=x', 'code=x&state=theirs', 'error=oops', 'code=x&state=', 'error=no&state=theirs&code=y']
  for (const query of foreign) {
    const { auth, page, server } = startApp()
    page.url = `${REDIRECT_URI}?${query}`
    expect(await auth.handleCallback(), query).toBeUndefined()
    expect(page.events).toEqual([])
    expect(server.requests).toEqual([])
    expect(auth.session.status).toBe('signedOut')
  }
})

test('the response to another client of the same page is left alone, and handled by that client', async () => {
  const [one, other] = [startApp(), startApp({ sessionKey: 'other' })]
  await one.auth.login()
  await comeBack(other, {}, 'of the other')
  one.page.url = other.page.url
  expect(await one.auth.handleCallback()).toBeUndefined()
  expect(one.page.events).toEqual(['navigate'])
  expect(await other.auth.handleCallback()).toEqual({ appState: 'of the other' })
})

test("a login that was given up does not make somebody else's response ours for ever", async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const { auth, page } = startApp()
  await auth.login()
  vi.setSystemTime(Date.now() + 2 * 3_600_000)
  page.url = `${REDIRECT_URI}?code=x&state=theirs`
  expect(await auth.handleCallback()).toBeUndefined()
  expect(page.events).toEqual(['navigate'])
})

test('two logins finish in reverse order, each with its own state', async () => {
  const app = startApp()
  await app.auth.login({ appState: 'first' })
  await app.auth.login({ appState: 'second' })
  for (const [index, appState] of [
    [1, 'second'],
    [0, 'first'],
  ] as const) {
    app.page.url = app.server.authorize(app.page.visited[index] ?? '')
    expect(await app.auth.handleCallback()).toEqual({ appState })
  }
  expect(app.server.tokenRequests).toHaveLength(2)
})

test('a second response that comes while the first is exchanged is handled too', async () => {
  const app = startApp()
  await app.auth.login({ appState: 'first' })
  await app.auth.login({ appState: 'second' })
  const handled = app.page.visited.map((url) => {
    app.page.url = app.server.authorize(url)
    return app.auth.handleCallback()
  })
  expect(await Promise.all(handled)).toEqual([{ appState: 'first' }, { appState: 'second' }])
})

test('when a callback fails, the session is known and an older one goes on', async () => {
  const app = startApp()
  await comeBack(app)
  await app.auth.handleCallback()
  await comeBack(app, { error: 'access_denied' })
  await rejection(app.auth.handleCallback())
  expect(app.auth.session.status).toBe('signedIn')
  const fresh = startApp()
  await comeBack(fresh, { error: 'access_denied' })
  await rejection(fresh.auth.handleCallback())
  expect(fresh.auth.session.status).toBe('signedOut')
})

test('transactions that cannot be read are a typed error, and the session is known', async () => {
  const broken = () => Promise.reject(new Error('blocked'))
  for (const method of ['take', 'pending'] as const) {
    const app = startApp({ transactions: { ...memoryTransactions(), [method]: broken } })
    await comeBack(app)
    if (method === 'pending') app.page.url = `${REDIRECT_URI}?code=x&state=theirs`
    expect(await rejection(app.auth.handleCallback()), method).toBeInstanceOf(StoreError)
    expect(app.auth.session.status, method).toBe('signedOut')
    expect(app.server.tokenRequests).toEqual([])
  }
})

test('transactions that never answer are a typed error after five seconds, of login() too', async () => {
  for (const method of ['put', 'take', 'pending'] as const) {
    const asked = Promise.withResolvers<void>()
    const good = memoryTransactions()
    const transactions = { ...good }
    const app = startApp({ transactions })
    await comeBack(app)
    if (method === 'pending') app.page.url = `${REDIRECT_URI}?code=x&state=theirs`
    transactions[method] = () => {
      asked.resolve()
      return new Promise<never>(() => {})
    }
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const error = rejection(method === 'put' ? app.auth.login() : app.auth.handleCallback())
    await asked.promise
    await vi.advanceTimersByTimeAsync(5001)
    expect(await error, method).toBeInstanceOf(StoreError)
    vi.useRealTimers()
    expect(app.server.tokenRequests).toEqual([])
  }
})

test.each<[string, () => Promise<boolean>]>([
  [
    'throws',
    () => {
      throw new Error('no channel')
    },
  ],
  ['rejects', () => Promise.reject(new DOMException('closed', 'InvalidStateError'))],
  ['never answers', () => new Promise(() => {})],
])('a user agent whose way to other windows %s leaves the answer to the app in this one', async (_, handOver) => {
  vi.useFakeTimers()
  const before = startApp()
  await comeBack(before)
  const app = startApp({ userAgent: Object.assign(before.page, { handOver }) })
  const error = rejection(app.auth.handleCallback())
  await vi.advanceTimersByTimeAsync(5001)
  expect(await error).toMatchObject({ name: 'InvalidCallbackError', code: 'invalid-state' })
})

test('a user agent that cannot replace its address does not lose the login', async () => {
  const app = startApp()
  app.page.replaceUrl = () => {
    throw new DOMException('too many calls', 'SecurityError')
  }
  await comeBack(app, {}, 'deep')
  const settled = await app.auth.handleCallback().catch((error: unknown) => error)
  expect([{ appState: 'deep' }, expect.objectContaining({ code: 'navigation-failed' })]).toContainEqual(settled)
  expect(app.auth.session.status).not.toBe('unknown')
})

test("a server that is out of reach when the login comes back is told, with the app's state", async () => {
  const before = startApp()
  const transactions = memoryTransactions()
  await comeBack({ ...before, auth: startApp({ transactions, userAgent: before.page }).auth }, {}, 'deep')
  const app = startApp({
    transactions,
    userAgent: before.page,
    fetch: () => Promise.reject(new TypeError('fetch failed')),
  })
  const error = await rejection(app.auth.handleCallback())
  expect(error).toBeInstanceOf(InvalidCallbackError)
  expect(error).toMatchObject({ code: 'exchange-failed', appState: 'deep', cause: { code: 'network' } })
  expect(app.auth.session.status).toBe('signedOut')
})

test('a login survives a reload of the page: another flow with the same transactions finishes it', async () => {
  const transactions = memoryTransactions()
  const before = startApp({ transactions })
  await comeBack(before, {}, 'deep')
  const app = startApp({ transactions, userAgent: before.page, fetch: before.server.fetch })
  expect(await app.auth.handleCallback()).toEqual({ appState: 'deep' })
})

test('a query that begins with a question mark of its own stays as it was', async () => {
  const app = startApp()
  const back = new URL(await comeBack(app))
  app.page.url = `${REDIRECT_URI}??=&${back.search.slice(1)}`
  await app.auth.handleCallback()
  expect(app.page.url).toBe(`${REDIRECT_URI}??=`)
})

test('logins that never came back are forgotten after two hours, those of the last two are not', () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const transactions = memoryTransactions()
  const begin = (state: string) => {
    const login = { codeVerifier: 'verifier', issuer: 'https://as.example', redirectUri: REDIRECT_URI }
    void transactions.put(state, { ...login, createdAt: Date.now() })
  }
  begin('abandoned')
  vi.advanceTimersByTime(7_100_000)
  begin('recent')
  vi.advanceTimersByTime(200_000)
  begin('new')
  expect(['abandoned', 'recent', 'new'].filter((state) => transactions.take(state))).toEqual(['recent', 'new'])
})
