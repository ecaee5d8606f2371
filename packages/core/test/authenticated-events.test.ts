import { inspect } from 'node:util'
import {
  type AuthenticatedEventsOptions,
  authenticatedEvents,
  type ConnectionSource,
  clientCredentials,
  type Disconnection,
  type IssuedTokenSet,
  LoginRequiredError,
  refreshToken,
  type ServerSentEvent,
  TokenUnavailableError,
} from '@keyturn/core'
import { expect, onTestFinished, test, vi } from 'vitest'
import { testAuthorizationServer } from './authorization-server.ts'
import { CountingSource, endedTokens } from './counting-source.ts'
import { EventServer } from './event-server.ts'
import { elapse, MINUTE, movedTime, SECOND, sourceAt, turns } from './renewal-harness.ts'
import { comeBack, ISSUER, startApp } from './sign-in-server.ts'
import { expectNone } from './visible-secrets.ts'

movedTime()

const API = 'https://api.example/v1/'
const EVENTS = `${API}events`

/** Somebody who reads: `events` and, once it is over, `end`. */
function reading(source: ConnectionSource, more: Partial<AuthenticatedEventsOptions> = {}) {
  const server = new EventServer()
  const disconnections: Disconnection[] = []
  const events: ServerSentEvent[] = []
  let opened = 0
  const stream = authenticatedEvents(source, {
    url: EVENTS,
    apis: API,
    fetch: server.fetch,
    onOpen: () => void opened++,
    onDisconnect: (disconnection) => void disconnections.push(disconnection),
    ...more,
  })
  const world = {
    server,
    stream,
    events,
    disconnections,
    data: () => events.map(({ data }) => data),
    opened: () => opened,
    end: undefined as { error?: unknown } | undefined,
  }
  const read = async () => {
    for await (const event of stream) events.push(event)
  }
  void read().then(
    () => {
      world.end = {}
    },
    (error: unknown) => {
      world.end = { error }
    },
  )
  return world
}

/** Reconnects 20 s before a token of an hour ends. */
const machine = () => {
  vi.spyOn(Math, 'random').mockReturnValue(0.95)
  const server = testAuthorizationServer({ lifetime: 3600 })
  return { server, source: clientCredentials(sourceAt(server).options) }
}

/** Until it has begun to. */
const reconnecting = () => elapse(3585 * SECOND, SECOND)

test('nothing happens before somebody reads, and every loop is a stream of its own', async () => {
  const server = new EventServer()
  const source = new CountingSource()
  const stream = authenticatedEvents(source, { url: EVENTS, apis: API, fetch: server.fetch })
  const untouched = stream[Symbol.asyncIterator]()
  await turns()
  expect([server.streams.length, source.asked.length]).toEqual([0, 0])
  expect(await untouched.return?.()).toEqual({ done: true, value: undefined })
  server.answers.push(
    () => undefined,
    () => new Response(null, { status: 204 }),
  )
  const [one, other] = [stream[Symbol.asyncIterator](), stream[Symbol.asyncIterator]()]
  const first = one.next()
  await turns()
  expect(await other.next()).toEqual({ done: true, value: undefined })
  server.streams[0]?.send('data: a\n\n')
  expect(await first).toMatchObject({ done: false, value: { data: 'a' } })
  await one.return?.()
  expect(server.streams[0]?.isClosed).toBe(true)
})

test('a url that apis does not cover is refused at once', () => {
  const source = new CountingSource()
  for (const url of [
    'https://api.example/other',
    'http://api.example/v1/',
    'https://u@api.example/v1/',
    'nowhere',
    '',
  ]) {
    const call = () => authenticatedEvents(source, { url, apis: API })
    expect(call, url).toThrow(expect.objectContaining({ code: 'invalid-options' }))
  }
  expect(source.asked).toEqual([])
})

