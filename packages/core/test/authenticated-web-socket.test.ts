import {
  type AuthenticatedWebSocketOptions,
  authenticatedWebSocket,
  type ConnectionSource,
  clientCredentials,
  LoginRequiredError,
  type OAuthError,
  type TokenSource,
  TokenUnavailableError,
} from '@keyturn/core'
import { expect, onTestFinished, test, vi } from 'vitest'
import { testAuthorizationServer } from './authorization-server.ts'
import { CountingSource, endedTokens } from './counting-source.ts'
import { elapse, MINUTE, movedTime, SECOND, sourceAt, turns } from './renewal-harness.ts'
import { comeBack, startApp } from './sign-in-server.ts'
import { expectNone } from './visible-secrets.ts'
import { connected, TestWebSocket } from './web-socket-server.ts'

movedTime()

/** Reconnects 20 s before a token of an hour ends. */
const machine = () => {
  vi.spyOn(Math, 'random').mockReturnValue(0.95)
  const server = testAuthorizationServer({ lifetime: 3600 })
  return { server, source: clientCredentials(sourceAt(server).options) }
}

/** Until it has begun to. */
const reconnecting = () => elapse(3585 * SECOND, SECOND)

const bound: TokenSource = {
  getAccessToken: async () => 'bound-token',
  authorize: async ({ method, url }) => ({
    accessToken: 'bound-token',
    headers: { authorization: 'DPoP bound-token', dpop: `proof of ${method} ${url}` },
  }),
}

test('the first message carries the token, and goes before the app hears that it is open', async () => {
  const { socket, sockets, told, last } = connected(new CountingSource())
  socket.addEventListener('open', () => socket.send('hello'))
  await turns()
  expect([last().url, last().how, socket.url]).toEqual(['wss://api.example/v1/live', [], 'wss://api.example/v1/live'])
  last().accept()
  expect(last().sent).toEqual(['auth token-1', 'hello'])
  last().message('hi')
  expect(told).toEqual(['open', 'message hi'])
  socket.send(new Uint8Array([1]).buffer)
  expect(last().sent).toHaveLength(3)
  expect(sockets).toHaveLength(1)
})

test('the token travels as a subprotocol where the app makes one of it', async () => {
  const protocols = (accessToken: string) => ['v1.chat', `bearer.${accessToken}`]
  const { last } = connected(new CountingSource(), { authenticate: undefined, protocols })
  await turns()
  expect([last().url, last().how]).toEqual(['wss://api.example/v1/live', ['v1.chat', 'bearer.token-1']])
  last().accept()
  expect(last().sent).toEqual([])
})

test('the token is in the address only where the app names the parameter for it', async () => {
  const url = 'wss://api.example/v1/live?room=a%20b&access_token=old'
  const { socket, last } = connected(new CountingSource(), {
    authenticate: undefined,
    tokenInQuery: 'access_token',
    url,
  })
  await turns()
  expect(last().url).toBe('wss://api.example/v1/live?room=a+b&access_token=token-1')
  expect(socket.url).toBe(url)
})

test('the token goes by header where nothing else is said, with the subprotocols of the app', async () => {
  const { last } = connected(new CountingSource(), { authenticate: undefined, protocols: ['v1.chat'] })
  await turns()
  expect(last().how).toEqual({ protocols: ['v1.chat'], headers: { authorization: 'Bearer token-1' } })
})

test('a bound token goes by header with a proof of the handshake, and no other way', async () => {
  const byHeader = connected(bound, { authenticate: undefined })
  await turns()
  expect(byHeader.last().how).toEqual({
    protocols: [],
    headers: { authorization: 'DPoP bound-token', dpop: 'proof of GET https://api.example/v1/live' },
  })
  const ways: Partial<AuthenticatedWebSocketOptions>[] = [
    {},
    { authenticate: undefined, protocols: (accessToken) => [accessToken] },
    { authenticate: undefined, tokenInQuery: 'access_token' },
  ]
  for (const way of ways) {
    const { sockets, ends } = connected(bound, way)
    await turns()
    expect(ends).toMatchObject([{ code: 'invalid-options', fix: expect.stringContaining('dpop()') }])
    expect(sockets).toEqual([])
  }
})

test('a source that signs, yet has a token that is not bound, may send it as it likes', async () => {
  const { last } = connected({ ...bound, authorize: async () => ({ accessToken: 'bearer', headers: {} }) })
  await turns()
  last().accept()
  expect(last().sent).toEqual(['auth bearer'])
})

