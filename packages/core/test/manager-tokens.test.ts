import {
  clientCredentials,
  type Grant,
  memoryStore,
  OAuthError,
  password,
  refreshToken,
  TokenManager,
} from '@keyturn/core'
import { expect, test } from 'vitest'
import { testAuthorizationServer, USER } from './authorization-server.ts'
import { elapse, HOUR, MINUTE, movedTime, SECOND, settled, sourceAt, troubledStore, turns } from './renewal-harness.ts'

movedTime()

test.each(['get', 'replace', 'lock'])(
  'a store without %s is refused at once, and it is said what to give',
  (missing) => {
    const { options } = sourceAt(testAuthorizationServer())
    const store = { ...memoryStore(), [missing]: undefined } as never
    const expected = {
      code: 'invalid-options',
      message: 'store is no TokenStore',
      fix: 'Give store get, replace and lock.',
    }
    expect(() => clientCredentials({ ...options, store })).toThrow(expect.objectContaining(expected))
    expect(() => clientCredentials({ ...options, store })).toThrow(OAuthError)
  },
)

test('a store that cannot tell of changes is one all the same', () => {
  const { options } = sourceAt(testAuthorizationServer())
  expect(() => clientCredentials({ ...options, store: { ...memoryStore(), watch: undefined } as never })).not.toThrow()
})

test('a thousand tokens besides its own are kept in memory; the oldest go first, and stay in the store', async () => {
  const inner = memoryStore()
  let watching = 0
  const store = {
    ...inner,
    watch(key: string, listener: () => void) {
      watching++
      const stop = inner.watch?.(key, listener)
      return () => {
        watching--
        stop?.()
      }
    },
  }
  const { options } = sourceAt(testAuthorizationServer())
  for (const more of [{}, { store }]) {
    let asked = 0
    const grant: Grant = async () => ({ accessToken: `token-${++asked}`, expiresAt: Date.now() + HOUR })
    const source = new TokenManager(grant, { ...options, ...more })
    const ask = (n: number) => source.getAccessToken({ scope: `scope-${n}` })
    for (let n = 0; n < 1000; n++) await ask(n)
    for (const n of [0, 999]) await ask(n)
    expect(asked).toBe(1000)
    for (const n of [1000, 1]) await ask(n)
    expect(asked).toBe(1001)
    await ask(0)
    expect(asked).toBe('store' in more ? 1001 : 1002)
    expect(watching).toBe('store' in more ? 1000 : 0)
    await source[Symbol.asyncDispose]()
    expect(watching).toBe(0)
  }
})

test('a request for what is the source’s own in other words is no other token', async () => {
  const server = testAuthorizationServer()
  const own = { scope: 'a b', resource: 'https://api.example/', parameters: { audience: 'x' } }
  const source = clientCredentials({ ...sourceAt(server).options, ...own })
  const token = await source.getAccessToken()
  for (const same of [{}, own, { scope: 'b  a' }, { resource: own.resource }, { parameters: own.parameters }]) {
    expect(await source.getAccessToken(same)).toBe(token)
  }
  for (const other of [{ scope: 'a' }, { resource: 'https://other.example/' }, { parameters: { audience: 'y' } }]) {
    expect(await source.getAccessToken(other)).not.toBe(token)
    const { parameters } = server.requests.at(-1) ?? {}
    const { scope, resource } = { ...own, ...other }
    expect(parameters?.get('scope')).toBe(scope)
    expect(parameters?.get('resource')).toBe(resource)
    expect(parameters?.get('audience')).toBe({ ...own, ...other }.parameters.audience)
  }
  expect(server.tokenRequests()).toHaveLength(4)
})

test('calls that need no request are counted, whatever they ask for', async () => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  const served = () => source.stats().tokensServedFromMemory
  await source.getAccessToken({ scope: 'a' })
  expect(served()).toBe(0)
  expect(source.stats()).toMatchObject({ tokenRequests: 1, renewals: 0 })
  await source.getAccessToken({ scope: 'a' })
  expect(served()).toBe(1)
  await source.getTokenSet()
  expect(served()).toBe(1)
  await source.getTokenSet()
  expect(served()).toBe(2)
})