test('a request says what the standard says, with the headers of the app and the token that the route wants', async () => {
  const { server } = reading(new CountingSource(), {
    apis: [API, { url: EVENTS, scope: 'events' }],
    headers: { 'x-own': '1' },
    credentials: 'include',
    lastEventId: 'é 7',
  })
  await turns()
  const { headers, cache, credentials, method } = server.last.request
  expect({ method, cache, credentials }).toEqual({ method: 'GET', cache: 'no-store', credentials: 'include' })
  expect(Object.fromEntries(headers)).toEqual({
    accept: 'text/event-stream',
    authorization: 'Bearer token-1@events',
    'last-event-id': 'Ã© 7', // UTF-8, byte for byte
    'x-own': '1',
  })
})

test('a connection that is lost is made anew with the last id and another token, after what the server says', async () => {
  vi.spyOn(Math, 'random').mockReturnValue(0.5)
  const tokens = ['t1', 't2', 't3', 't4']
  const { server, data, disconnections, opened } = reading({ getAccessToken: async () => tokens.shift() ?? '' })
  await turns()
  server.last.send('id: 5\nretry: 8000\ndata: a\n\nid: lost\ndata: not complete\n')
  await turns()
  server.last.end()
  await turns()
  expect(disconnections).toEqual([{ delay: 10_000, error: undefined }])
  await elapse(9 * SECOND)
  expect(server.tokens).toEqual(['t1'])
  await elapse(2 * SECOND)
  expect(server.tokens).toEqual(['t1', 't2'])
  expect(server.last.lastEventId).toBe('5')
  server.last.send('data: b\n\n') // an event without an id takes nothing back
  await turns()
  server.last.fail()
  await elapse(11 * SECOND)
  expect(server.tokens).toEqual(['t1', 't2', 't3'])
  expect(server.last.lastEventId).toBe('5')
  expect(disconnections[1]).toMatchObject({ delay: 10_000, error: new TypeError('terminated') })
  expect(data()).toEqual(['a', 'b'])
  expect(opened()).toBe(3)
})

test('attempts that fail back off to two minutes and up to half as much again; an event ends that', async () => {
  const { server, disconnections, end } = reading(new CountingSource())
  const unreachable = () => Promise.reject(new TypeError('fetch failed'))
  server.answers.push(...Array(12).fill(unreachable))
  await elapse(25 * MINUTE, SECOND)
  expect(end).toBeUndefined()
  const delays = disconnections.map(({ delay }) => delay)
  expect(delays.length).toBeGreaterThanOrEqual(12)
  delays.slice(0, 12).forEach((delay, failures) => {
    const least = Math.min(3000 * 2 ** failures, 120_000)
    expect(delay).toBeGreaterThanOrEqual(least)
    expect(delay).toBeLessThanOrEqual(least * 1.5)
  })
  expect(new Set(delays).size).toBeGreaterThan(6)
  server.last.send('data: a\n\n')
  await turns()
  server.last.end()
  await turns()
  expect(disconnections.at(-1)?.delay).toBeLessThanOrEqual(4500)
})

test('a server that ends every connection at once, and asks for no delay, is asked less and less', async () => {
  const { server } = reading(new CountingSource(), { onOpen: () => server.last.end() })
  server.answers.push(() => new Response('retry: 0\n\n', { headers: { 'content-type': 'text/event-stream' } }))
  await elapse(10 * MINUTE, 100)
  expect(server.streams.length).toBeLessThan(20)
})

test('a connection that has lasted counts as good, although no event came', async () => {
  const { server, disconnections } = reading(new CountingSource())
  for (let round = 0; round < 6; round++) {
    await elapse(MINUTE, SECOND)
    server.last.end()
    await elapse(5 * SECOND)
  }
  expect(server.streams.length).toBe(7)
  for (const { delay } of disconnections) expect(delay).toBeLessThanOrEqual(4500)
})

test('retry is obeyed up to an hour, and is nothing but digits', async () => {
  const { server, disconnections } = reading(new CountingSource())
  await turns()
  server.last.send('retry: 99999999999999\nretry: 1e1\nretry: -1\nretry:\ndata: a\n\n')
  await turns()
  server.last.end()
  await turns()
  expect(disconnections[0]?.delay).toBeGreaterThanOrEqual(60 * MINUTE)
  expect(disconnections[0]?.delay).toBeLessThanOrEqual(90 * MINUTE)
})