test('the route of the address says which token is wanted', async () => {
  const apis = ['https://api.example/', { url: 'https://api.example/v1/live', scope: 'live' }]
  const { last } = connected(new CountingSource(), { apis })
  await turns()
  last().accept()
  expect(last().sent).toEqual(['auth token-1@live'])
})

test('only addresses that apis covers are called, over wss or to this machine', () => {
  const wrong = [
    ...['ws://api.example/v1/live', 'wss://api.example/other', 'wss://api.example.evil/v1/', 'wss://u@api.example/v1/'],
    ...['wss://api.example:444/v1/', 'wss://api.example/v1/..%2fother', 'ftp://api.example/v1/', 'nowhere', '', 'wss:'],
  ]
  const source = new CountingSource()
  for (const url of wrong) {
    expect(() => connected(source, { url }), url).toThrow(expect.objectContaining({ code: 'invalid-options' }))
  }
  expect(() => connected(source, { apis: 'http://api.example/', url: 'ws://api.example/' })).toThrow(
    expect.objectContaining({ code: 'insecure-url' }),
  )
  expect(source.asked).toEqual([])
  for (const url of ['wss://api.example:443/v1/live', 'WSS://API.example/v1/live#x', 'https://api.example/v1/live']) {
    const { socket } = connected(source, { url })
    expect(socket.url).toBe('wss://api.example/v1/live')
    socket.close()
  }
  const { socket } = connected(source, { apis: 'http://127.0.0.1:8080/', url: 'ws://127.0.0.1:8080/live' })
  expect(socket.url).toBe('ws://127.0.0.1:8080/live')
  socket.close()
})

test('options that cannot work are refused at once, with what to do', () => {
  const source = new CountingSource()
  const refused = (more: Partial<AuthenticatedWebSocketOptions>) => {
    try {
      connected(source, more).socket.close()
    } catch (error) {
      return error
    }
    return undefined
  }
  expect(refused({ tokenInQuery: 'access_token' })).toMatchObject({ code: 'invalid-options' })
  expect(refused({ protocols: () => [] })).toMatchObject({ code: 'invalid-options' })
  expect(refused({ protocols: ['chat'] })).toBeUndefined()
  const platform = globalThis.WebSocket
  onTestFinished(() => void Object.assign(globalThis, { WebSocket: platform }))
  Object.assign(globalThis, { WebSocket: undefined })
  expect(refused({ WebSocket: undefined })).toMatchObject({ fix: expect.stringContaining('package ws') })
  Object.assign(globalThis, { WebSocket: TestWebSocket })
  vi.stubGlobal(
    'Request',
    class extends Request {
      constructor(url: string) {
        super(url) // a browser drops Host
      }
    },
  )
  onTestFinished(() => void vi.unstubAllGlobals())
  expect(refused({ WebSocket: undefined, authenticate: undefined })).toMatchObject({
    code: 'invalid-options',
    message: 'A browser lets no WebSocket send headers',
  })
  expect(refused({ WebSocket: undefined })).toBeUndefined()
})

test('what is sent while no connection is open throws, and is never kept', async () => {
  const { socket, last } = connected(new CountingSource())
  const refused = expect.objectContaining({ code: 'not-connected', retryable: true })
  expect(() => socket.send('early')).toThrow(refused)
  await turns()
  expect(() => socket.send('early')).toThrow(refused)
  last().accept()
  last().drop()
  expect(() => socket.send('late')).toThrow(refused)
  await elapse(2 * SECOND)
  last().accept()
  expect(last().sent).toEqual(['auth token-1'])
  socket.close()
  expect(() => socket.send('over')).toThrow(refused)
})

test('a connection that is lost is made anew with another token; the app is told of both', async () => {
  const tokens = ['t1', 't2', 't3']
  const { sockets, told, disconnects, last } = connected({ getAccessToken: async () => tokens.shift() ?? '' })
  await turns()
  last().accept()
  last().drop(1001, 'going away')
  await turns()
  expect(told).toEqual(['open', 'disconnect'])
  expect(disconnects).toEqual([{ code: 1001, reason: 'going away', delay: expect.any(Number), error: undefined }])
  expect(disconnects[0]?.delay).toBeGreaterThanOrEqual(1000)
  expect(disconnects[0]?.delay).toBeLessThanOrEqual(1500)
  await elapse(2 * SECOND)
  last().accept()
  expect(told).toEqual(['open', 'disconnect', 'open'])
  expect(sockets.map(({ sent }) => sent)).toEqual([['auth t1'], ['auth t2']])
})

