import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { buffer } from 'node:stream/consumers'

/** What one of the servers was sent. */
export interface Recorded {
  /** The name and port that the client took it for. */
  host: string
  method: string
  path: string
  /** All that only an API should see. */
  secrets: string[]
  body: string
  contentType: string | undefined
}

export interface RecordingServers {
  ports: [api: number, other: number]
  requests: Recorded[]
  close(): Promise<void>
}

const SECRET = ['authorization', 'dpop', 'x-signed']

/**
 * Two servers that write down what they are sent, whatever name they are called by, and let every page read their
 * answers. `/v1/to/302?to=…` redirects; a path that ends with `/once` is refused with a 401 the first time.
 */
export async function startRecordingServers(): Promise<RecordingServers> {
  const requests: Recorded[] = []
  const refused = new Set<string>()
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    response.setHeader('access-control-allow-origin', '*')
    response.setHeader('access-control-expose-headers', '*')
    if (request.method === 'OPTIONS') {
      const methods = 'GET, HEAD, POST, PUT, PATCH, DELETE'
      const headers = `${SECRET}, content-type, x-own`
      response.setHeader('access-control-allow-methods', methods).setHeader('access-control-allow-headers', headers)
      return response.setHeader('access-control-max-age', '600').writeHead(204).end()
    }
    const { host = '', 'content-type': contentType } = request.headers
    const path = request.url ?? ''
    const secrets = SECRET.flatMap((name) => request.headers[name] ?? [])
    const body = (await buffer(request)).toString('base64')
    requests.push({ host, method: request.method ?? '', path, secrets, body, contentType })
    const url = new URL(path.replace(/^\/+/, '/'), 'http://here')
    const [, status] = /\/to\/(\d+)$/.exec(url.pathname) ?? []
    const location = url.searchParams.get('to')
    if (status && location !== null) return response.writeHead(Number(status), { location: encodeURI(location) }).end()
    if (url.pathname.endsWith('/once') && !refused.has(path)) {
      refused.add(path)
      return response.writeHead(401, { 'www-authenticate': 'Bearer error="invalid_token"' }).end()
    }
    response.end('here')
  }
  const listen = async () => {
    const server = createServer((request, response) => void answer(request, response))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return server
  }
  const servers: [Server, Server] = [await listen(), await listen()]
  const portOf = (server: Server) => Number(Object(server.address()).port)
  return {
    ports: [portOf(servers[0]), portOf(servers[1])],
    requests,
    async close() {
      for (const server of servers) {
        server.close()
        server.closeAllConnections()
      }
    },
  }
}
