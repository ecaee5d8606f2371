import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { WebSocketServer } from 'ws'

export interface ConnectionServer {
  host: string
  /** Every request and handshake: what it carried to tell who sends it, and where it goes on. */
  requests: string[]
  close(): Promise<void>
}

/**
 * A server for pages of any origin. `/events` gives one event per connection and refuses `token-1` from the second on;
 * `/away` redirects there by another origin. A WebSocket is told `welcome` for `token-2`, and closed with 4401 otherwise.
 */
export async function startConnectionServer(): Promise<ConnectionServer> {
  const requests: string[] = []
  const answer = ({ method, url, headers }: IncomingMessage, response: ServerResponse) => {
    response.setHeader('access-control-allow-origin', '*')
    response.setHeader('access-control-allow-headers', 'authorization, last-event-id')
    if (method === 'OPTIONS') return response.writeHead(204).end()
    const { host, authorization, 'last-event-id': id } = headers
    requests.push([host?.split(':')[0], url, authorization, id].filter(Boolean).join(' '))
    if (url === '/away') return response.writeHead(307, { location: `http://localhost:${port}/events` }).end()
    if (id && authorization === 'Bearer token-1') return response.writeHead(401).end()
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(`retry: 100\nid: ${Number(id ?? 0) + 1}\ndata: ünï\n\n`)
    if (id !== '1') response.end()
  }
  const server = createServer(answer)
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (socket, { url, headers }) => {
    requests.push(
      ['handshake', url, headers.authorization, headers['sec-websocket-protocol']].filter(Boolean).join(' '),
    )
    socket.on('message', (data) => {
      requests.push(`message ${data}`)
      if (`${data}` === 'token-2') socket.send('welcome')
      else socket.close(4401)
    })
  })
  server.listen(0)
  await once(server, 'listening')
  const { port } = Object(server.address())
  return {
    host: `127.0.0.1:${port}`,
    requests,
    async close() {
      for (const socket of sockets.clients) socket.terminate()
      server.close()
      server.closeAllConnections()
    },
  }
}
