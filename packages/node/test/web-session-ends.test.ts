import { memoryStore, type TokenStore } from '@keyturn/node'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import type { AuthorizationServer } from '../../../examples/playground/src/authorization-server.ts'
import { ORIGIN, startServer, startSessions, Visitor } from './web-app.ts'

let server: AuthorizationServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server.stop())
afterEach(() => {
  vi.useRealTimers()
})

const revocations = () => server.log.filter(({ path }) => path === '/token/revocation').length

/** A store that tells what it holds. */
function openStore() {
  const store = memoryStore()
  const held = new Set<string>()
  const replace: typeof store.replace = async (key, expected, next) => {
    const done = await store.replace(key, expected, next)
    if (done && next) held.add(key)
    else if (done) held.delete(key)
    return done
  }
  return { held, store: { ...store, replace } }
}

test('a sign-out revokes the tokens, leaves nothing behind, and sends the browser to the end of the server’s session', async () => {
  const { held, store } = openStore()
  const sessions = startSessions(server, { store })
  const visitor = new Visitor()
  const { auth } = await visitor.signIn(sessions)
  const { idToken } = (await auth?.getTokenSet()) ?? {}
  expect(held.size).toBe(2) // the session, and that it is ada's
  const [old, before] = [visitor.copy(), revocations()]
  const answer = await visitor.signOut(sessions, `${ORIGIN}/`)
  const location = new URL(answer.headers.get('location') ?? '')
  expect([answer.status, answer.headers.get('cache-control')]).toEqual([303, 'no-store'])
  expect([location.origin, location.pathname]).toEqual([server.issuer, '/session/end'])
  expect(Object.fromEntries(location.searchParams)).toEqual({
    id_token_hint: idToken,
    client_id: 'web',
    post_logout_redirect_uri: `${ORIGIN}/`,
  })
  expect([visitor.cookies.size, held.size, revocations() - before]).toEqual([0, 0, 1])
  expect([await old.name(sessions), auth?.session.status]).toEqual([undefined, 'signedOut'])
})

test('a sign-out that stays here goes where the app says, or to its start', async () => {
  const sessions = startSessions(server)
  const visitor = new Visitor()
  for (const [postLogoutRedirectUri, location] of [
    [`${ORIGIN}/bye`, `${ORIGIN}/bye`],
    [undefined, '/'],
  ]) {
    await visitor.signIn(sessions)
    const request = visitor.request('/logout', { method: 'POST' })
    const answer = await sessions.logout(request, { postLogoutRedirectUri, endSession: false })
    expect(answer.headers.get('location')).toBe(location)
    expect(await visitor.name(sessions)).toBeUndefined()
  }
})

test('whoever is not signed in can sign out: the cookie goes, and nothing is asked of the server', async () => {
  const sessions = startSessions(server)
  const visitor = new Visitor()
  const before = server.log.length
  const answer = await visitor.signOut(sessions)
  expect([answer.status, answer.headers.get('location')]).toEqual([303, '/'])
  expect(visitor.received).toEqual([expect.stringContaining('-session=; Path=/; Max-Age=0;')])
  expect(server.log.length).toBe(before)
})