test('attempts that fail back off to three minutes at most; a connection that has lasted ends that', async () => {
  const { sockets, disconnects, last } = connected(new CountingSource())
  for (let round = 0; round < 180; round++) {
    await elapse(10 * SECOND, SECOND)
    last().drop()
  }
  expect(sockets.length).toBeLessThan(25)
  expect(disconnects.at(-1)).toMatchObject({ error: { code: 'not-connected' } })
  const delays = disconnects.map(({ delay }) => delay)
  delays.forEach((delay, failures) => {
    const least = Math.min(1000 * 2 ** failures, 120_000)
    expect(delay).toBeGreaterThanOrEqual(least)
    expect(delay).toBeLessThanOrEqual(least * 1.5)
  })
  while (last().readyState !== 0) await elapse(SECOND)
  last().accept()
  await elapse(11 * SECOND)
  last().drop()
  await turns()
  expect(disconnects.at(-1)?.delay).toBeLessThanOrEqual(1500)
})

test('a server that accepts and closes at once is not called in a storm', async () => {
  const { sockets, last } = connected(new CountingSource())
  for (let second = 0; second < 600; second++) {
    if (last === undefined || (sockets.at(-1)?.readyState ?? 3) === 0) {
      last().accept()
      last().message('welcome')
      last().drop(1011)
    }
    await elapse(SECOND, SECOND)
  }
  expect(sockets.length).toBeLessThan(20)
})

test('a handshake that nobody answers is given up', async () => {
  const { sockets, disconnects, last } = connected(new CountingSource())
  await elapse(31 * SECOND)
  expect(disconnects).toMatchObject([{ error: { code: 'timeout' } }])
  expect(sockets[0]?.closedWith).toBeDefined()
  await elapse(2 * SECOND)
  last().accept()
  expect(last().sent).toEqual(['auth token-1'])
})

test.each(['closed', 'given up'])(
  'a socket that opens although it was %s gets no token, and nobody is told',
  async (how) => {
    const { socket, told, last } = connected(new CountingSource())
    await turns()
    const late = last()
    vi.spyOn(late, 'close').mockReturnValue()
    if (how === 'closed') socket.close()
    else await elapse(30 * SECOND)
    late.accept()
    await turns()
    expect([late.sent, told.filter((what) => what === 'open')]).toEqual([[], []])
    expect(late.close).toHaveBeenCalledTimes(2)
    socket.close()
  },
)

test.each([1008, 3000, 4401])('a close with %s has the token renewed once; refused again it is over', async (code) => {
  const source = new CountingSource()
  const { sockets, told, ends, last } = connected(source)
  await turns()
  last().accept()
  last().drop(code)
  await elapse(2 * SECOND)
  last().accept()
  last().message('welcome') // servers greet before they look at the token
  last().drop(code)
  await elapse(10 * MINUTE)
  expect(sockets.map(({ sent }) => sent)).toEqual([['auth token-1'], ['auth token-2']])
  expect(source.refusals).toBe(1)
  expect(told).toEqual(['open', 'disconnect', 'open', 'message welcome', 'close'])
  expect(ends).toMatchObject([{ code: 'token-rejected', retryable: false }])
  expect(vi.getTimerCount()).toBe(0)
})

test('a token that was accepted for a while may be refused again later', async () => {
  const source = new CountingSource()
  const { ends, last } = connected(source)
  await turns()
  for (let round = 1; round <= 3; round++) {
    last().accept()
    await elapse(11 * SECOND)
    last().drop(4401)
    await elapse(3 * SECOND)
  }
  last().accept()
  expect(last().sent).toEqual(['auth token-4'])
  expect(ends).toEqual([])
})

test('a refusal is remembered over attempts that fail, and the refused token is never sent again', async () => {
  const source = new CountingSource()
  const { sockets, last } = connected(source)
  await turns()
  last().accept()
  last().drop(4401)
  await elapse(2 * SECOND)
  last().drop() // no network
  await elapse(10 * SECOND)
  last().accept()
  expect(last().sent).toEqual(['auth token-2'])
  expect(source.refusals).toBe(2)
  expect(sockets.length).toBe(3)
  last().drop() // it was refused by nobody
  await elapse(10 * SECOND)
  expect(sockets.length).toBe(4)
  expect(source.refusals).toBe(2)
})

