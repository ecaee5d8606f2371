import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { onTestFinished } from 'vitest'

/** What a server was sent. */
export interface Received {
  method: string
  path: string
  headers: IncomingMessage['headers']
  body: Buffer
}

export interface LoopbackServer {
  /** Without a slash at its end. */
  origin: string
  /** Every request, oldest first. */
  requests: Received[]
}

/** A real server on 127.0.0.1 until the test is finished. */
export async function loopbackServer(
  answer: (request: Received, response: ServerResponse, count: number) => void,
): Promise<LoopbackServer> {
  const requests: Received[] = []
  const server = createServer()
  server.on('request', (request, response) => {
    void buffer(request).then((body) => {
      const received = { method: request.method ?? '', path: request.url ?? '', headers: request.headers, body }
      requests.push(received)
      answer(received, response, requests.length)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(async () => {
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  })
  const address = server.address()
  const port = typeof address === 'object' && address ? address.port : 0
  return { origin: `http://127.0.0.1:${port}`, requests }
}

/** Answers with JSON. */
export function json(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
