import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { InvalidCallbackError, memoryStore, OAuthError, StoreError } from '@keyturn/node'
import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import { ada, startWorld } from './loopback-world.ts'

afterEach(() => {
  vi.useRealTimers()
})

const rejection = (promise: Promise<unknown>) =>
  promise.then(
    () => Promise.reject(Error('resolved')),
    (error) => error,
  )

test('a person signs in in the browser that is opened, and the next start needs none', async () => {
  const { server, login, opened, pages } = await startWorld()
  const auth = await login()
  expect(auth.session).toMatchObject({ status: 'signedIn', renewable: true, claims: { sub: 'ada' } })
  expect(opened).toHaveLength(1)
  const page = await pages[0]
  expect([page?.status, await page?.text()]).toEqual([200, expect.stringContaining('You are signed in')])

  const next = await login()
  expect(await next.getAccessToken()).toBe(await auth.getAccessToken())
  expect(opened).toHaveLength(1)
  expect(server.tokenRequests()).toBe(1)
})

test('the answer comes to a port of 127.0.0.1 that is free, and is open no longer than the login', async () => {
  const { login, redirectUri } = await startWorld()
  await login()
  const first = redirectUri()
  expect(first).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/callback$/)
  await expect(fetch(first)).rejects.toMatchObject({ cause: { code: 'ECONNREFUSED' } })
  const taken = createServer().listen(Number(new URL(first).port), '127.0.0.1')
  onTestFinished(() => void taken.close())
  await once(taken, 'listening')
  await login({ store: memoryStore() })
  expect(redirectUri()).not.toBe(first)
})

