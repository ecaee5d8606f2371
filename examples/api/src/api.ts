// An API of your own: no framework, and jose for what a resource server has to check (RFC 6750, RFC 9068; in
// `proof.ts` RFC 9449).
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { createRemoteJWKSet, errors, type JWTPayload, jwtVerify } from 'jose'
import { Proofs } from './proof.ts'

export interface ApiOptions {
  /** Of the authorization server; a function where that starts after the API. */
  issuer: string | (() => string)
  /** What `aud` must name; default: the API's own URL. */
  audience?: string
  /** The scope that every call needs; default: none. */
  scope?: string
  /** Default: any that is free. */
  port?: number
  /** Whether every DPoP proof needs a nonce of this API (RFC 9449 section 9); default false. */
  dpopNonce?: boolean
}

export interface RunningApi {
  url: string
  audience: string
  /** Requests that were served with a token that is bound to a key, and a proof of that. */
  readonly proven: number
  /** Requests that came, without preflights; those refused with 401 or 403; those served. */
  readonly calls: number
  readonly refusals: number
  readonly served: number
  /** Answers the next requests with 401 `invalid_token`, however good their tokens are. */
  refuseNext(requests: number): void
  stop(): Promise<void>
}

/** Why a request is refused: the status and the challenge's parameters (RFC 6750 section 3). */
class Refusal extends Error {
  readonly status: number
  readonly challenge: Record<string, string>

  constructor(status: number, challenge: Record<string, string> = {}) {
    super(challenge.error_description ?? 'no token')
    this.status = status
    this.challenge = challenge
  }
}

const invalidToken = (description: string) =>
  new Refusal(401, { error: 'invalid_token', error_description: description })

/** An API on the loopback interface that answers whoever brings an access token issued for it. */
export async function startApi(options: ApiOptions): Promise<RunningApi> {
  const server = createServer()
  server.listen(options.port ?? 0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const url = `http://127.0.0.1:${typeof address === 'object' && address ? address.port : options.port}/`
  const audience = options.audience ?? url

  let calls = 0
  let refusals = 0
  let served = 0
  let toRefuse = 0
  let proven = 0
  const proofs = new Proofs({ nonces: options.dpopNonce })

  let keys: ReturnType<typeof createRemoteJWKSet> | undefined
  async function verify(token: string): Promise<JWTPayload> {
    const issuer = typeof options.issuer === 'string' ? options.issuer : options.issuer()
    keys ??= createRemoteJWKSet(await jwksUri(issuer))
    const { payload } = await jwtVerify(token, keys, { issuer, audience, typ: 'at+jwt', requiredClaims: ['exp'] })
    return payload
  }

  async function authorize(request: IncomingMessage): Promise<JWTPayload> {
    const [, scheme, token] = /^(Bearer|DPoP) +(\S+)$/i.exec(request.headers.authorization ?? '') ?? []
    if (!token) throw new Refusal(401)
    const isProven = scheme?.toLowerCase() === 'dpop'
    if (toRefuse > 0) {
      toRefuse -= 1
      throw invalidToken('refused on purpose')
    }
    const payload = await verify(token).catch((cause) => {
      if (cause instanceof errors.JWKSTimeout || !(cause instanceof errors.JOSEError)) throw cause
      throw invalidToken(cause.code === 'ERR_JWT_EXPIRED' ? 'the token is expired' : 'the token is not good here')
    })
    if (isProven) {
      const { method = '', headers } = request
      const problem = await proofs.problemWith({
        proof: String(headers.dpop),
        method,
        url: new URL(request.url ?? '', url),
        accessToken: token,
        thumbprint: Object(payload.cnf).jkt,
      })
      if (problem) throw new Refusal(401, { error: problem, algs: 'ES256' })
      proven += 1
    } else if (payload.cnf) throw invalidToken('the token is bound to a key') // RFC 9449 section 7.2: never as Bearer
    const { scope } = options
    if (scope && !String(payload.scope).split(' ').includes(scope)) {
      throw new Refusal(403, { error: 'insufficient_scope', scope })
    }
    return payload
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.setHeader('access-control-allow-origin', '*')
    response.setHeader('access-control-expose-headers', 'WWW-Authenticate, DPoP-Nonce')
    if (request.method === 'OPTIONS') {
      response.setHeader('access-control-allow-methods', 'GET, POST, PUT, PATCH, DELETE')
      response.setHeader('access-control-allow-headers', 'Authorization, Content-Type, DPoP')
      response.writeHead(204).end()
      return
    }

    calls += 1
    if (proofs.nonce) response.setHeader('dpop-nonce', proofs.nonce)
    try {
      const body = await buffer(request)
      const { sub, client_id } = await authorize(request)
      served += 1
      send(response, 200, {
        sub,
        client_id,
        audience,
        path: request.url,
        ...(request.method !== 'GET' && {
          bytes: body.length,
          sha256: createHash('sha256').update(body).digest('hex'),
        }),
      })
    } catch (error) {
      // The authorization server's keys are out of reach: that says nothing about the token.
      if (!(error instanceof Refusal)) return send(response, 503, { error: 'temporarily_unavailable' })
      refusals += 1
      const parameters = Object.entries({ realm: audience, ...error.challenge })
      const scheme = /^dpop /i.test(request.headers.authorization ?? '') ? 'DPoP' : 'Bearer'
      response.setHeader(
        'www-authenticate',
        `${scheme} ${parameters.map(([name, text]) => `${name}="${text}"`).join(', ')}`,
      )
      send(response, error.status, error.challenge)
    }
  }

  server.on('request', (request, response) => void answer(request, response))

  return {
    url,
    audience,
    get proven() {
      return proven
    },
    get calls() {
      return calls
    },
    get refusals() {
      return refusals
    },
    get served() {
      return served
    },
    refuseNext: (requests) => {
      toRefuse = requests
    },
    stop: async () => {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}

/** Where the keys are, by the issuer's metadata (OpenID Connect Discovery 1.0 section 4). */
async function jwksUri(issuer: string): Promise<URL> {
  const response = await fetch(`${issuer}/.well-known/openid-configuration`)
  const metadata: unknown = await response.json()
  return new URL(String(Object(metadata).jwks_uri))
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