test('an id that no header can carry is not sent, and does not keep the stream from coming back', async () => {
  const { server, events } = reading(new CountingSource())
  await turns()
  server.last.send('id: a\u0001b\ndata: a\n\n')
  await turns()
  server.last.end()
  await elapse(5 * SECOND)
  expect(events[0]?.lastEventId).toBe('a\u0001b')
  expect(server.streams.length).toBe(2)
  expect(server.last.lastEventId).toBeNull()
})

test('a 204 ends the loop, at first and later', async () => {
  const world = reading(new CountingSource())
  await turns()
  world.server.answers.push(() => new Response(null, { status: 204 }))
  world.server.last.end()
  await elapse(5 * SECOND)
  expect(world.end).toEqual({})
  expect(world.server.streams.length).toBe(2)
  expect(vi.getTimerCount()).toBe(0)
})

test.each([
  [200, 'text/html', false],
  [200, 'text/event-streams', false],
  [200, '', false],
  [201, 'text/event-stream', false],
  [403, 'text/event-stream', false],
  [404, 'text/plain', false],
  [429, 'text/plain', true],
  [503, 'text/event-stream', true],
])('an answer %s of type "%s" ends the stream with an error, retryable: %s', async (status, type, retryable) => {
  const world = reading(new CountingSource())
  world.server.answers.push(() => new Response('body', { status, headers: { 'content-type': type } }))
  await elapse(5 * MINUTE)
  expect(world.end?.error).toMatchObject({ code: 'connection-failed', retryable })
  expect(world.server.streams.length).toBe(1)
  expect(world.server.last.isClosed).toBe(true)
})

test('the type of an event stream may have parameters and be in capitals', async () => {
  const world = reading(new CountingSource())
  world.server.answers.push(
    () => new Response('data: a\n\n', { headers: { 'content-type': ' Text/Event-Stream ; charset=utf-8' } }),
  )
  await turns(5)
  expect(world.data()).toEqual(['a'])
})

test('a refused token is renewed once; a second 401 ends the stream', async () => {
  const refusal = () => new Response(null, { status: 401, headers: { 'www-authenticate': 'Bearer' } })
  const good = reading(new CountingSource())
  good.server.answers.push(refusal)
  await turns(5)
  expect(good.server.tokens).toEqual(['token-1', 'token-2'])
  good.server.last.send('data: a\n\n')
  await turns()
  expect(good.data()).toEqual(['a'])

  const bad = reading(new CountingSource())
  bad.server.answers.push(refusal, refusal)
  await elapse(5 * MINUTE)
  expect(bad.end?.error).toMatchObject({ code: 'token-rejected', retryable: false })
  expect(bad.server.tokens).toEqual(['token-1', 'token-2'])
})

test('a refusal that no other token can follow for a while is no second one: the stream waits for that', async () => {
  const refusal = () => new Response(null, { status: 401, headers: { 'www-authenticate': 'Bearer' } })
  const retryAt = Date.now() + 5 * MINUTE
  const unavailable = new TokenUnavailableError('server-error', 'The server answered 503', { retryAt })
  for (const failure of [unavailable, new LoginRequiredError('session-ended', 'The session ended: refused')]) {
    const source = new CountingSource()
    const asked = source.getAccessToken.bind(source)
    vi.spyOn(source, 'getAccessToken').mockImplementationOnce(asked).mockRejectedValueOnce(failure)
    const world = reading(source)
    world.server.answers.push(refusal)
    await turns(5)
    if (failure !== unavailable) {
      expect(world.end?.error).toBe(failure)
      continue
    }
    expect(world.disconnections).toMatchObject([{ error: unavailable, delay: 5 * MINUTE }])
    world.server.answers.push(refusal)
    await elapse(5 * MINUTE + SECOND)
    expect(world.server.tokens).toEqual(['token-1', 'token-1', 'token-2'])
    expect(world.end).toBeUndefined()
  }
})

