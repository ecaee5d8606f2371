import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { extname } from 'node:path'
import { json } from 'node:stream/consumers'
import type { PageSettings, PageState, Trouble } from './page-contract.ts'
import { buildPage } from './page-files.ts'

/** What the page is about; asked for when a browser comes. */
export interface PageBackground {
  settings: () => PageSettings
  state: () => PageState
  make: (trouble: Trouble) => Promise<void>
}

export interface PageServer {
  origin: string
  stop(): Promise<void>
}

const types: Record<string, string> = {
  '.css': 'text/css',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.svg': 'image/svg+xml',
}
const troubles: readonly unknown[] = ['503', '429', 'hang', 'away', 'back', 'revoke', 'ok']

/** Serves the page on the loopback interface, under a policy that lets nothing run but its own scripts. */
export async function startPageServer({ settings, state, make }: PageBackground): Promise<PageServer> {
  const files = buildPage()
  files.catch(() => {}) // told to whoever asks for the page
  const server = createServer((request, response) => {
    answer(request, response).catch((error) => {
      console.error(error)
      response.writeHead(500).end()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const host = `127.0.0.1:${Object(server.address()).port}`

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // Another name for this address is how a foreign page would get at it (DNS rebinding).
    if (request.headers.host !== host) return void response.writeHead(421).end()
    response.setHeader('cache-control', 'no-store')
    response.setHeader('x-content-type-options', 'nosniff')
    const { pathname } = new URL(request.url ?? '/', `http://${host}`)
    const route = `${request.method} ${pathname}`
    if (route === 'GET /config.json') return send(response, settings())
    if (route === 'GET /state') return send(response, state())
    if (route === 'POST /break') {
      // The header is one that no other site's page may send unasked.
      if (request.headers['x-playground'] === undefined) return void response.writeHead(403).end()
      const { kind } = Object(await json(request).catch(() => undefined))
      if (!isTrouble(kind)) return void response.writeHead(400).end()
      await make(kind)
      return send(response, state())
    }
    const path = pathname === '/' ? '/index.html' : pathname
    const file = request.method === 'GET' ? (await files).get(path) : undefined
    if (file === undefined) return void response.writeHead(404).end()
    response.setHeader('content-security-policy', policy(settings()))
    response.setHeader('referrer-policy', 'no-referrer')
    response.setHeader('content-type', types[extname(path)] ?? 'application/octet-stream')
    response.end(file)
  }

  const stop = async () => {
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await Promise.all([closed, files.catch(() => {})])
  }
  return { origin: `http://${host}`, stop }
}

/** Nothing but the page's own files, and connections to the servers that it is for. */
function policy({ issuer, apis, payments, vault }: PageSettings): string {
  const origins = [...apis, payments, vault].map(({ url }) => new URL(url).origin)
  return [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    `connect-src 'self' ${[issuer, ...origins].join(' ')}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; ')
}

function isTrouble(kind: unknown): kind is Trouble {
  return troubles.includes(kind)
}

function send(response: ServerResponse, body: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
