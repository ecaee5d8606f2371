import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { queryObjects } from 'node:v8'
import {
  type AuthenticatedWebSocket,
  type AuthenticatedWebSocketEvents,
  authenticatedEvents,
  authenticatedWebSocket,
  type ConnectionSource,
  type TokenSource,
} from '@keyturn/core'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket as OtherWebSocket, WebSocketServer } from 'ws'
import { CountingSource } from './counting-source.ts'

/** A real server on 127.0.0.1 until the test is finished. */
async function started(answer: (request: IncomingMessage, response: ServerResponse) => void) {
  const server = createServer(answer)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return { server, host: `127.0.0.1:${Object(server.address()).port}` }
}

const STREAM = { 'content-type': 'text/event-stream' }

test('a stream over HTTP goes on where it was cut off, with another token where the last one is refused', async () => {
  const requests: unknown[] = []
  const { host } = await started(({ headers }, response) => {
    const { authorization, 'last-event-id': id, accept } = headers
    requests.push([authorization, id, accept])
    if (authorization === 'Bearer token-1' && id) return response.writeHead(401).end()
    response.writeHead(200, STREAM)
    const next = Number(id ?? 0) + 1
    response.write(`retry: 100\nid: ${next}\ndata: ü${next}\n\nid: lost\ndata: not complete`)
    setImmediate(() => response.destroy())
  })
  const source = new CountingSource()
  const data: string[] = []
  for await (const event of authenticatedEvents(source, { url: `http://${host}/events`, apis: `http://${host}/` })) {
    data.push(event.data)
    if (data.length === 3) break
  }
  expect(data).toEqual(['ü1', 'ü2', 'ü3'])
  expect(requests).toEqual([
    ['Bearer token-1', undefined, 'text/event-stream'],
    ['Bearer token-1', '1', 'text/event-stream'],
    ['Bearer token-2', '1', 'text/event-stream'],
    ['Bearer token-2', '2', 'text/event-stream'],
  ])
})

test('leaving the loop closes the connection at the server', async () => {
  let closed: Promise<unknown> | undefined
  const { host } = await started((request, response) => {
    closed = once(request.socket, 'close')
    response.writeHead(200, STREAM).write('data: a\n\n')
  })
  for await (const _ of authenticatedEvents(new CountingSource(), { url: `http://${host}/`, apis: `http://${host}/` }))
    break
  await closed
  expect(closed).toBeDefined()
})

test.each([301, 302, 303, 307, 308])(
  'a stream that is redirected (%s) to another origin carries no token there',
  async (status) => {
    const seen: unknown[] = []
    const signed: TokenSource = {
      getAccessToken: async () => 'secret',
      authorize: async () => ({ accessToken: 'secret', headers: { authorization: 'DPoP secret', dpop: 'proof' } }),
    }
    const other = await started(({ headers }, response) => {
      seen.push(headers.authorization, headers.dpop)
      response.writeHead(200, STREAM).write('data: elsewhere\n\n')
    })
    const { host } = await started((_, response) =>
      response.writeHead(status, { location: `http://${other.host}/events` }).end(),
    )
    for (const source of [new CountingSource(), signed]) {
      const apis = [`http://${host}/`, `http://${other.host}/`]
      for await (const { data } of authenticatedEvents(source, { url: `http://${host}/events`, apis })) {
        expect(data).toBe('elsewhere')
        break
      }
    }
    expect(seen).toEqual([undefined, undefined, undefined, undefined])
  },
)

test('a line without an end is given up while it comes, and its connection is closed', async () => {
  let sent = 0
  const { host } = await started((_, response) => {
    response.writeHead(200, STREAM)
    const more = () => {
      while (!response.closed && response.write(':'.repeat(10_000))) sent += 10_000
    }
    response.on('drain', more)
    more()
  })
  const stream = authenticatedEvents(new CountingSource(), { url: `http://${host}/`, apis: `http://${host}/` })
  const events = stream[Symbol.asyncIterator]()
  await expect(events.next()).rejects.toMatchObject({ code: 'connection-failed' })
  expect(sent).toBeLessThan(20_000_000)
})

/** A WebSocket server that writes down its handshakes, and knows the protocol `chat`. */
async function listening() {
  const { server, host } = await started((_, response) => response.writeHead(404).end())
  const sockets = new WebSocketServer({ server, handleProtocols: (all) => [...all].at(0) ?? false })
  const handshakes: { url: string | undefined; authorization: string | undefined; protocols: string | undefined }[] = []
  sockets.on('connection', (_, { url, headers }) => {
    handshakes.push({ url, authorization: headers.authorization, protocols: headers['sec-websocket-protocol'] })
  })
  onTestFinished(() => {
    for (const client of sockets.clients) client.terminate()
    sockets.close()
  })
  return { sockets, handshakes, url: `ws://${host}/live`, apis: `http://${host}/` }
}

const told = <T extends keyof AuthenticatedWebSocketEvents>(socket: AuthenticatedWebSocket, type: T) =>
  new Promise<AuthenticatedWebSocketEvents[T]>((resolve) => socket.addEventListener(type, resolve, { once: true }))