test('where no token can be had the stream waits for its time; where nobody is signed in it ends', async () => {
  const source = new CountingSource()
  const retryAt = Date.now() + 5 * MINUTE
  const unavailable = new TokenUnavailableError('server-error', 'The server answered 503', { retryAt })
  vi.spyOn(source, 'getAccessToken').mockRejectedValueOnce(unavailable)
  const world = reading(source)
  await turns()
  expect(world.disconnections).toMatchObject([{ error: unavailable, delay: 5 * MINUTE }])
  await elapse(5 * MINUTE + SECOND)
  expect(world.server.tokens).toEqual(['token-1'])
  vi.spyOn(source, 'getAccessToken').mockRejectedValue(new LoginRequiredError('login-required', 'Nobody is signed in'))
  world.server.last.end()
  await elapse(10 * SECOND)
  expect(world.end?.error).toBeInstanceOf(LoginRequiredError)
  expect(vi.getTimerCount()).toBe(0)
})

test('leaving the loop closes the connection and leaves nothing behind', async () => {
  const { source } = machine()
  const server = new EventServer()
  const controller = new AbortController()
  const added = vi.spyOn(controller.signal, 'addEventListener')
  const removed = vi.spyOn(controller.signal, 'removeEventListener')
  await source.getAccessToken()
  const before = vi.getTimerCount()
  const options = { url: EVENTS, apis: API, fetch: server.fetch, signal: controller.signal }
  for await (const event of authenticatedEvents(source, {
    ...options,
    onOpen: () => server.last.send('data: a\n\ndata: b\n\n'),
  })) {
    expect(event.data).toBe('a')
    break
  }
  expect(server.last.isClosed).toBe(true)
  await turns()
  expect(vi.getTimerCount()).toBe(before)
  expect(added.mock.calls.length).toBeGreaterThan(0)
  expect(removed.mock.calls.map(([, listener]) => listener)).toEqual(added.mock.calls.map(([, listener]) => listener))
})

test('who waits for an event can still leave, as a ReadableStream made of it does', async () => {
  const server = new EventServer()
  const stream = authenticatedEvents(new CountingSource(), { url: EVENTS, apis: API, fetch: server.fetch })
  const events = stream[Symbol.asyncIterator]()
  const next = events.next()
  await turns()
  await events.return?.()
  expect(await next).toEqual({ done: true, value: undefined })
  expect(await events.next()).toEqual({ done: true, value: undefined })
  expect(server.last.isClosed).toBe(true)
  expect(vi.getTimerCount()).toBe(0)
})

test.each(['connecting', 'reading', 'waiting'])('an aborted signal ends it with its reason while %s', async (when) => {
  const controller = new AbortController()
  const world = reading(new CountingSource(), { signal: controller.signal })
  if (when === 'connecting') world.server.answers.push(() => new Promise(() => {}))
  await turns()
  if (when === 'waiting') world.server.last.end()
  await turns()
  controller.abort('enough')
  await turns()
  expect(world.end).toEqual({ error: 'enough' })
  expect(world.server.last.isClosed || when === 'waiting').toBe(true)
  expect(vi.getTimerCount()).toBe(0)
})

test('a signal that was aborted before begins nothing', async () => {
  const source = new CountingSource()
  const world = reading(source, { signal: AbortSignal.abort('before') })
  await turns()
  expect(world.end).toEqual({ error: 'before' })
  expect(source.asked).toEqual([])
})

test('before its token ends a connection is replaced, and no event is lost or told twice', async () => {
  const { server: issuer, source } = machine()
  const { server, data, disconnections, opened } = reading(source)
  await turns(5)
  const [first] = server.streams
  first?.send('id: 1\ndata: a\n\n')
  let answer = (_: Response) => {}
  server.answers.push(() => new Promise<Response>((resolve) => (answer = resolve)))
  await reconnecting()
  expect(server.tokens).toEqual(['access-token-1', 'access-token-2'])
  expect(first?.isClosed).toBe(false)
  first?.send('id: 2\ndata: b\n\n') // the next connection is asked for it already
  await turns(5)
  expect(server.last.lastEventId).toBe('1')
  expect(data()).toEqual(['a'])
  answer(server.last.response())
  server.last.send('id: 2\ndata: b\n\n')
  await turns(5)
  expect(first?.isClosed).toBe(true)
  expect(data()).toEqual(['a', 'b'])
  expect([disconnections, opened(), issuer.requests.length]).toEqual([[], 1, expect.any(Number)])
  await elapse(60 * MINUTE, SECOND)
  expect(server.tokens).toEqual(['access-token-1', 'access-token-2', 'access-token-3'])
})

