import { randomBytes } from 'node:crypto'
import { memoryStore } from '@keyturn/node'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import type { AuthorizationServer } from '../../../examples/playground/src/authorization-server.ts'
import { COOKIE_KEY, startServer, startSessions, Visitor } from './web-app.ts'

let server: AuthorizationServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server.stop())
afterEach(() => {
  vi.useRealTimers()
})

test('a cookie of which a character was changed, or that was sealed with another key, counts as none', async () => {
  const store = memoryStore()
  const sessions = startSessions(server, { store })
  const visitor = new Visitor()
  await visitor.leave(sessions)
  const [login = ''] = visitor.cookies.values()
  await visitor.signIn(sessions)
  const [sessionCookie, text] = [...visitor.cookies].find(([name]) => name.endsWith('-session')) ?? ['', '']
  const forged = [
    text.slice(1),
    `${text}AAAA`,
    '',
    'nonsense',
    login,
    text.replace(/./, (one) => (one === 'A' ? 'B' : 'A')),
  ]
  for (const value of forged) {
    const other = new Visitor()
    other.cookies.set(sessionCookie, value)
    expect(await other.name(sessions)).toBeUndefined()
  }
  const stranger = startSessions(server, { store, cookieKey: randomBytes(32) })
  expect([await visitor.name(stranger), await visitor.name(sessions)]).toEqual([undefined, 'ada'])
})

test('a cookie under another name counts as none, be it of another client of the same app', async () => {
  const store = memoryStore()
  const sessions = startSessions(server, { store })
  const visitor = new Visitor()
  await visitor.signIn(sessions)
  const text = [...visitor.cookies.values()].at(-1) ?? ''
  const other = startSessions(server, { store, clientId: 'other' })
  const answer = await other.logout(new Visitor().request('/logout', { method: 'POST' }))
  const renamed = new Visitor()
  renamed.cookies.set(`${answer.headers.get('set-cookie')}`.replace(/=.*/, ''), text)
  expect([...renamed.cookies.keys()]).toEqual([expect.stringMatching(/-session$/)])
  expect([await renamed.name(other), await visitor.name(sessions)]).toEqual([undefined, 'ada'])
})

test('a key is changed without signing anybody out: the first of a list seals, all of them open', async () => {
  const store = memoryStore()
  const [older, newer] = [COOKIE_KEY, randomBytes(32)]
  const before = startSessions(server, { store, cookieKey: older })
  const visitor = new Visitor()
  const address = await visitor.comeBack(before)
  const after = startSessions(server, { store, cookieKey: [newer, older] })
  await visitor.arrive(after, address)
  const later = startSessions(server, { store, cookieKey: newer })
  expect(await visitor.name(later)).toBe('ada')
  const left = new Visitor()
  await left.signIn(before)
  expect([await left.name(after), await left.name(later)]).toEqual(['ada', undefined])
})

test('a sign-in ends with its cookie, though a browser keeps that for longer', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const sessions = startSessions(server, { cookieMaxAge: 30 })
  const visitor = new Visitor()
  await visitor.signIn(sessions)
  expect(visitor.received.at(-1)).toContain('; Max-Age=30;')
  vi.advanceTimersByTime(29_000)
  expect(await visitor.name(sessions)).toBe('ada')
  vi.advanceTimersByTime(1_000)
  expect(await visitor.name(sessions)).toBeUndefined()
})

test('a login that takes longer than two hours is over', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const sessions = startSessions(server)
  const visitor = new Visitor()
  const address = await visitor.comeBack(sessions)
  vi.advanceTimersByTime(7_200_000)
  expect(await visitor.arrive(sessions, address)).toMatchObject({ error: { code: 'invalid-state' } })
})

test('two logins of one browser come back in either order', async () => {
  const sessions = startSessions(server)
  const visitor = new Visitor()
  const one = await visitor.comeBack(sessions, 'ada', 'one')
  const other = await visitor.comeBack(sessions, 'alan', 'other')
  expect(await visitor.arrive(sessions, other)).toMatchObject({ appState: 'other' })
  expect(await visitor.name(sessions)).toBe('alan')
  expect(await visitor.arrive(sessions, one)).toMatchObject({ appState: 'one' })
  expect(await visitor.name(sessions)).toBe('ada')
})

test('logins that never come back fill no header: the oldest make room', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const sessions = startSessions(server)
  const visitor = new Visitor()
  const first = await visitor.comeBack(sessions)
  for (let i = 0; i < 30; i++) {
    vi.advanceTimersByTime(1_000)
    const newestFirst = [...visitor.cookies].toReversed() // a browser sends them as it likes
    visitor.cookies.clear()
    for (const [name, value] of newestFirst) visitor.cookies.set(name, value)
    await visitor.leave(sessions, 'x'.repeat(i * 10))
  }
  const last = await visitor.comeBack(sessions)
  expect(visitor.cookies.size).toBeGreaterThan(2)
  expect(visitor.request().headers.get('cookie')?.length).toBeLessThan(4200)
  expect(await visitor.arrive(sessions, first)).toMatchObject({ error: { code: 'invalid-state' } })
  expect((await visitor.arrive(sessions, last)).auth?.session.status).toBe('signedIn')
})

test('an appState that no browser would keep is refused before anybody leaves', async () => {
  const visitor = new Visitor()
  const sessions = startSessions(server)
  await expect(visitor.leave(sessions, 'x'.repeat(4000))).rejects.toMatchObject({
    code: 'invalid-options',
    fix: 'Keep appState below 2,000 bytes.',
  })
  await visitor.signIn(sessions, 'ada', 'x'.repeat(2000))
  expect(await visitor.name(sessions)).toBe('ada')
})

test('whoever signs in has another session than before; what was known of the old one opens nothing', async () => {
  const store = memoryStore()
  const replaced: string[] = []
  const replace: typeof store.replace = async (key, expected, next) => {
    if (!next) replaced.push(key)
    return store.replace(key, expected, next)
  }
  const sessions = startSessions(server, { store: { ...store, replace } })
  const visitor = new Visitor()
  const { auth: before } = await visitor.signIn(sessions)
  const old = visitor.copy()
  const { auth } = await visitor.signIn(sessions, 'alan')
  expect([await old.name(sessions), await visitor.name(sessions)]).toEqual([undefined, 'alan'])
  expect(auth).not.toBe(before)
  expect(replaced).toHaveLength(2) // it, and that it was ada's
  for (const key of replaced) expect(await store.get(key)).toBeUndefined()
})

test('a new sign-in of the same person is not ended with the old session', async () => {
  const sessions = startSessions(server)
  const visitor = new Visitor()
  const before = server.log.length
  await visitor.signIn(sessions)
  const { auth } = await visitor.signIn(sessions)
  const token = await auth?.getAccessToken()
  const renewed = await auth?.getAccessToken({ rejectedToken: token ?? '' })
  expect(renewed).not.toBe(token)
  expect(server.log.slice(before).filter(({ path }) => path.includes('revocation'))).toEqual([])
})
