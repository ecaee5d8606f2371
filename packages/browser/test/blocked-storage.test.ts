import { dpop, StoreError } from '@keyturn/browser'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { commands } from 'vitest/browser'
import { rejection, startApp } from './sign-in.ts'
import { forgetAll } from './tabs.ts'

let issuer = ''
beforeAll(async () => {
  issuer = await commands.startServer(1)
})
afterAll(() => commands.stopServer())
afterEach(async () => {
  vi.unstubAllGlobals()
  vi.restoreAllMocks()
  sessionStorage.clear()
  await forgetAll()
})

const denied = () => {
  throw new DOMException('The operation is insecure.', 'SecurityError')
}
const never = () => new Promise<never>(() => {})

/** Five seconds for a storage call are long for a test. (The ten of a request are not touched, for requests are real.) */
function hurry() {
  const wait = globalThis.setTimeout
  vi.stubGlobal('setTimeout', (work: () => void, ms = 0) => wait(work, ms < 5000 || ms === 10_000 ? ms : ms / 20))
}

const blocked: Record<string, () => void> = {
  'is missing': () => vi.stubGlobal('indexedDB', undefined),
  'throws when it is opened': () => vi.stubGlobal('indexedDB', { open: denied }),
  'fails to open': () =>
    vi.stubGlobal('indexedDB', {
      open() {
        const request = { error: new DOMException('no', 'UnknownError'), onerror: () => {} }
        setTimeout(() => request.onerror())
        return request
      },
    }),
  'never opens': () => {
    hurry()
    vi.stubGlobal('indexedDB', { open: () => ({}) })
  },
  'is full': () => {
    vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(() => {
      throw new DOMException('full', 'QuotaExceededError')
    })
  },
  'is full when it comes to the commit': () => {
    const { put } = IDBObjectStore.prototype
    vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(function (this: IDBObjectStore, ...args) {
      const request = put.apply(this, args)
      this.transaction.abort()
      return request
    })
  },
  'is blocked together with locks and channels': () => {
    vi.stubGlobal('indexedDB', { open: denied })
    vi.stubGlobal('BroadcastChannel', denied)
    vi.spyOn(navigator.locks, 'request').mockRejectedValue(new DOMException('denied', 'SecurityError'))
    vi.spyOn(navigator.locks, 'query').mockRejectedValue(new DOMException('denied', 'SecurityError'))
  },
}

for (const [how, block] of Object.entries(blocked)) {
  test(`IndexedDB ${how}: the session lives in memory, renews there, and that is said once`, async () => {
    block()
    const { auth, warnings, signIn } = startApp(issuer)
    await signIn()
    expect(auth.session).toMatchObject({ status: 'signedIn', claims: { sub: 'ada' }, renewable: true })
    const tokens = [await auth.getAccessToken()]
    tokens.push(await auth.getAccessToken({ rejectedToken: tokens[0] }))
    await new Promise((resolve) => setTimeout(resolve, 1100)) // it expires
    tokens.push(await auth.getAccessToken())
    expect(new Set(tokens).size).toBe(3)
    expect(auth.session).toMatchObject({ status: 'signedIn', freshness: 'fresh' })
    expect(await commands.reuses()).toBe(0)
    expect(warnings).toHaveLength(1)
    await auth.logout({ endSession: false })
    expect(auth.session).toMatchObject({ status: 'signedOut' })
    expect(await rejection(auth.getAccessToken())).toMatchObject({ name: 'LoginRequiredError' })
    await auth[Symbol.asyncDispose]()
  })
}

test.each(['is missing', 'is full'])('IndexedDB %s: a key lives in memory too, and no login names it', async (how) => {
  blocked[how]?.()
  const { auth, visited, signIn } = startApp(issuer, { clientId: 'spa-dpop', dpop: dpop() })
  await signIn()
  expect(new URL(visited[0] ?? '').searchParams.has('dpop_jkt')).toBe(false)
  const token = await auth.getAccessToken()
  expect(await auth.getAccessToken({ rejectedToken: token })).not.toBe(token)
  expect(await auth.getTokenSet()).toMatchObject({ tokenType: 'DPoP' })
  await auth[Symbol.asyncDispose]()
})

test('a database that hangs: however long that lasts, no refresh token is spent twice', async () => {
  blocked['never opens']?.()
  const { auth, signIn } = startApp(issuer)
  await signIn()
  const tokens = new Set<string>()
  for (const end = performance.now() + 5000; performance.now() < end || tokens.size < 4; ) {
    tokens.add(await auth.getAccessToken())
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  expect(await commands.reuses()).toBe(0)
  await auth.getAccessToken()
  expect(auth.session).toMatchObject({ status: 'signedIn', freshness: 'fresh' })
  await auth[Symbol.asyncDispose]()
})

test('locks that never come: the session goes on, and is stored', async () => {
  vi.spyOn(navigator.locks, 'request').mockImplementation(never)
  const { auth, signIn } = startApp(issuer, { timeout: 1000 })
  await signIn()
  const token = await auth.getAccessToken()
  const start = performance.now()
  expect(await rejection(auth.getAccessToken({ rejectedToken: token }))).toMatchObject({ retryable: true })
  expect(performance.now() - start).toBeLessThan(6500)
  expect(auth.session).toMatchObject({ status: 'signedIn' })
  vi.restoreAllMocks()
  expect(await auth.getAccessToken({ rejectedToken: token })).not.toBe(token)
  await auth[Symbol.asyncDispose]()
})

test('what could not be stored is stored as soon as it can be', async () => {
  const put = vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(() => {
    throw new DOMException('full', 'QuotaExceededError')
  })
  const sessionKey = 'stored later'
  const here = startApp(issuer, { sessionKey })
  await here.signIn()
  put.mockRestore()
  const there = startApp(issuer, { sessionKey })
  await there.auth.handleCallback()
  await vi.waitFor(() => expect(there.auth.session).toMatchObject({ status: 'signedIn' }), { timeout: 8000 })
  await here.auth[Symbol.asyncDispose]()
  await there.auth[Symbol.asyncDispose]()
})

test('session storage blocked: login() rejects before it navigates', async () => {
  for (const block of [
    () => vi.stubGlobal('sessionStorage', undefined),
    () => vi.spyOn(Storage.prototype, 'setItem').mockImplementation(denied),
    () => vi.spyOn(globalThis, 'sessionStorage', 'get').mockImplementation(denied),
  ]) {
    block()
    const { auth, visited } = startApp(issuer)
    const error = await rejection(auth.login())
    expect(error).toBeInstanceOf(StoreError)
    expect(error).toMatchObject({ code: 'storage', fix: expect.any(String) })
    expect(visited).toEqual([])
    vi.unstubAllGlobals()
    vi.restoreAllMocks()
  }
})

test('session storage blocked: a page with no answer in its address starts as ever', async () => {
  vi.spyOn(globalThis, 'sessionStorage', 'get').mockImplementation(denied)
  const { auth } = startApp(issuer)
  expect(await auth.handleCallback()).toBeUndefined()
  expect(auth.session).toEqual({ status: 'signedOut' })
})

test('options that are given as undefined leave the defaults of a browser in place', async () => {
  const sessionKey = 'kept in the database'
  const here = startApp(issuer, { sessionKey, store: undefined, transactions: undefined })
  await here.signIn()
  const there = startApp(issuer, { sessionKey })
  await there.auth.handleCallback()
  expect(there.auth.session).toMatchObject({ status: 'signedIn' })
})