test('the page loads nothing, is kept nowhere, and shows nothing of the request', async () => {
  const { login, pages } = await startWorld()
  await login()
  const page = await pages[0]
  const html = (await page?.text()) ?? ''
  const values = [...new URL(page?.url ?? '').searchParams.values()]
  expect(values.length).toBeGreaterThan(2)
  expect(values.filter((value) => html.includes(value))).toEqual([])
  expect(html).not.toMatch(/https?:|<script|<img|<link|url\(/)
  expect(page?.headers.get('cache-control')).toBe('no-store')
  expect(page?.headers.get('referrer-policy')).toBe('no-referrer')
  expect(page?.headers.get('content-security-policy')).toMatch(/^default-src 'none'; style-src 'sha256-[\w+/]+='; /)
})

test('all other requests get a 404, and the login goes on', async () => {
  const { login, comeBack, opened, pages } = await startWorld()
  const answers: number[] = []
  const auth = await login({
    async open(url) {
      opened.push(url)
      const callback = await comeBack(url)
      const { origin, port, search } = new URL(callback)
      const stray = new URL(callback)
      stray.searchParams.set('state', `${stray.searchParams.get('state')}x`)
      const others = [
        `${origin}/`,
        `${origin}/callback`,
        `${origin}/callback/${search}`,
        `${origin}/callback?code=spam`,
        `${origin}/callback?error=access_denied&state=spam`,
        `${stray}`,
      ]
      for (const other of others) answers.push((await fetch(other)).status)
      answers.push((await fetch(callback, { method: 'POST' })).status)
      for (const [target, host] of [
        [`/callback${search}`, `evil.example:${port}`],
        [`/callback${search}`, `localhost:${port}`],
        [`//evil.example/callback${search}`, `127.0.0.1:${port}`],
        [`http://evil.example/callback${search}`, `127.0.0.1:${port}`],
      ]) {
        answers.push(await statusOf(Number(port), `GET ${target} HTTP/1.1\r\nhost: ${host}\r\n\r\n`))
      }
      pages.push(fetch(callback))
    },
  })
  expect(answers).toEqual(Array(11).fill(404))
  expect((await pages[0])?.status).toBe(200)
  expect(auth.session.status).toBe('signedIn')
})

test('who says no is not signed in: page and error say so', async () => {
  const { login, comeBack, pages } = await startWorld()
  const open = async (url: string) => {
    pages.push(fetch(await comeBack(url, { ...ada, decision: 'abort' })))
  }
  const error = await rejection(login({ open }))
  expect(error).toBeInstanceOf(InvalidCallbackError)
  expect(error).toMatchObject({ code: 'authorization-refused', error: 'access_denied' })
  const page = await pages[0]
  expect([page?.status, await page?.text()]).toEqual([400, expect.stringContaining('Access was not allowed')])
})

test('a code that cannot be redeemed ends the login; the page says that it failed', async () => {
  const { server, login, comeBack, pages } = await startWorld()
  const open = async (url: string) => {
    const callback = await comeBack(url)
    server.revokeAll()
    pages.push(fetch(callback))
  }
  expect(await rejection(login({ open }))).toMatchObject({ code: 'exchange-failed' })
  const page = await pages[0]
  expect([page?.status, await page?.text()]).toEqual([
    400,
    expect.stringContaining('The program tells what went wrong'),
  ])
})

test('what the login asks for is in the address', async () => {
  const { login, opened } = await startWorld()
  await login({ login: { prompt: 'consent', loginHint: 'ada', parameters: { ui_locales: 'en' } } })
  const asked = Object.fromEntries(new URL(opened[0] ?? '').searchParams)
  expect(asked).toMatchObject({ prompt: 'consent', login_hint: 'ada', ui_locales: 'en', code_challenge_method: 'S256' })
})

test('who does not sign in in time gets a timeout, and nothing listens any more', async () => {
  const { login, opened, redirectUri } = await startWorld()
  const open = (url: string) => void opened.push(url)
  expect(await rejection(login({ open, loginTimeout: 3000 }))).toMatchObject({ code: 'timeout' })
  await expect(fetch(redirectUri())).rejects.toMatchObject({ cause: { code: 'ECONNREFUSED' } })
})

test('by default a person has five minutes', async () => {
  const { login, opened } = await startWorld()
  const timer = vi.spyOn(globalThis, 'setTimeout')
  onTestFinished(() => timer.mockRestore())
  await login()
  expect(opened).toHaveLength(1)
  expect(timer.mock.calls.map(([, ms]) => ms)).toContain(300_000)
})

test.each([0, -1, Number.NaN, 3_600_001])(
  '%d ms for a login are refused before anything is done',
  async (loginTimeout) => {
    const { login, opened } = await startWorld()
    expect(await rejection(login({ loginTimeout }))).toMatchObject({ code: 'invalid-options' })
    expect(opened).toEqual([])
  },
)

test('an aborted signal ends the login with its reason, also before it begins', async () => {
  const { login, opened, redirectUri } = await startWorld()
  const controller = new AbortController()
  const reason = new Error('Ctrl-C')
  const open = (url: string) => {
    opened.push(url)
    controller.abort(reason)
  }
  expect(await rejection(login({ open, signal: controller.signal }))).toBe(reason)
  await expect(fetch(redirectUri())).rejects.toMatchObject({ cause: { code: 'ECONNREFUSED' } })
  expect(await rejection(login({ open, signal: controller.signal }))).toBe(reason)
  expect(opened).toHaveLength(1)
})

test('a login that is aborted while its code is redeemed leaves nobody signed in', async () => {
  const { server, login, comeBack } = await startWorld()
  const controller = new AbortController()
  const store = memoryStore()
  const send: typeof fetch = async (url, init) => {
    const response = await fetch(url, init)
    if (`${init?.body}`.includes('authorization_code')) controller.abort()
    return response
  }
  const open = async (url: string) => void fetch(await comeBack(url)).catch(() => {})
  await rejection(login({ open, store, fetch: send, signal: controller.signal }))
  await expect.poll(() => server.log.filter(({ path }) => path === '/token/revocation').length).toBe(1)
  expect(await rejection(login({ store, open: () => Promise.reject(Error('no browser')) }))).toMatchObject({
    code: 'navigation-failed',
  })
})

test('where no browser can be opened the address is shown, and the person can go there', async () => {
  const { login, comeBack } = await startWorld()
  const open = async () => {
    throw new Error('no display')
  }
  const shown: string[] = []
  const onUrl = async (url: string) => {
    shown.push(url)
    await fetch(await comeBack(url))
  }
  const auth = await login({ open, onUrl })
  expect(auth.session.status).toBe('signedIn')
  expect(shown).toHaveLength(1)
})

test('without anybody to show the address to, a browser that cannot be opened is an error', async () => {
  const { login } = await startWorld()
  const open = () => {
    throw new Error('no display')
  }
  const error = await rejection(login({ open }))
  expect(error).toBeInstanceOf(OAuthError)
  expect(error).toMatchObject({ code: 'navigation-failed', cause: { message: 'no display' } })
  const onUrl = () => Promise.reject(new Error('no terminal'))
  expect(await rejection(login({ open, onUrl }))).toMatchObject({ code: 'callback-failed' })
})

test('a session that the server has ended is not one: the person signs in again', async () => {
  const { server, login, opened } = await startWorld()
  await login()
  server.revokeAll()
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 10_000 })
  const auth = await login()
  expect(opened).toHaveLength(2)
  expect(auth.session.status).toBe('signedIn')
})

test('a session whose server is away is one: nobody is sent to a browser', async () => {
  const { server, login, opened } = await startWorld()
  await login()
  await server.away()
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 10_000 })
  const auth = await login()
  expect(auth.session).toMatchObject({ status: 'signedIn', freshness: 'stale' })
  expect(opened).toHaveLength(1)
})

test('a store that cannot be read is an error, not a reason to sign in', async () => {
  const { login, opened } = await startWorld()
  const get = () => Promise.reject(new StoreError('another key', { retryable: false }))
  const error = await rejection(login({ store: { ...memoryStore(), get }, onWarning: () => {} }))
  expect(error).toMatchObject({ code: 'storage' })
  expect(opened).toEqual([])
})

/** The status that a request gets as it is written. */
function statusOf(port: number, request: string): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>()
  const socket = connect(port, '127.0.0.1', () => socket.write(request))
  socket.once('data', (data) => {
    resolve(Number(/^HTTP\/1.1 (\d+)/.exec(`${data}`)?.[1]))
    socket.destroy()
  })
  return promise
}