test.each([
  ['by a link', { method: 'GET' }, 405],
  ['by a page of another site', { headers: { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' } }, 403],
  ['by a page of a neighbour', { headers: { 'sec-fetch-site': 'same-site', origin: 'https://x.app.example' } }, 403],
  ['by another origin in a browser that tells no more', { headers: { origin: 'https://evil.example' } }, 403],
  ['by a page of ours', { headers: { 'sec-fetch-site': 'same-origin', origin: ORIGIN } }, 303],
  ['by a page of ours that sends no referrer', { headers: { 'sec-fetch-site': 'same-origin', origin: 'null' } }, 303],
  ['by a page of ours without referrers, in a browser that tells no more', { headers: { origin: 'null' } }, 303],
  ['by a program', {}, 303],
])('a sign-out that is asked for %s', async (_how, init, status) => {
  const sessions = startSessions(server)
  const visitor = new Visitor()
  await visitor.signIn(sessions)
  const answer = await sessions.logout(visitor.request('/logout', { method: 'POST', ...init }))
  expect(answer.status).toBe(status)
  if (status === 405) expect(answer.headers.get('allow')).toBe('POST')
  expect(await visitor.name(sessions)).toBe(status === 303 ? undefined : 'ada')
})

test('a sign-out is seen by the other processes that share the store', async () => {
  const store = memoryStore()
  const [here, there] = [startSessions(server, { store }), startSessions(server, { store })]
  const visitor = new Visitor()
  const { auth } = await visitor.signIn(here)
  const old = visitor.copy()
  expect(await visitor.name(there)).toBe('ada')
  await visitor.signOut(there)
  await expect.poll(() => old.name(here)).toBeUndefined()
  expect(auth?.session).toMatchObject({ status: 'signedOut' })
})

test('where the store tells of no changes it is looked at with every request', async () => {
  const { get, replace, lock } = memoryStore()
  const store = { get, replace, lock }
  const [here, there] = [startSessions(server, { store }), startSessions(server, { store })]
  const visitor = new Visitor()
  await visitor.signIn(here)
  const old = visitor.copy()
  expect([await old.name(here), await old.name(there)]).toEqual(['ada', 'ada'])
  await visitor.signOut(there)
  expect([await old.name(here), await old.name(there)]).toEqual([undefined, undefined])
})

test('a sign-out that the server cannot be told of is finished later, by whoever comes next', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const { held, store } = openStore()
  const sessions = startSessions(server, { store })
  const [gone, here, next] = [new Visitor(), new Visitor(), new Visitor()]
  await gone.signIn(sessions, 'ada')
  await here.signIn(sessions, 'alan')
  const [old, before] = [gone.copy(), revocations()]
  await server.away()
  expect((await gone.signOut(sessions)).status).toBe(303)
  expect([await old.name(sessions), await here.name(sessions)]).toEqual([undefined, 'alan'])
  expect(held.size).toBe(3) // who is here, under two names, and what is to be revoked
  await server.back()
  vi.advanceTimersByTime(300_000)
  await next.signIn(sessions, 'ada')
  await expect.poll(() => [revocations() - before, held.size]).toEqual([1, 4])
  expect([await here.name(sessions), await next.name(sessions)]).toEqual(['alan', 'ada'])
})

test('a sign-out that a store without watchers could not be told of ends the session all the same, in the store later', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  const { get, replace, lock } = memoryStore()
  let fails = false
  const up = async () => {
    if (fails) throw new Error('away')
  }
  const store: TokenStore = {
    get: (key) => up().then(() => get(key)),
    replace: (key, ...change) => up().then(() => replace(key, ...change)),
    lock: (key, critical, duration) => up().then(() => lock(key, critical, duration)),
  }
  const [here, there] = [startSessions(server, { store }), startSessions(server, { store })]
  const visitor = new Visitor()
  await visitor.signIn(here)
  const old = visitor.copy()
  fails = true
  expect((await visitor.signOut(here)).status).toBe(303)
  fails = false
  expect(await old.name(here)).toBeUndefined()
  await vi.advanceTimersByTimeAsync(10_000)
  expect(await old.name(there)).toBeUndefined()
})

test('a session that the server has ended is told as signed out, its response is still used, and a new sign-in works', async () => {
  const sessions = startSessions(server)
  const visitor = new Visitor()
  const address = await visitor.comeBack(sessions)
  const before = visitor.copy()
  const { auth } = await visitor.arrive(sessions, address)
  server.revokeAll()
  const token = await auth?.getAccessToken()
  await expect(auth?.getAccessToken({ rejectedToken: token ?? '' })).rejects.toMatchObject({ code: 'session-ended' })
  expect(await visitor.name(sessions)).toBeUndefined()
  expect((await before.arrive(sessions, address)).error?.code).toBe('invalid-state')
  await visitor.signIn(sessions)
  expect(await visitor.name(sessions)).toBe('ada')
})