test('where the next connection cannot be had the one that is open goes on, with what was held back', async () => {
  const { source } = machine()
  const { server, data, disconnections } = reading(source)
  await turns(5)
  const [first] = server.streams
  first?.send('id: 1\ndata: a\n\n')
  let fail = (_: Error) => {}
  server.answers.push(
    () => new Promise<Response>((_, reject) => (fail = reject)),
    () => new Response(null, { status: 503 }),
    () => new Promise<Response>(() => {}),
  )
  await reconnecting()
  first?.send('id: 2\ndata: b\n\n')
  await turns(5)
  expect(data()).toEqual(['a'])
  fail(new TypeError('fetch failed'))
  await turns(5)
  expect(data()).toEqual(['a', 'b'])
  await elapse(8 * SECOND, 100) // the second attempt is answered 503, and the third is not
  expect(server.streams.length).toBe(4)
  first?.send('id: 3\ndata: c\n\n')
  await turns(5)
  expect(data()).toEqual(['a', 'b'])
  await elapse(8 * SECOND, 100)
  expect(data()).toEqual(['a', 'b', 'c'])
  expect(first?.isClosed).toBe(false)
  await elapse(8 * SECOND, 100)
  expect(server.last.lastEventId).toBe('3')
  expect(first?.isClosed).toBe(true)
  expect(server.last.isClosed).toBe(false)
  expect(disconnections).toEqual([])
})

test('where events have no ids they are read until the next connection is open', async () => {
  const { source } = machine()
  const { server, data } = reading(source)
  await turns(5)
  const [first] = server.streams
  let answer = (_: Response) => {}
  server.answers.push(() => new Promise<Response>((resolve) => (answer = resolve)))
  await reconnecting()
  first?.send('data: a\n\n')
  await turns(5)
  expect(data()).toEqual(['a'])
  answer(server.last.response())
  server.last.send('data: b\n\n')
  await turns(5)
  expect(data()).toEqual(['a', 'b'])
  expect(first?.isClosed).toBe(true)
})

test('a connection that is lost while the next one is on its way is not opened twice', async () => {
  const { source } = machine()
  const { server, data, disconnections } = reading(source)
  await turns(5)
  const [first] = server.streams
  let answer = (_: Response) => {}
  server.answers.push(() => new Promise<Response>((resolve) => (answer = resolve)))
  await reconnecting()
  first?.end()
  await elapse(5 * SECOND)
  expect(server.streams.length).toBe(2)
  answer(server.last.response())
  server.last.send('data: b\n\n')
  await turns(5)
  expect(data()).toEqual(['b'])
  expect(disconnections).toEqual([])
})

test('a reader who is slow finds all events once, although the token ended meanwhile', async () => {
  const { source } = machine()
  const server = new EventServer()
  const stream = authenticatedEvents(source, { url: EVENTS, apis: API, fetch: server.fetch })
  const events = stream[Symbol.asyncIterator]()
  const first = events.next()
  await turns(5)
  server.last.send('id: 1\ndata: a\n\nid: 2\ndata: b\n\n')
  expect(await first).toMatchObject({ value: { data: 'a' } })
  await reconnecting()
  expect(server.streams.length).toBe(1) // nobody has asked for more
  expect(await events.next()).toMatchObject({ value: { data: 'b' } })
  const third = events.next()
  await turns(5)
  expect(server.streams.length).toBe(2)
  expect(server.last.lastEventId).toBe('2')
  server.last.send('id: 3\ndata: c\n\n')
  expect(await third).toMatchObject({ value: { data: 'c' } })
  await events.return?.()
})

