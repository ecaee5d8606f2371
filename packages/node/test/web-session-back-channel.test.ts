import { once } from 'node:events'
import { createServer } from 'node:http'
import {
  backChannelLogout,
  memoryStore,
  type StoredRecord,
  StoreError,
  type TokenStore,
  type WebSessions,
} from '@keyturn/node'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import {
  type AuthorizationServer,
  startAuthorizationServer,
} from '../../../examples/playground/src/authorization-server.ts'
import { type Cookie, signInOverHttp } from '../../../examples/playground/src/sign-in-over-http.ts'
import { REDIRECT_URI, startSessions, Visitor } from './web-app.ts'

const ada = { username: 'ada', password: 'lovelace' }

/** What the app answers a logout token with; each test has an app of its own. */
let handle: (request: Request) => Promise<Response>
const answers: number[] = []
const site = createServer(async (request, response) => {
  let body = ''
  for await (const part of request) body += part
  const { 'content-type': type = '' } = request.headers
  const answer = await handle(new Request(uri, { method: 'POST', headers: { 'content-type': type }, body }))
  answers.push(answer.status)
  response.writeHead(answer.status).end(await answer.text())
})
let uri: string
let server: AuthorizationServer
beforeAll(async () => {
  site.listen(0, '127.0.0.1')
  await once(site, 'listening')
  uri = `http://127.0.0.1:${Object(site.address()).port}/logged-out`
  server = await startAuthorizationServer({ redirectUris: [REDIRECT_URI], backChannelLogoutUri: uri })
})
afterAll(async () => {
  site.close()
  await server.stop()
})
beforeEach(() => {
  answers.length = 0
})

/** A store that tells what it holds, and may fail. */
function openStore() {
  const store = memoryStore()
  const held = new Map<string, StoredRecord & { sessions?: { sessionKey: string }[] }>()
  const state = { fails: (_key: string) => false }
  const failing = (key: string) => {
    if (state.fails(key)) throw new Error('the store is away')
  }
  const open: TokenStore = {
    ...store,
    async get(key) {
      failing(key)
      return store.get(key)
    },
    async replace(key, expected, next) {
      failing(key)
      const done = await store.replace(key, expected, next)
      if (done && next) held.set(key, next)
      else if (done) held.delete(key)
      return done
    },
  }
  return { held, store: open, state }
}

/** A process that the server tells of logouts. */
function startTold(store: TokenStore): WebSessions & { warnings: string[] } {
  const sessions = startSessions(server, { store })
  const client = { issuer: server.issuer, clientId: 'web', clientSecret: 'web-secret' }
  handle = backChannelLogout({ ...client, onLogout: (loggedOut) => sessions.end(loggedOut), onWarning() {} })
  return sessions
}

const sidOf = async (sessions: WebSessions, visitor: Visitor) => {
  const session = (await sessions.of(visitor.request()))?.session
  return session?.status === 'signedIn' ? String(session.claims?.sid) : undefined
}

test('who signs out at the server is signed out of the app, in every process, and leaves nothing behind', async () => {
  const { store, held } = openStore()
  const here = startSessions(server, { store })
  const cookies = new Map<string, Cookie>()
  const visitor = new Visitor()
  await visitor.arrive(here, await signInOverHttp(await visitor.leave(here), { ...ada, cookies }))
  const auth = await here.of(visitor.request())
  const { idToken = '' } = (await auth?.getTokenSet()) ?? {}
  startTold(store)
  const end = new URL(`${server.issuer}/session/end`)
  end.search = `${new URLSearchParams({ id_token_hint: idToken, client_id: 'web' })}`
  await signInOverHttp(end, { ...ada, cookies })
  await vi.waitFor(() => expect(answers).toEqual([200]))
  await expect.poll(() => here.of(visitor.request())).toBeUndefined()
  expect(held.size).toBe(0)
  expect(auth?.session).toMatchObject({ status: 'signedOut' })
})

test('a logout of one sign-in ends that session alone, though the token names the person, too', async () => {
  const sessions = startTold(memoryStore())
  const [laptop, phone] = [new Visitor(), new Visitor()]
  await laptop.signIn(sessions)
  await phone.signIn(sessions)
  const sid = await sidOf(sessions, laptop)
  for (const loggedOut of [{ sid }, { sid: await sidOf(sessions, phone), sub: 'ada' }]) {
    const other = loggedOut.sub ? undefined : 'ada'
    await sessions.end(loggedOut)
    expect([await laptop.name(sessions), await phone.name(sessions)]).toEqual([undefined, other])
  }
})