test('a source that gives the refused token again ends it', async () => {
  const { sockets, ends, last } = connected({ getAccessToken: async () => 'always' })
  await turns()
  last().accept()
  last().drop(4401)
  await elapse(MINUTE)
  expect(ends).toMatchObject([{ code: 'token-rejected' }])
  expect(sockets.length).toBe(1)
})

test('which codes mean a refusal is the app’s to say', async () => {
  const source = new CountingSource()
  const { last } = connected(source, { refusalCodes: [4003] })
  await turns()
  last().accept()
  last().drop(4401)
  await elapse(2 * SECOND)
  expect(source.refusals).toBe(0)
  last().accept()
  last().drop(4003)
  await elapse(3 * SECOND)
  expect(source.refusals).toBe(1)
})

test('where no token can be had it is tried again when there may be one, and over when nobody is signed in', async () => {
  const source = new CountingSource()
  const unavailable = new TokenUnavailableError('network', 'No answer', { retryAt: Date.now() + 5 * MINUTE })
  vi.spyOn(source, 'getAccessToken')
    .mockRejectedValueOnce(unavailable)
    .mockRejectedValueOnce(new LoginRequiredError('login-required', 'Nobody is signed in'))
  const { told, disconnects, ends } = connected(source)
  await turns()
  expect(disconnects).toEqual([{ delay: 5 * MINUTE, error: unavailable }])
  await elapse(5 * MINUTE + SECOND)
  expect(told).toEqual(['disconnect', 'close'])
  expect(ends).toMatchObject([{ code: 'login-required' }])
})

test('the server’s 1000 ends it without an error, and so do close() and signal', async () => {
  const controller = new AbortController()
  const byServer = connected(new CountingSource())
  const byApp = connected(new CountingSource())
  const bySignal = connected(new CountingSource(), { signal: controller.signal })
  await turns()
  for (const { last } of [byServer, byApp, bySignal]) last().accept()
  byServer.last().drop(1000, 'done')
  byApp.socket.close(4000, 'bye')
  controller.abort()
  await elapse(5 * MINUTE)
  for (const { told, ends, sockets } of [byServer, byApp, bySignal]) {
    expect([told, ends, sockets.length]).toEqual([['open', 'close'], [undefined], 1])
  }
  expect(byApp.last().closedWith).toEqual({ code: 4000, reason: 'bye' })
  expect(bySignal.last().closedWith).toMatchObject({ code: 1000 })
  expect(vi.getTimerCount()).toBe(0)
})

test('close() with a code that nobody may send throws and closes nothing', async () => {
  const { socket, told, last } = connected(new CountingSource())
  await turns()
  last().accept()
  expect(() => socket.close(1001)).toThrow(RangeError)
  last().message('still here')
  expect(told).toEqual(['open', 'message still here'])
})

test('a close while it connects, or waits, leaves nothing behind; a signal aborted before begins nothing', async () => {
  const source = new CountingSource()
  const before = connected(source, { signal: AbortSignal.abort() })
  await turns()
  expect([before.told, source.asked.length]).toEqual([['close'], 0])

  const connecting = connected(source)
  await turns()
  connecting.socket.close()
  await turns()
  expect(connecting.last().readyState).toBe(3)
  const waiting = connected(source)
  await turns()
  waiting.last().drop()
  await turns()
  waiting.socket.close()
  await elapse(5 * MINUTE)
  expect([connecting.told, waiting.told]).toEqual([['close'], ['disconnect', 'close']])
  expect([connecting.sockets.length, waiting.sockets.length]).toEqual([1, 1])
  expect(vi.getTimerCount()).toBe(0)
})

test('in whatever moment it is closed, no socket is left', async () => {
  for (let moment = 0; moment < 20; moment++) {
    let give = (_: string) => {}
    const token = new Promise<string>((resolve) => (give = resolve))
    const { socket, sockets, told } = connected({ getAccessToken: () => token })
    await turns()
    give('token')
    for (let turn = 0; turn < moment; turn++) await undefined
    socket.close()
    await turns()
    expect([told, sockets.filter(({ readyState }) => readyState !== 3)], `after ${moment}`).toEqual([['close'], []])
  }
})

test('nothing that arrives after the end is told', async () => {
  const { socket, told, last } = connected(new CountingSource())
  await turns()
  last().accept()
  socket.close()
  last().message('late')
  await turns()
  expect(told).toEqual(['open', 'close'])
})

