import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { extname, join } from 'node:path'

export interface StaticServer {
  origin: string
  stop(): Promise<void>
}

const types: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.json': 'application/json' }

/**
 * Serves a built folder as a careful host would: nothing may run but the page's own scripts, no text becomes markup or
 * script, and the page may talk to `connect()` only. `headers` come with every answer. `/` is one page, `/callback` and `/lab` the other, `/config.json` its settings.
 */
export async function serveFolder(
  folder: string,
  config: () => unknown,
  connect: () => string[],
  headers: Record<string, string> = {},
): Promise<StaticServer> {
  const lab = '/test/lab/index.html'
  const pages: Record<string, string> = { '/': '/index.html', '/callback': lab, '/lab': lab }
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost')
    const policy = [
      "default-src 'none'",
      "script-src 'self'",
      "img-src 'self'", // Firefox asks the policy for the favicon
      `connect-src 'self' ${connect().join(' ')}`,
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
      "require-trusted-types-for 'script'",
      "trusted-types 'none'",
    ]
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
    response.appendHeader('content-security-policy', policy.join('; '))
    response.setHeader('referrer-policy', 'no-referrer')
    if (pathname === '/config.json') return response.end(JSON.stringify(config()))
    if (pathname === '/favicon.ico') return response.writeHead(204).end()
    const path = pages[pathname] ?? pathname
    try {
      const file = await readFile(join(folder, path))
      response.setHeader('content-type', types[extname(path)] ?? 'application/octet-stream')
      response.end(file)
    } catch {
      response.writeHead(404, { 'content-type': 'text/html' }).end('<!doctype html><title>Elsewhere</title>')
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const stop = async () => {
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  }
  return { origin: `http://127.0.0.1:${Object(server.address()).port}`, stop }
}
