// An API as one writes it with the SDK: `accessTokenVerifier` knows which token may do what, and what to answer.
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { buffer } from 'node:stream/consumers'
import {
  type AccessRules,
  type AccessTokenVerifier,
  accessTokenVerifier,
  dpopNonces,
  VerificationError,
} from '@keyturn/node'

export interface VerifiedApiOptions {
  /** Of the authorization server, which starts after the API. */
  issuer: () => string
  /** What `aud` must name; default: the API's own URL. */
  audience?: string
  /** What every route wants of a token, by method and path such as `GET /`. */
  routes: Record<string, AccessRules>
  /** Whether it takes only tokens that are bound to a key, and only proofs with one of its nonces (RFC 9449); default false. */
  bound?: boolean
  /** Whether it refuses everything, to see what that looks like; default false. */
  refuse?: boolean
}

export interface VerifiedApi {
  url: string
  audience: string
  /** Requests that came, without preflights; those served. */
  readonly calls: number
  readonly served: number
  /** How many were answered with this error: a code of `VerificationError`. */
  refused(error: string): number
  /** Takes proofs with new nonces only, from now on. */
  forgetNonces(): void
  stop(): Promise<void>
}

/** An API on the loopback interface that tells whoever may call it what the token says. */
export async function startVerifiedApi(options: VerifiedApiOptions): Promise<VerifiedApi> {
  const { issuer, routes, bound = false, refuse = false } = options
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${Object(server.address()).port}/`
  const { audience = url } = options

  let calls = 0
  let served = 0
  const refusals = new Map<string, number>()
  let made: AccessTokenVerifier | undefined
  const verifier = () => {
    made ??= accessTokenVerifier({
      issuer: issuer(),
      audience,
      scope: 'api:read',
      ...(bound && { dpop: 'required', nonces: dpopNonces({ lifetime: 120 }) }),
      ...(refuse && { allows: () => false }),
    })
    return made
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '' } = request
    response.setHeader('access-control-allow-origin', '*')
    // Date: who has a wrong clock makes proofs for another time, and can see that.
    response.setHeader('access-control-expose-headers', 'WWW-Authenticate, DPoP-Nonce, Date')
    if (method === 'OPTIONS') {
      response.setHeader('access-control-allow-methods', 'GET, POST')
      response.setHeader('access-control-allow-headers', 'Authorization, Content-Type, DPoP')
      return void response.writeHead(204).end()
    }
    calls += 1
    const body = await buffer(request)
    const rules = routes[`${method} ${new URL(request.url ?? '', url).pathname}`]
    if (!rules) return send(response, 404, { error: 'not-found' })
    try {
      const { sub, client_id, acr, cnf } = await verifier().verify(request, rules)
      served += 1
      setAll(response, verifier().responseHeaders(request))
      send(response, 200, { sub, client_id, acr, key: Object(cnf).jkt, bytes: body.length })
    } catch (error) {
      if (!(error instanceof VerificationError)) throw error
      setAll(response, error.headers)
      refused(response, error.status, error.code, error.message)
    }
  }

  function refused(response: ServerResponse, status: number, error: string, message?: string): void {
    refusals.set(error, (refusals.get(error) ?? 0) + 1)
    send(response, status, { error, message })
  }

  server.on('request', (request, response) => {
    answer(request, response).catch((error) => {
      if (request.readableAborted) return // its client is gone
      console.error(error)
      response.writeHead(500).end()
    })
  })

  return {
    url,
    audience,
    get calls() {
      return calls
    },
    get served() {
      return served
    },
    refused: (error) => refusals.get(error) ?? 0,
    forgetNonces: () => {
      made = undefined // as a server that starts anew
    },
    stop: async () => {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}

function setAll(response: ServerResponse, headers: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