test('a logout of a person ends all their sessions, and nobody else’s', async () => {
  const { store, held } = openStore()
  const here = startSessions(server, { store })
  const there = startTold(store)
  const [laptop, phone, other] = [new Visitor(), new Visitor(), new Visitor()]
  await laptop.signIn(here)
  await phone.signIn(there)
  await other.signIn(here, 'alan')
  const revoked = () => server.log.filter(({ path }) => path === '/token/revocation').length
  const before = revoked()
  await there.end({ sub: 'ada' })
  expect(revoked() - before).toBe(2)
  await expect.poll(() => laptop.name(here)).toBeUndefined()
  expect([await phone.name(there), await other.name(here), await other.name(there)]).toEqual([
    undefined,
    'alan',
    'alan',
  ])
  expect(held.size).toBe(3) // alan’s session, and the names of it
})

test('whom nobody knows the logout ends nobody, and the server is told that all is well', async () => {
  const sessions = startTold(memoryStore())
  const visitor = new Visitor()
  await visitor.signIn(sessions)
  await sessions.end({ sub: 'alan' })
  await sessions.end({ sid: 'ada' })
  await sessions.end({})
  expect(await visitor.name(sessions)).toBe('ada')
})

test('sessions that ended otherwise, or were replaced, are not known by any name any more', async () => {
  const { store, held } = openStore()
  const sessions = startSessions(server, { store })
  const visitor = new Visitor()
  await visitor.signIn(sessions)
  await visitor.signIn(sessions)
  expect([...held.values()].flatMap(({ sessions: known }) => known?.length ?? [])).toEqual([1, 1])
  await visitor.signOut(sessions)
  expect(held.size).toBe(0)
})

test('a server that tells of no logouts costs no record', async () => {
  const { store, held } = openStore()
  const sessions = startSessions(server, { store, metadata: { backchannel_logout_supported: false } })
  await new Visitor().signIn(sessions)
  expect(held.size).toBe(1)
})

test('where a session cannot be ended the others are, the server learns of it, and may say it again', async () => {
  const { store, held, state } = openStore()
  const sessions = startTold(store)
  const [laptop, phone] = [new Visitor(), new Visitor()]
  await laptop.signIn(sessions)
  await phone.signIn(sessions)
  const [first] = [...held.keys()].filter((key) => key.includes('authorization_code'))
  state.fails = (key) => key === first
  await expect(sessions.end({ sub: 'ada' })).rejects.toThrow(StoreError)
  expect([await laptop.name(sessions), await phone.name(sessions)]).toEqual([undefined, undefined])
  state.fails = () => true
  await expect(sessions.end({ sub: 'ada' })).rejects.toMatchObject({ cause: { message: 'the store is away' } })
  state.fails = () => false
  await sessions.end({ sub: 'ada' })
  expect(held.size).toBe(0)
})

test('a sign-in succeeds though the session cannot be named, with a warning', async () => {
  const { store, state } = openStore()
  const sessions = startSessions(server, { store })
  state.fails = (key) => key.includes('sessions of')
  const visitor = new Visitor()
  const { error } = await visitor.signIn(sessions)
  expect([error, await visitor.name(sessions)]).toEqual([undefined, 'ada'])
  expect(sessions.warnings).toEqual(['A logout at the server will not end a session here: the store is away'])
})

/** The record of one person's sessions, with whatever is laid into it. */
async function laidInto(store: TokenStore, name: string, sessions: unknown): Promise<void> {
  const found = await store.get(name)
  const next = { ...found, format: 1, version: (found?.version ?? 0) + 1, tokens: {}, sessions } as const
  expect(await store.replace(name, found?.version, next)).toBe(true)
}

test('whatever the store gives for the names is believed in nothing, and healed', async () => {
  const { store, held } = openStore()
  const sessions = startTold(store)
  const visitor = new Visitor()
  await visitor.signIn(sessions)
  const [name = ''] = [...held.keys()].filter((key) => key.includes('sessions of a sub'))
  const damaged = [null, 1, {}, { sessionKey: 1, until: 1e15 }, { sessionKey: 'old', until: 1 }]
  for (const known of ['x', damaged, { length: 9 }, null]) {
    await laidInto(store, name, known)
    await sessions.end({ sub: 'ada' })
    expect(await visitor.name(sessions)).toBe('ada')
  }
  await new Visitor().signIn(sessions)
  expect(held.get(name)?.sessions).toHaveLength(1)
})

test('of one person a hundred sessions are known at most, and none that must be over', async () => {
  const { store, held } = openStore()
  const sessions = startTold(store)
  await new Visitor().signIn(sessions)
  const [name = ''] = [...held.keys()].filter((key) => key.includes('sessions of a sub'))
  for (const [isOver, length, first] of [
    [(i: number) => i % 2 > 0, 76, '0'],
    [() => false, 100, '51'],
  ] as const) {
    const many = Array.from({ length: 150 }, (_, i) => ({
      sessionKey: `${i}`,
      until: Date.now() + (isOver(i) ? -1 : 1e6),
    }))
    await laidInto(store, name, many)
    await new Visitor().signIn(sessions)
    const known = held.get(name)?.sessions
    expect([known?.length, known?.[0]?.sessionKey]).toEqual([length, first])
  }
})