test('before its token ends another connection takes the place of the open one, which is read until the server has heard of that', async () => {
  const { source } = machine()
  const { socket, sockets, told, last } = connected(source)
  await turns(5)
  last().accept()
  await reconnecting()
  const [first, second] = sockets
  expect(first?.closedWith).toBeUndefined()
  socket.send('on the first')
  first?.message('of the first')
  second?.accept()
  socket.send('on the second')
  await elapse(0.9 * SECOND)
  first?.message('late of the first') // a platform drops what comes after a close
  expect(first?.closedWith).toBeUndefined()
  await elapse(0.2 * SECOND)
  expect(first?.closedWith).toMatchObject({ code: 1000 })
  expect([first?.sent, second?.sent]).toEqual([
    ['auth access-token-1', 'on the first'],
    ['auth access-token-2', 'on the second'],
  ])
  expect(told).toEqual(['open', 'message of the first', 'open', 'message late of the first'])
  await elapse(60 * MINUTE, SECOND)
  expect(sockets.length).toBe(3)
})

test('while one connection takes the place of another, an end closes both', async () => {
  const { source } = machine()
  const { socket, sockets, told, last } = connected(source)
  await turns(5)
  last().accept()
  await reconnecting()
  last().accept()
  socket.close(4000)
  expect(sockets.map(({ closedWith }) => closedWith?.code)).toEqual([4000, 4000])
  await elapse(2 * SECOND)
  expect(told).toEqual(['open', 'open', 'close'])
})

test('where the next connection cannot be had the open one stays, until there is one', async () => {
  const { source } = machine()
  const { sockets, told, last } = connected(source)
  await turns(5)
  last().accept()
  await reconnecting()
  sockets[1]?.drop()
  await turns()
  expect(sockets[0]?.closedWith).toBeUndefined()
  await elapse(2 * SECOND)
  sockets[2]?.accept()
  await elapse(2 * SECOND)
  expect(sockets[0]?.closedWith).toMatchObject({ code: 1000 })
  expect(told).toEqual(['open', 'open'])
})

test('a server that closes the old connection because of the new one is asked for no third', async () => {
  const { source } = machine()
  const { sockets, told, last } = connected(source)
  await turns(5)
  last().accept()
  await reconnecting()
  sockets[0]?.drop(4409)
  await turns()
  sockets[1]?.accept()
  await elapse(5 * SECOND)
  expect(sockets.length).toBe(2)
  sockets[1]?.message('here')
  expect(told).toEqual(['open', 'open', 'message here'])
})

test('where the app can say a token again, the connection stays and is given each', async () => {
  const { source } = machine()
  const { sockets, told, last } = connected(source, { reauthenticate: (accessToken) => `again ${accessToken}` })
  await turns(5)
  last().accept()
  await elapse(3 * 60 * MINUTE, 5 * SECOND)
  expect(sockets.length).toBe(1)
  expect(last().sent).toEqual([
    'auth access-token-1',
    ...['again access-token-2', 'again access-token-3', 'again access-token-4'],
  ])
  expect(told).toEqual(['open'])
})

test('a source whose every token is another one, and has ended already, is asked for one a second and no more', async () => {
  const { last } = connected(endedTokens(), { reauthenticate: (accessToken) => `again ${accessToken}` })
  await turns(5)
  last().accept()
  await elapse(20 * SECOND, 10)
  expect(last().sent.length).toBeGreaterThan(10)
  expect(last().sent.length).toBeLessThan(22)
})

test('a token that was said again is in no reason that a server closes with, nor is the one before', async () => {
  const { source } = machine()
  const { disconnects, last } = connected(source, { reauthenticate: (accessToken) => `again ${accessToken}` })
  await turns(5)
  last().accept()
  await elapse(61 * MINUTE, 5 * SECOND)
  last().drop(4000, 'no good: access-token-2')
  await elapse(2 * SECOND)
  last().accept()
  await elapse(61 * MINUTE, 5 * SECOND)
  last().drop(4000, 'no good: access-token-2')
  await turns()
  expect(disconnects.map(({ reason }) => reason)).toEqual(['', ''])
})

test('those who share one token do not reconnect in one moment, and all before it ends', async () => {
  const { source } = machine()
  vi.mocked(Math.random).mockRestore()
  const all = Array.from({ length: 20 }, () => connected(source))
  await turns(5)
  for (const { last } of all) last().accept()
  const times: number[] = []
  const start = Date.now()
  for (let second = 0; second < 3600; second += 5) {
    const before = all.filter(({ sockets }) => sockets.length > 1).length
    await elapse(5 * SECOND, 5 * SECOND)
    const after = all.filter(({ sockets }) => sockets.length > 1).length
    for (let count = before; count < after; count++) times.push((Date.now() - start) / SECOND)
  }
  expect(times).toHaveLength(20)
  expect(Math.min(...times)).toBeGreaterThan(3370)
  expect(new Set(times).size).toBeGreaterThan(8)
}, 120_000)