test.each(['getAccessToken', 'getTokenSet'] as const)(
  'a session that is used by %s alone is renewed on and on',
  async (method) => {
    const server = testAuthorizationServer({ lifetime: 100 })
    const source = refreshToken({ ...sourceAt(server).options, refreshToken: server.newRefreshToken() })
    for (let step = 0; step < 60; step++) {
      await source[method]()
      await elapse(10 * SECOND)
    }
    const before = server.tokenRequests().length
    expect(before).toBeGreaterThanOrEqual(6)
    await source[method]()
    await elapse(95 * SECOND)
    expect(server.tokenRequests().length).toBeGreaterThan(before)
  },
)

test('a token set shows neither token where it is logged, and gives both to who asks', async () => {
  const server = testAuthorizationServer()
  const source = password({ ...sourceAt(server).options, ...USER, scope: 'openid' })
  const tokenSet = await source.getTokenSet()
  const shown = Object.keys(JSON.parse(JSON.stringify(tokenSet)))
  expect(shown.sort()).toEqual(['claims', 'expiresAt', 'issuedAt', 'scope', 'tokenType'])
  expect(tokenSet).toMatchObject({ tokenType: 'Bearer', scope: 'openid', expiresAt: Date.now() + HOUR })
  expect(tokenSet.claims?.sub).toBe(USER.username)
  expect(server.accepts(tokenSet.accessToken)).toBe(true)
  expect(tokenSet.idToken?.split('.')).toHaveLength(3)
})

test('a grant of the app’s own asks again, and each of its tokens is on its own', async () => {
  const { store, key, record } = troubledStore()
  const { options } = sourceAt(testAuthorizationServer(), { store })
  let serial = 0
  const grant: Grant = async () => ({ accessToken: `token-${++serial}`, expiresAt: Date.now() + HOUR })
  const source = new TokenManager(grant, options)
  source.subscribe(() => {})
  const first = await source.getAccessToken()
  expect(JSON.parse(key())).toEqual([options.issuer, 'client', 'custom', 'default', '[[],[],[]]'])
  await source.getAccessToken({ scope: 'other' })
  const keys = Object.keys(Object(await store.get(key())).tokens)
  expect(keys).toEqual(['[[],[],[]]'])
  expect(source.session).toMatchObject({ status: 'signedIn', renewable: true })
  await store.replace(key(), Object(await store.get(key())).version, undefined)
  await turns(5)
  expect(source.session.status).toBe('signedIn')
  expect(await source.getAccessToken()).toBe(first)
  expect(record).toBeDefined()
})

test('one session has all its tokens in one record, under the name of whose it is', async () => {
  const { store, key, record } = troubledStore()
  const server = testAuthorizationServer()
  const { options } = sourceAt(server, { store, sessionKey: 'ignored: the username says whose it is' })
  const source = password({ ...options, ...USER })
  await source.getAccessToken()
  await source.getAccessToken({ scope: 'other' })
  expect(JSON.parse(key())).toEqual([server.issuer, 'client', 'password', USER.username])
  expect(Object.keys((await record())?.tokens ?? {})).toHaveLength(2)
})

test('a function that never says whose session it is delays nobody for longer than a time-out', async () => {
  const server = testAuthorizationServer()
  const { options } = sourceAt(server, { timeout: 2 * SECOND })
  const source = password({ ...options, ...USER, username: () => new Promise(() => {}) })
  const { error, after } = await settled(source.getAccessToken(), MINUTE)
  expect(error).toMatchObject({ code: 'timeout', message: expect.stringMatching(/^Nobody says whose session it is/) })
  expect(after).toBeLessThan(10 * SECOND)
})

test('a grant that never answers is given up after three time-outs', async () => {
  const { options } = sourceAt(testAuthorizationServer(), { timeout: 2 * SECOND })
  const source = new TokenManager(() => new Promise(() => {}), options)
  const { error, after } = await settled(source.getAccessToken(), MINUTE)
  expect(error).toMatchObject({ code: 'timeout', message: expect.stringMatching(/^The grant did not answer/) })
  expect(after).toBeGreaterThanOrEqual(6 * SECOND)
  expect(after).toBeLessThan(7 * SECOND)
})
