import { createHash } from 'node:crypto'
import { type AccessTokenVerifier, type AccessTokenVerifierOptions, accessTokenVerifier } from '@keyturn/node'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from 'jose'

export const ISSUER = 'https://as.example'
export const AUDIENCE = 'https://api.example/'
export const URL_OF_ORDERS = 'https://api.example/orders?page=2'

type Pair = Awaited<ReturnType<typeof generateKeyPair>>
type Header = { alg?: string; typ?: string; kid?: string; jwk?: JWK }

const first = await generateKeyPair('ES256', { extractable: true })
/** What the client's tokens are bound to. */
export const proofKey: Pair = await generateKeyPair('ES256', { extractable: true })
let serial = 0

export const now = (): number => Math.floor(Date.now() / 1000)
export const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')

/** An authorization server that signs access tokens and tells about others. */
export class TokenServer {
  /** Every request, oldest first. */
  readonly requests: { path: string; headers: Headers; body: URLSearchParams }[] = []
  /** Public keys by their ids. */
  readonly keys = new Map<string, Pair>([['key-1', first]])
  isAway = false
  readonly issuer: string
  /** What is answered about tokens that are no JWTs. */
  opaque: Record<string, object> = {}

  constructor(issuer: string = ISSUER) {
    this.issuer = issuer
  }

  readonly fetch: typeof fetch = async (input, init) => {
    const request = new Request(input, init)
    const path = new URL(request.url).pathname
    const body = new URLSearchParams(await request.text())
    this.requests.push({ path, headers: request.headers, body })
    if (this.isAway) throw new TypeError('fetch failed')
    if (path.endsWith('/jwks')) {
      const jwks = [...this.keys].map(async ([kid, { publicKey }]) => ({ ...(await exportJWK(publicKey)), kid }))
      return Response.json({ keys: await Promise.all(jwks) })
    }
    if (path.endsWith('/introspect')) {
      if (request.headers.get('authorization') !== `Basic ${btoa('api:api-secret')}`) {
        return Response.json({ error: 'invalid_client' }, { status: 401 })
      }
      return Response.json(this.opaque[body.get('token') ?? ''] ?? { active: false })
    }
    if (!path.endsWith('/.well-known/openid-configuration')) return new Response(undefined, { status: 404 })
    const { issuer } = this
    return Response.json({ issuer, jwks_uri: `${issuer}/jwks`, introspection_endpoint: `${issuer}/introspect` })
  }

  asked(path: string): number {
    return this.requests.filter((request) => request.path === path).length
  }

  verifier(more: Partial<AccessTokenVerifierOptions> = {}): AccessTokenVerifier {
    return accessTokenVerifier({ issuer: ISSUER, audience: AUDIENCE, fetch: this.fetch, ...more })
  }
}

/** The claims of an access token, as RFC 9068 wants them. */
export function claimsOf(more: Record<string, unknown> = {}): JWTPayload {
  const claims = { iss: ISSUER, aud: AUDIENCE, sub: 'ada', client_id: 'app', iat: now(), exp: now() + 300 }
  return { ...claims, jti: `jti-${++serial}`, scope: 'orders:read profile', ...more }
}

/** An access token of the server, or what looks like one. */
export function signed(claims: JWTPayload = claimsOf(), header: Header = {}, { privateKey }: Pair = first) {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: 'key-1', ...header })
    .sign(privateKey)
}

/** What tokens that are bound to a key say of it (RFC 9449 section 6.1). */
export async function thumbprint({ publicKey }: Pair): Promise<string> {
  return calculateJwkThumbprint(await exportJWK(publicKey))
}

/** An access token that is bound to the client's key. */
export async function bound(more: Record<string, unknown> = {}): Promise<string> {
  const jkt = await thumbprint(proofKey)
  return signed(claimsOf({ cnf: { jkt }, ...more }))
}

/** A proof of the client's (RFC 9449 section 4.2). */
export async function proof(
  token: string,
  more: Record<string, unknown> = {},
  header: Header = {},
  key = proofKey,
): Promise<string> {
  const ath = createHash('sha256').update(token).digest('base64url')
  const claims = { htm: 'GET', htu: 'https://api.example/orders', iat: now(), jti: `proof-${++serial}`, ath, ...more }
  const jwk = await exportJWK(key.publicKey)
  return new SignJWT(claims).setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk, ...header }).sign(key.privateKey)
}

/** A request to the API. */
export function call(authorization?: string, headers: Record<string, string> = {}): Request {
  return new Request(URL_OF_ORDERS, { headers: { ...headers, ...(authorization !== undefined && { authorization }) } })
}
