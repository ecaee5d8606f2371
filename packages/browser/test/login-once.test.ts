import { authorizationCode, loginOnce } from '@keyturn/browser'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { rejection } from './sign-in.ts'

const ISSUER = 'https://as.example'
const CALLBACK = `${location.origin}/`
const HOUR = 3_600_000

beforeEach(() => sessionStorage.clear())
afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

/** One load of a page of the app. */
function load(url = CALLBACK, sessionKey: string = crypto.randomUUID()) {
  const visited: string[] = []
  const auth = authorizationCode({
    issuer: ISSUER,
    clientId: 'spa',
    redirectUri: CALLBACK,
    discovery: false,
    metadata: { authorization_endpoint: `${ISSUER}/authorize`, token_endpoint: `${ISSUER}/token` },
    sessionKey,
    userAgent: { url, navigate: (to) => void visited.push(to), replaceUrl: () => {} },
    fetch: async () => Response.json({ access_token: 'token', token_type: 'Bearer', expires_in: 300 }),
  })
  return { auth, visited }
}

const callback = (address: string | undefined, answer: Record<string, string>) => {
  const state = new URL(`${address}`).searchParams.get('state') ?? ''
  return `${CALLBACK}?${new URLSearchParams({ ...answer, state })}`
}

test('a tab leaves for a login by itself once, and then says so', async () => {
  const first = load()
  await loginOnce(first.auth, { prompt: 'login' })
  expect(first.visited).toEqual([expect.stringContaining('prompt=login')])
  const second = load()
  expect(await rejection(loginOnce(second.auth))).toMatchObject({ code: 'login-repeated', retryable: false })
  expect(second.visited).toEqual([])
})

test("after a login that was refused the server's answer is told, and the tab stays", async () => {
  const app = crypto.randomUUID()
  const first = load(CALLBACK, app)
  await loginOnce(first.auth)
  const second = load(callback(first.visited[0], { error: 'access_denied' }), app)
  expect(await rejection(loginOnce(second.auth))).toMatchObject({ error: 'access_denied' })
  expect(await rejection(loginOnce(second.auth))).toMatchObject({ code: 'login-repeated' })
  expect(second.visited).toEqual([])
})

test('a click may leave at any time, and twenty callers at once leave once', async () => {
  const { auth, visited } = load()
  const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => loginOnce(auth)))
  expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  expect(visited).toHaveLength(1)
  await auth.login()
  expect(visited).toHaveLength(2)
})

test('a tab may leave by itself again after an hour, also where the clock was set back, and whatever is in the storage', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  await loginOnce(load().auth)
  for (const jump of [HOUR, -2 * HOUR]) {
    vi.setSystemTime(Date.now() + jump)
    const later = load()
    await loginOnce(later.auth)
    expect(later.visited).toHaveLength(1)
  }
  for (const key of Object.keys(sessionStorage)) sessionStorage.setItem(key, 'garbage')
  const healed = load()
  await loginOnce(healed.auth)
  expect(healed.visited).toHaveLength(1)
})

test('where somebody is signed in nothing happens, and the tab may leave by itself again later', async () => {
  const app = crypto.randomUUID()
  const first = load(CALLBACK, app)
  await loginOnce(first.auth)
  const second = load(callback(first.visited[0], { code: 'code' }), app)
  await loginOnce(second.auth)
  expect(second.auth.session.status).toBe('signedIn')
  expect(second.visited).toEqual([])
  const later = load()
  await loginOnce(later.auth)
  expect(later.visited).toHaveLength(1)
})

test('where the session storage is blocked nothing is left for', async () => {
  const { auth, visited } = load()
  vi.spyOn(Storage.prototype, 'getItem').mockImplementation(() => {
    throw new DOMException('blocked', 'SecurityError')
  })
  expect(await rejection(loginOnce(auth))).toMatchObject({ name: 'StoreError', code: 'storage' })
  expect(visited).toEqual([])
})

test('a tab that could not leave may try again at its next load', async () => {
  const server = vi.fn<typeof fetch>().mockRejectedValue(new TypeError('fetch failed'))
  const visited: string[] = []
  const auth = authorizationCode({
    issuer: ISSUER,
    clientId: 'spa',
    redirectUri: CALLBACK,
    sessionKey: crypto.randomUUID(),
    userAgent: { url: CALLBACK, navigate: (to) => void visited.push(to), replaceUrl: () => {} },
    fetch: server,
  })
  expect(await rejection(loginOnce(auth))).toMatchObject({ code: 'network' })
  server.mockImplementation(async () =>
    Response.json({ issuer: ISSUER, authorization_endpoint: `${ISSUER}/authorize` }),
  )
  await loginOnce(auth)
  expect(visited).toHaveLength(1)
  expect(await rejection(loginOnce(auth))).toMatchObject({ code: 'login-repeated' })
})