test('where the token cannot be renewed the connection stays, and the server is not asked in a storm', async () => {
  const { server: issuer, source } = machine()
  const { server, data, disconnections } = reading(source)
  await turns(5)
  issuer.always({ status: 503 }, 'token')
  const before = issuer.requests.length
  const asked = vi.spyOn(source, 'getTokenSet')
  await reconnecting()
  await elapse(10 * SECOND, 20)
  expect(asked.mock.calls.length).toBeGreaterThan(3)
  expect(asked.mock.calls.length).toBeLessThan(12)
  await elapse(90 * MINUTE, SECOND)
  expect(server.tokens).toEqual(['access-token-1'])
  server.last.send('data: a\n\n')
  await turns()
  expect(data()).toEqual(['a'])
  expect(disconnections).toEqual([])
  expect(issuer.requests.length - before).toBeLessThan(60)
  issuer.always(undefined, 'token')
  await elapse(5 * MINUTE, SECOND)
  expect(server.tokens.length).toBe(2)
})

test('a server that wants no other connection ends the stream when it is asked for one', async () => {
  const { source } = machine()
  const world = reading(source)
  await turns(5)
  world.server.answers.push(() => new Response(null, { status: 204 }))
  await reconnecting()
  expect(world.end).toEqual({})
  expect(world.server.streams[0]?.isClosed).toBe(true)
})

test('a source that signs has each connection signed, and reconnected before the token of that one ends', async () => {
  const { source } = machine()
  const signed: string[] = []
  const signing: ConnectionSource = {
    getAccessToken: () => source.getAccessToken(),
    getTokenSet: (request) => source.getTokenSet(request),
    async authorize({ method, url, ...wanted }) {
      signed.push(`${method} ${url}`)
      const accessToken = await source.getAccessToken(wanted)
      return { accessToken, headers: { authorization: `DPoP ${accessToken}`, dpop: `proof ${signed.length}` } }
    },
  }
  const { server } = reading(signing)
  await turns(5)
  await reconnecting()
  expect(server.streams.map(({ request: { headers } }) => [headers.get('authorization'), headers.get('dpop')])).toEqual(
    [
      ['DPoP access-token-1', 'proof 1'],
      ['DPoP access-token-2', 'proof 2'],
    ],
  )
  expect(signed).toEqual([`GET ${EVENTS}`, `GET ${EVENTS}`])
})

test('a proof that is refused is signed once more, as with every fetch', async () => {
  let proofs = 0
  class Signing implements ConnectionSource {
    readonly #nonces = new Set<string>()
    getAccessToken = async () => 'token'
    async authorize() {
      return { accessToken: 'token', headers: { authorization: 'DPoP token', dpop: `proof ${++proofs}` } }
    }
    observe({ response: { headers } }: { response: Response }) {
      const nonce = headers.get('dpop-nonce')
      return nonce !== null && !this.#nonces.has(nonce) && Boolean(this.#nonces.add(nonce))
    }
  }
  const { server } = reading(new Signing())
  server.answers.push(() => new Response(null, { status: 401, headers: { 'dpop-nonce': '1' } }))
  await turns(5)
  expect(server.streams.map(({ request }) => request.headers.get('dpop'))).toEqual(['proof 1', 'proof 2'])
})

test('servers behind one address that do not know each other’s nonces end no stream', async () => {
  const source: ConnectionSource = {
    getAccessToken: async () => 'token',
    authorize: async () => ({ accessToken: 'token', headers: { authorization: 'DPoP token', dpop: 'proof' } }),
    observe: ({ response }) => response.status === 401,
  }
  const world = reading(source)
  const wanted = { 'www-authenticate': 'DPoP error="use_dpop_nonce"', 'dpop-nonce': 'mine' }
  const other = () => new Response(null, { status: 401, headers: wanted })
  world.server.answers.push(other, other)
  await turns(5)
  expect(world.disconnections).toMatchObject([{ error: { code: 'token-rejected', retryable: true } }])
  await elapse(10 * SECOND)
  expect([world.server.streams.length, world.end]).toEqual([3, undefined])
})

test('waiting for the next connection keeps a process alive, waiting for a token to end does not', async () => {
  const { source } = machine()
  await source.getAccessToken()
  const set = vi.spyOn(globalThis, 'setTimeout')
  const { server } = reading(source)
  await turns(5)
  const keepsAlive = () => set.mock.results.at(-1)?.value.hasRef()
  expect(keepsAlive()).toBe(false)
  server.last.end()
  await turns()
  expect(keepsAlive()).toBe(true)
})