test.each(['signs out', 'is another'])('where the person %s it is closed at once, with a typed end', async (what) => {
  const app = startApp()
  await comeBack(app)
  await app.auth.handleCallback()
  const { told, ends, sockets, last } = connected(app.auth)
  await turns(5)
  last().accept()
  if (what === 'signs out') await app.auth.logout({ endSession: false })
  else {
    app.server.idToken = (claims) => ({ ...claims, sub: 'somebody else' })
    await comeBack(app)
    await app.auth.handleCallback()
  }
  last().message('for the person of before')
  await elapse(5 * MINUTE)
  expect(told).toEqual(['open', 'close'])
  expect(ends).toMatchObject([{ code: 'session-ended' }])
  expect(ends[0]).toBeInstanceOf(LoginRequiredError)
  expect(last().closedWith).toMatchObject({ code: 1000 })
  expect(sockets.length).toBe(1)
})

test('a session that ends while a connection is made leaves none open', async () => {
  const app = startApp()
  await comeBack(app)
  await app.auth.handleCallback()
  const { told, last } = connected(app.auth)
  await turns(5)
  await app.auth.logout({ endSession: false })
  await turns()
  expect(told).toEqual(['close'])
  expect(last().sent).toEqual([])
  expect(last().readyState).toBe(3)
})

test('a function of the app that throws ends it, and what listeners throw does not', async () => {
  const cause = new Error('no message today')
  const { ends, last } = connected(new CountingSource(), {
    authenticate: () => {
      throw cause
    },
  })
  await turns()
  last().accept()
  await turns()
  expect(ends).toMatchObject([{ code: 'callback-failed', cause: { message: cause.message } }])
  expect(last().readyState).toBe(3)
})

test('no token is in an address, an error, an event or what can be seen of it', async () => {
  const source: ConnectionSource = { getAccessToken: async () => 'secret-access-token' }
  const seen: unknown[] = []
  class Refusing {
    constructor(_: string, protocols: string[]) {
      throw new DOMException(`The subprotocol '${protocols[0]}' is invalid.`, 'SyntaxError')
    }
  }
  const refusing = connected(source, {
    authenticate: undefined,
    protocols: (accessToken) => [`no good ${accessToken}`],
    WebSocket: Refusing as never,
  })
  const throwing = connected(source, {
    authenticate: (accessToken) => {
      throw new Error(`cannot send ${accessToken}`)
    },
  })
  const query = connected(source, { authenticate: undefined, tokenInQuery: 'access_token' })
  await turns()
  throwing.last().accept()
  query.last().accept()
  query.last().drop(4000, 'bad token secret-access-token')
  await turns()
  for (const { socket, ends, disconnects } of [refusing, throwing, query]) seen.push(socket, ...ends, ...disconnects)
  expect(refusing.ends).toMatchObject([{ code: 'invalid-options', message: expect.stringContaining('SyntaxError') }])
  expect((throwing.ends[0] as OAuthError).code).toBe('callback-failed')
  expect(query.disconnects).toMatchObject([{ code: 4000, reason: '' }])
  for (const value of seen) expectNone(value, ['secret-access-token'])
  for (const { socket } of [refusing, throwing, query]) socket.close()
})

test('a token that no header can carry is no header', async () => {
  const source = { getAccessToken: async () => 'access-token\nof two lines' }
  const { ends } = connected(source, { authenticate: undefined })
  await turns()
  expect(ends).toMatchObject([{ code: 'invalid-response' }])
  expectNone(ends[0], ['access-token\nof two lines'])
})

test('binaryType is the app’s', async () => {
  const { last } = connected(new CountingSource(), { binaryType: 'arraybuffer' })
  await turns()
  expect(last().binaryType).toBe('arraybuffer')
})

test('in Node the platform’s own WebSocket is the default', () => {
  const socket = authenticatedWebSocket(new CountingSource(), { url: 'ws://127.0.0.1:9/', apis: 'http://127.0.0.1:9/' })
  socket.close()
  expect(socket.url).toBe('ws://127.0.0.1:9/')
})
