import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileStore, memoryStore, StoreError, type TokenStore } from '@keyturn/node'
import { afterAll, afterEach, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import type { AuthorizationServer } from '../../../examples/playground/src/authorization-server.ts'
import { ISSUER, SignInServer } from '../../core/test/sign-in-server.ts'
import { startServer, startSessions, Visitor } from './web-app.ts'

let server: AuthorizationServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server.stop())
afterEach(() => {
  vi.useRealTimers()
})

const refreshes = () => server.tokenRequests({ grantType: 'refresh_token' })

function temporaryFile(): string {
  const folder = mkdtempSync(join(tmpdir(), 'keyturn-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  return join(folder, 'sessions.json')
}

/** A store that can fail, and tells how many watch it. */
function observed(store = memoryStore()) {
  const state = { watchers: 0, fails: false }
  const checked = () => {
    if (state.fails) throw new Error('the disk is gone')
    return store
  }
  const whole: TokenStore = {
    get: async (key) => checked().get(key),
    replace: async (key, expected, next) => checked().replace(key, expected, next),
    lock: async (key, critical, duration) => checked().lock(key, critical, duration),
    watch(key, listener) {
      state.watchers++
      const unwatch = store.watch?.(key, listener)
      return () => {
        state.watchers--
        unwatch?.()
      }
    },
  }
  return { state, store: whole }
}

/** An authorization server in memory: no socket of its own, and quick. */
function withoutNetwork(store: TokenStore) {
  const fake = new SignInServer()
  const options = { store, fetch: fake.fetch, clientId: 'app', clientSecret: undefined }
  return { fake, sessions: startSessions({ issuer: ISSUER }, options) }
}

test('fifty requests of one person at once, to two processes, renew once', async () => {
  vi.useFakeTimers({ toFake: ['Date', 'performance'] })
  const path = temporaryFile()
  const processes = [
    startSessions(server, { store: fileStore(path) }),
    startSessions(server, { store: fileStore(path) }),
  ]
  const visitor = new Visitor()
  const { auth } = await visitor.signIn(processes[0] ?? startSessions(server))
  const before = await auth?.getAccessToken()
  vi.advanceTimersByTime(60_000)
  const sent = refreshes()
  const tokens = await Promise.all(
    [...Array(50).keys()].map(async (i) => {
      const found = await processes[i % 2]?.of(visitor.request())
      return found?.getAccessToken()
    }),
  )
  expect(new Set(tokens).size).toBe(1)
  expect(tokens[0]).not.toBe(before)
  expect([refreshes() - sent, server.reuses]).toEqual([1, 0])
})

test('a restart signs nobody out, and asks the server for nothing', async () => {
  const path = temporaryFile()
  const key = new Uint8Array(32).fill(1)
  const visitor = new Visitor()
  const { auth } = await visitor.signIn(startSessions(server, { store: fileStore(path, { key }) }))
  const sent = server.log.length
  const after = await startSessions(server, { store: fileStore(path, { key }) }).of(visitor.request())
  expect(await after?.getAccessToken()).toBe(await auth?.getAccessToken())
  expect(server.log.length).toBe(sent)
})

test('a login survives a restart of the server: it is in the browser', async () => {
  const store = memoryStore()
  const visitor = new Visitor()
  const address = await visitor.comeBack(startSessions(server, { store }))
  expect(await visitor.arrive(startSessions(server, { store }), address)).toHaveProperty('auth')
})

test('who is idle for ten minutes costs no timer and no watcher, and is signed in all the same', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  const { state, store } = observed()
  const sessions = startSessions(server, { store })
  const visitors = [new Visitor(), new Visitor()] as const
  for (const visitor of visitors) await visitor.signIn(sessions)
  expect(state.watchers).toBe(2)
  await vi.advanceTimersByTimeAsync(599_000)
  const auth = await sessions.of(visitors[0].request())
  expect(await sessions.of(visitors[0].request())).toBe(auth)
  await vi.advanceTimersByTimeAsync(1_000)
  expect(state.watchers).toBe(1)
  await vi.advanceTimersByTimeAsync(1_200_000)
  expect([state.watchers, vi.getTimerCount()]).toEqual([0, 0])
  expect(await visitors[0].name(sessions)).toBe('ada')
  expect(state.watchers).toBe(1)
  await sessions[Symbol.asyncDispose]()
  expect([state.watchers, vi.getTimerCount()]).toEqual([0, 0])
})

/** The timers that are set from now on for longer than anybody waits for an answer, and those that are stopped. */
function observedTimers() {
  const [set, stopped] = [vi.spyOn(globalThis, 'setTimeout'), vi.spyOn(globalThis, 'clearTimeout')]
  onTestFinished(() => {
    set.mockRestore()
    stopped.mockRestore()
  })
  const long = () => set.mock.results.filter((_, i) => Number(set.mock.calls[i]?.[1]) > 40_000)
  return { set: () => long().map(({ value }) => value), stopped: () => stopped.mock.calls.map(([timer]) => timer) }
}

test('no timer of a session keeps the process alive', async () => {
  const timers = observedTimers()
  await new Visitor().signIn(startSessions(server))
  expect(timers.set().map((timer) => timer.hasRef())).toEqual([false, false]) // its renewal, its idleness
})

test('a session in a store that tells of no changes costs no timer', async () => {
  const timers = observedTimers()
  const { get, replace, lock } = memoryStore()
  const sessions = startSessions(server, { store: { get, replace, lock } })
  const visitor = new Visitor()
  await visitor.signIn(sessions)
  await (await sessions.of(visitor.request()))?.getAccessToken()
  expect(timers.set()).toHaveLength(1)
  expect(timers.stopped()).toEqual(expect.arrayContaining(timers.set()))
})

test('a renewal that a store could not take is written later, also where the store tells of no changes', async () => {
  vi.useFakeTimers({ toFake: ['Date', 'performance'] })
  const { get, replace, lock } = memoryStore()
  let fails = false
  const store: TokenStore = {
    get,
    lock,
    async replace(key, expected, next) {
      if (fails && next?.sending === undefined) throw new Error('the disk is full')
      return replace(key, expected, next)
    },
  }
  const sessions = startSessions(server, { store })
  const visitor = new Visitor()
  await visitor.signIn(sessions)
  vi.advanceTimersByTime(60_000)
  const reuses = server.reuses
  fails = true
  const token = await (await sessions.of(visitor.request()))?.getAccessToken()
  fails = false
  expect(await (await sessions.of(visitor.request()))?.getAccessToken()).toBe(token)
  expect(server.reuses).toBe(reuses)
})

test('logins that came to nothing, addresses without a response and sign-outs leave no watcher', async () => {
  const { state, store } = observed()
  const sessions = startSessions(server, { store })
  const visitor = new Visitor()
  await visitor.arrive(sessions, '/callback')
  await new Visitor().arrive(sessions, await visitor.comeBack(sessions))
  expect(state.watchers).toBe(0)
  await visitor.signIn(sessions)
  await visitor.signIn(sessions)
  expect(state.watchers).toBe(1)
  await visitor.signOut(sessions)
  expect(state.watchers).toBe(0)
})

test('however many are here, a thousand managers at most are kept, discovery is asked once, and all are signed in', async () => {
  const { state, store } = observed()
  const { fake, sessions } = withoutNetwork(store)
  const visitors = [...Array(1010).keys()].map(() => new Visitor())
  for (const visitor of visitors) await visitor.arrive(sessions, fake.authorize(await visitor.leave(sessions)))
  expect(state.watchers).toBe(1000)
  expect(fake.requests.filter(({ path }) => path.startsWith('/.well-known/'))).toHaveLength(1)
  expect(await Promise.all(visitors.slice(0, 20).map((visitor) => visitor.name(sessions)))).toEqual(
    Array(20).fill('ada'),
  )
  expect(state.watchers).toBe(1000)
}, 60_000)

test('while the store fails those who are here are served, and of others it is told that nobody knows', async () => {
  const { state, store } = observed()
  const [here, there] = [startSessions(server, { store }), startSessions(server, { store })]
  const visitor = new Visitor()
  const { auth } = await visitor.signIn(here)
  const token = await auth?.getAccessToken()
  state.fails = true
  expect(await (await here.of(visitor.request()))?.getAccessToken()).toBe(token)
  const error = await there.of(visitor.request()).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(StoreError)
  expect(error).toMatchObject({ retryable: true, cause: { message: 'the disk is gone' } })
  state.fails = false
  expect(await visitor.name(there)).toBe('ada')
})

test('a response that comes while the store fails can be sent again', async () => {
  const { state, store } = observed()
  const sessions = startSessions(server, { store })
  const visitor = new Visitor()
  const address = await visitor.comeBack(sessions)
  state.fails = true
  const error = await sessions.handleCallback(visitor.request(address)).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(StoreError)
  expect(error).toMatchObject({ message: 'The sessions cannot be read', cause: { message: 'the disk is gone' } })
  state.fails = false
  expect(await visitor.arrive(sessions, address)).toHaveProperty('auth')
})

test('who signs out while the store fails is signed out here at once, and in the store when it works again', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  const { state, store } = observed()
  const [here, there] = [startSessions(server, { store }), startSessions(server, { store })]
  const visitor = new Visitor()
  await visitor.signIn(here)
  const old = visitor.copy()
  state.fails = true
  expect((await visitor.signOut(here)).status).toBe(303)
  expect(visitor.cookies.size).toBe(0)
  expect(await old.name(here)).toBeUndefined()
  state.fails = false
  await vi.advanceTimersByTimeAsync(60_000)
  expect(await old.name(there)).toBeUndefined()
})

test('what is wrong for all is said once, not once a person', async () => {
  const { fake, sessions } = withoutNetwork(memoryStore())
  fake.tokenResponse = ({ refresh_token, ...body }) => body
  for (const visitor of [new Visitor(), new Visitor(), new Visitor()]) {
    await visitor.arrive(sessions, fake.authorize(await visitor.leave(sessions)))
  }
  expect(sessions.warnings).toEqual([expect.stringContaining('no refresh token')])
})