test('a pause is over when the network returns', async () => {
  const network = new EventTarget()
  vi.stubGlobal('addEventListener', network.addEventListener.bind(network))
  vi.stubGlobal('removeEventListener', network.removeEventListener.bind(network))
  onTestFinished(() => void vi.unstubAllGlobals())
  const { server } = reading(new CountingSource())
  server.answers.push(...Array(6).fill(() => Promise.reject(new TypeError('fetch failed'))))
  await elapse(MINUTE, SECOND)
  const before = server.streams.length
  network.dispatchEvent(new Event('online'))
  await turns()
  expect(server.streams.length).toBe(before + 1)
})

test('a source whose every token is another one, and has ended already, buys a connection a second and no storm', async () => {
  const { server } = reading(endedTokens())
  await elapse(20 * SECOND, 10)
  expect(server.streams.length).toBeGreaterThan(10)
  expect(server.streams.length).toBeLessThan(22)
})

test('a source of one’s own that fails is asked less and less for the token that is to follow', async () => {
  let asked = 0
  const getTokenSet = async (): Promise<IssuedTokenSet> => {
    if (asked++) throw new TypeError('fetch failed')
    return { accessToken: 'token-1', tokenType: 'Bearer', issuedAt: Date.now(), expiresAt: Date.now() + MINUTE }
  }
  const { server } = reading({ getTokenSet, getAccessToken: async () => 'token-1' })
  await elapse(60 * MINUTE, SECOND)
  expect(server.tokens).toEqual(['token-1'])
  expect(asked).toBeGreaterThan(20)
  expect(asked).toBeLessThan(60)
})

test('a source that does not tell when its tokens end has no connection renewed', async () => {
  const { server } = reading(new CountingSource())
  await turns()
  expect(vi.getTimerCount()).toBe(0)
  await elapse(10 * 60 * MINUTE, MINUTE)
  expect(server.tokens).toEqual(['token-1'])
})

test.each(['signs out', 'is another', 'signs in again'])(
  'where the person %s: another session closes the connection at once, and no event is handed out',
  async (what) => {
    const app = startApp()
    await comeBack(app)
    await app.auth.handleCallback()
    const mine = reading(app.auth)
    const { server } = mine
    await turns(5)
    server.last.send('data: a\n\n')
    await turns(5)
    if (what === 'signs out') await app.auth.logout({ endSession: false })
    else {
      app.server.idToken = (claims) => (what === 'is another' ? { ...claims, sub: 'somebody else' } : claims)
      await comeBack(app)
      await app.auth.handleCallback()
    }
    server.last.send('data: b\n\n')
    await turns(5)
    if (what === 'signs in again') {
      expect([mine.end, mine.data()]).toEqual([undefined, ['a', 'b']]) // the same person has signed in again
      return
    }
    expect(mine.end?.error).toMatchObject({ code: 'session-ended' })
    expect(mine.end?.error).toBeInstanceOf(LoginRequiredError)
    expect(mine.data()).toEqual(['a'])
    expect(server.last.isClosed).toBe(true)
    await elapse(5 * MINUTE)
    expect(server.streams.length).toBe(1)
  },
)

test('whose a refresh token from elsewhere is, the first answer tells: that is nobody else', async () => {
  const app = startApp()
  let seed = ''
  app.server.tokenResponse = (body) => {
    seed = String(body.refresh_token)
    return body
  }
  await comeBack(app)
  await app.auth.handleCallback()
  const { server } = app
  const options = { issuer: ISSUER, clientId: 'app', scope: 'openid', fetch: server.fetch }
  const world = reading(refreshToken({ ...options, refreshToken: seed }))
  while (!world.end && world.server.streams.length === 0) await turns()
  await turns(5)
  expect(world.end).toBeUndefined()
})

