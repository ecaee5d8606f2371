import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { OAuthError } from '@keyturn/core'
import { type ClosingPage, sendClosingPage } from './closing-page.ts'

/** Takes one response, and calls `reply` with the page that the person is to see. */
export type LoopbackListener = (url: string, reply: (page: ClosingPage) => Promise<void>) => Promise<void>

/** Where an authorization response comes back to on this machine. */
export interface LoopbackReceiver {
  readonly redirectUri: string
  /** Closes it, and every connection, whoever waits for what. */
  close(): Promise<void>
}

/** What all other requests get. */
export const notFound: ClosingPage = {
  status: 404,
  title: 'Nothing here',
  text: 'This address only takes the answer of a sign-in that is under way.',
}

const PATH = '/callback'

/**
 * Listens at a free port of 127.0.0.1, which nobody else's machine reaches (RFC 8252 section 7.3), for GETs of one path.
 * Rejects with an `OAuthError` where it cannot listen.
 */
export async function loopbackReceiver(listener: LoopbackListener): Promise<LoopbackReceiver> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening').catch((cause) => {
    throw new OAuthError('navigation-failed', 'Cannot listen on 127.0.0.1', { cause })
  })
  const address = server.address()
  const port = typeof address === 'object' && address ? address.port : 0
  const host = `127.0.0.1:${port}`
  const origin = `http://${host}`
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const url = URL.parse(request.url ?? '', origin)
    // A name that leads here (DNS rebinding) is in the Host header of the page that uses it.
    const isOurs = request.method === 'GET' && request.headers.host === host
    const reply = (page: ClosingPage) => sendClosingPage(response, page)
    if (isOurs && url?.origin === origin && url.pathname === PATH) void listener(url.href, reply)
    else void reply(notFound)
  })
  return {
    redirectUri: `${origin}${PATH}`,
    async close() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections() // browsers keep some open that they have no use for
      await closed
    },
  }
}