test.each([
  ['the platform’s WebSocket', undefined],
  ['that of the package ws', OtherWebSocket],
])('%s sends the token as a header, with the subprotocols of the app', async (_, WebSocket) => {
  const { sockets, handshakes, url, apis } = await listening()
  sockets.on('connection', (client) =>
    client.on('message', (data, isBinary) => client.send(data, { binary: isBinary })),
  )
  const protocols = WebSocket ? [] : ['chat']
  const options = { url, apis, protocols, binaryType: 'arraybuffer' as const, ...(WebSocket && { WebSocket }) }
  const socket = authenticatedWebSocket(new CountingSource(), options)
  await told(socket, 'open')
  expect(handshakes).toEqual([
    { url: '/live', authorization: 'Bearer token-1', protocols: WebSocket ? undefined : 'chat' },
  ])
  for (const message of ['text', Uint8Array.of(1, 2, 3).buffer]) {
    const answer = told(socket, 'message')
    socket.send(message)
    expect((await answer).data).toEqual(message)
  }
  socket.close()
})

test('a token that is refused by message is renewed, and the next connection has the other one', async () => {
  const { sockets, handshakes, url, apis } = await listening()
  const messages: string[] = []
  sockets.on('connection', (client) =>
    client.on('message', (data) => {
      messages.push(`${data}`)
      if (`${data}` === 'token-2') client.send('welcome')
      else client.close(4401, `no good: ${data}`)
    }),
  )
  const authenticate = (accessToken: string) => accessToken
  const socket = authenticatedWebSocket(new CountingSource(), { url, apis, authenticate })
  expect(await told(socket, 'disconnect')).toMatchObject({ code: 4401, reason: '' })
  expect((await told(socket, 'message')).data).toBe('welcome')
  expect(messages).toEqual(['token-1', 'token-2'])
  expect(handshakes.map(({ authorization }) => authorization)).toEqual([undefined, undefined])
  socket.close()
})

test('a subprotocol and a query parameter carry the token where the app says so', async () => {
  const { handshakes, url, apis } = await listening()
  const first = authenticatedWebSocket(new CountingSource(), { url, apis, protocols: (token) => ['chat', token] })
  await told(first, 'open')
  const second = authenticatedWebSocket(new CountingSource(), { url, apis, tokenInQuery: 'access_token' })
  await told(second, 'open')
  expect(handshakes).toEqual([
    { url: '/live', authorization: undefined, protocols: 'chat, token-1' },
    { url: '/live?access_token=token-1', authorization: undefined, protocols: undefined },
  ])
  first.close()
  second.close()
})

test('a token that is no subprotocol ends it without showing it', async () => {
  const { url, apis } = await listening()
  const protocols = (token: string) => [`${token} `]
  const socket = authenticatedWebSocket(new CountingSource(), { url, apis, protocols })
  const { error } = await told(socket, 'close')
  expect(error).toMatchObject({ code: 'invalid-options' })
  expect(String(error?.stack)).not.toContain('token-1')
})

test('a redirect of the handshake is not followed, so that no token goes along', async () => {
  const other = await listening()
  const { host } = await started((_, response) => response.end())
  const redirecting = await started((_, response) => response.end())
  redirecting.server.on('upgrade', (_, socket) =>
    socket.end(`HTTP/1.1 307 Temporary Redirect\r\nlocation: ${other.url}\r\nconnection: close\r\n\r\n`),
  )
  const apis = [`http://${redirecting.host}/`, `http://${host}/`, other.apis]
  const socket = authenticatedWebSocket(new CountingSource(), { url: `ws://${redirecting.host}/`, apis })
  expect(await told(socket, 'disconnect')).toMatchObject({ error: { code: 'not-connected' } })
  socket.close()
  expect(other.handshakes).toEqual([])
})

test('of connections that are gone no timer is left, however long their tokens live', async () => {
  const source: ConnectionSource = {
    getAccessToken: async () => 'token',
    getTokenSet: async () => {
      const issuedAt = Date.now()
      return { accessToken: 'token', tokenType: 'Bearer', issuedAt, expiresAt: issuedAt + 86_400_000 }
    },
  }
  const stream = () => new Response(new Blob(['data: a\n\n']), { headers: STREAM })
  const loop = async (times: number) => {
    for (let time = 0; time < times; time++) {
      const options = { url: 'https://api.example/', apis: 'https://api.example/', fetch: async () => stream() }
      for await (const _ of authenticatedEvents(source, options)) break
    }
  }
  const kept = () => queryObjects(listOfTimers(), { format: 'count' })
  await loop(10)
  const before = kept()
  await loop(200)
  expect(kept() - before).toBeLessThan(20)
})

/** Node keeps one for all timers of the same milliseconds. */
function listOfTimers(): () => void {
  const timer = setTimeout(() => {}, 1_000_000)
  const { constructor: list } = Object(Object(timer)._idleNext)
  clearTimeout(timer)
  return list
}