test('a reader who is slow gets nothing more of a session that is over, and its connection is closed meanwhile', async () => {
  const app = startApp()
  await comeBack(app)
  await app.auth.handleCallback()
  const server = new EventServer()
  const events = authenticatedEvents(app.auth, { url: EVENTS, apis: API, fetch: server.fetch })[Symbol.asyncIterator]()
  const first = events.next()
  await turns(5)
  server.last.send('data: a\n\ndata: b\n\n')
  expect(await first).toMatchObject({ value: { data: 'a' } })
  await app.auth.logout({ endSession: false })
  await turns()
  expect(server.last.isClosed).toBe(true)
  await expect(events.next()).rejects.toBeInstanceOf(LoginRequiredError)
})

test('a session that ends with its token, which nothing renews, ends the stream', async () => {
  const app = startApp()
  app.server.tokenResponse = (body) => ({ ...body, refresh_token: undefined, expires_in: 60 })
  await comeBack(app)
  await app.auth.handleCallback()
  const world = reading(app.auth)
  await turns(5)
  await elapse(61 * SECOND)
  expect(world.end?.error).toBeInstanceOf(LoginRequiredError)
  expect(world.server.last.isClosed).toBe(true)
})

test('where a source says signed out, and not that a session ended, it is asked whether it can go on', async () => {
  const listeners = new Set<() => void>()
  const source = {
    token: async () => 'token',
    getAccessToken: () => source.token(),
    session: { status: 'signedIn', freshness: 'fresh', renewable: true } as ConnectionSource['session'] & object,
    subscribe(listener: () => void) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
  }
  const world = reading(source)
  await turns()
  source.session = { status: 'signedOut' }
  for (const listener of listeners) listener()
  await turns()
  expect(world.end).toBeUndefined()
  source.token = () => Promise.reject(new TokenUnavailableError('network', 'No answer'))
  for (const listener of listeners) listener()
  await turns()
  expect(world.end).toBeUndefined()
  source.token = () => Promise.reject(new LoginRequiredError('login-required', 'Nobody is signed in'))
  for (const listener of listeners) listener()
  await turns()
  expect(world.end?.error).toBeInstanceOf(LoginRequiredError)
  expect(world.server.last.isClosed).toBe(true)
  expect(listeners.size).toBe(0)
})

test('a machine whose session is revoked has its connections closed; one that was before has them opened', async () => {
  const { source } = machine()
  await source.getAccessToken()
  await source.revoke()
  const world = reading(source)
  await turns(5)
  world.server.last.send('data: a\n\n')
  await turns()
  expect(world.data()).toEqual(['a'])
  await source.revoke()
  await turns()
  expect(world.end?.error).toMatchObject({ code: 'session-ended' })
  expect(world.server.last.isClosed).toBe(true)
})

test('what onOpen and onDisconnect throw, the loop does, and the connection is closed', async () => {
  const opening = reading(new CountingSource(), {
    onOpen: () => {
      throw new Error('of the app')
    },
  })
  await turns()
  expect(opening.end).toEqual({ error: new Error('of the app') })
  expect(opening.server.last.isClosed).toBe(true)
  const losing = reading(new CountingSource(), {
    onDisconnect: () => {
      throw new Error('of the app')
    },
  })
  await turns()
  losing.server.last.end()
  await turns()
  expect(losing.end).toEqual({ error: new Error('of the app') })
  expect(vi.getTimerCount()).toBe(0)
})

test('no token is in a URL, an error or what can be seen of the stream', async () => {
  const { source } = machine()
  const seen: unknown[] = []
  const world = reading(source, { onDisconnect: (disconnection) => seen.push(disconnection) })
  await turns(5)
  const events = world.stream[Symbol.asyncIterator]()
  const next = events.next()
  await turns(5)
  seen.push(world.stream, events, inspect(next, { showHidden: true, depth: 9 }))
  world.server.answers.push(
    () => new Response('access-token-1', { status: 401, headers: { 'x-echo': 'access-token-1' } }),
  )
  world.server.answers.push(() => new Response('access-token-2', { status: 401 }))
  world.server.streams[0]?.end()
  await elapse(5 * SECOND)
  expect(world.end?.error).toMatchObject({ code: 'token-rejected' })
  seen.push(world.end?.error)
  for (const { request } of world.server.streams) expect(request.url).toBe(EVENTS)
  for (const value of seen) expectNone(value, ['access-token-1', 'access-token-2'])
  await events.return?.()
  await next
})
