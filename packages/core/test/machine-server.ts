import { type CryptoKey, decodeJwt, type JWTPayload, jwtVerify } from 'jose'
import { http } from 'msw'
import { setupServer } from 'msw/node'
import { afterAll, beforeAll } from 'vitest'

export const ISSUER = 'https://as.example'
export const TOKEN_ENDPOINT = `${ISSUER}/token`
export const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
/** `urn:ietf:params:oauth:token-type:` and a name. */
export const typed = (name: string): string => `urn:ietf:params:oauth:token-type:${name}`

/** One token request, and what came of it. */
export interface SeenRequest {
  readonly grantType: string
  readonly body: URLSearchParams
  readonly authorization: string | null
  /** The error code that was answered; undefined: a token was. */
  error?: string | undefined
}

/** Whose token it is, and for what. */
export interface Issued {
  readonly subject: string
  readonly actor?: string | undefined
  readonly scope?: string | undefined
  readonly audience: readonly string[]
  readonly resource: readonly string[]
}

/**
 * An authorization server for machines in this process, which believes nothing: assertions are verified and taken once
 * (RFC 7523 section 3), tokens are exchanged only where it knows them (RFC 8693). Reachable through MSW
 * (`onPlatform`) or directly (`fetch`).
 */
export class MachineServer {
  readonly requests: SeenRequest[] = []
  /** Public keys of those whose assertions are trusted, by `iss`. */
  readonly trusted = new Map<string, CryptoKey>()
  /** Tokens that can be exchanged, and whose they are. */
  readonly subjects = new Map<string, string>()
  /** Access tokens by what they are. */
  readonly issued = new Map<string, Issued>()
  /** What of an answer is otherwise; `undefined` takes a member away. */
  more: Record<string, unknown> = {}
  /** What a token that is not known is refused with: RFC 8693 section 2.2.2 says this. */
  refusal = 'invalid_request'
  /** What is said of a refusal. */
  description: (body: URLSearchParams) => string = () => 'no'
  /** Answers instead; undefined: nothing. */
  instead: (body: URLSearchParams) => Response | undefined | Promise<Response | undefined> = () => undefined
  /** Whether tokens that are issued can be refreshed. */
  refreshable = false
  /** What `aud` of an assertion has to be. */
  audience = ISSUER
  readonly metadata: Record<string, unknown> = { issuer: ISSUER, token_endpoint: TOKEN_ENDPOINT }
  /** Milliseconds that its clock is ahead. */
  ahead = 0
  /** Milliseconds that it says so besides: a proxy may tell another time. */
  lies = 0
  /** Requests for the metadata. */
  discoveries = 0
  readonly #spent = new Set<string>()
  readonly #refreshTokens = new Map<string, Issued>()
  #serial = 0

  /** For tests with a clock of their own: nothing but promises. */
  readonly fetch: typeof fetch = (input, init) => this.answer(new Request(input, init))

  /** What is sent to it, from the first request on. */
  asked(grantType?: string): SeenRequest[] {
    return this.requests.filter((one) => grantType === undefined || one.grantType === grantType)
  }

  /** Verified as the server does it. */
  async claims(request: SeenRequest | undefined): Promise<JWTPayload> {
    const assertion = request?.body.get('assertion') ?? ''
    const key = this.trusted.get(decodeJwt(assertion).iss ?? '')
    if (!key) throw new Error('nobody whom the server trusts')
    const currentDate = new Date(Date.now() + this.ahead)
    const options = { audience: this.audience, requiredClaims: ['exp'], maxTokenAge: 3600, currentDate }
    return (await jwtVerify(assertion, key, options)).payload
  }

  async answer(request: Request): Promise<Response> {
    if (request.method === 'GET') {
      this.discoveries++
      return request.url.includes('openid') ? Response.json(this.metadata) : new Response(null, { status: 404 })
    }
    const body = new URLSearchParams(await request.text())
    const { headers } = request
    const grantType = body.get('grant_type') ?? ''
    const seen: SeenRequest = { grantType, body, authorization: headers.get('authorization') }
    this.requests.push(seen)
    const other = await this.instead(body)
    if (other) return other
    const issued = await this.#issued(seen)
    if (typeof issued === 'string') {
      seen.error = issued
      const said = { error: issued, error_description: this.description(body) }
      return Response.json(said, { status: 400, headers: this.#date() })
    }
    const access_token = `access-token-${++this.#serial}`
    this.issued.set(access_token, issued)
    const refresh_token = this.refreshable ? `refresh-token-${this.#serial}` : undefined
    if (refresh_token) this.#refreshTokens.set(refresh_token, issued)
    const issued_token_type = grantType === TOKEN_EXCHANGE ? typed('access_token') : undefined
    const { scope } = issued
    const answer = { access_token, token_type: 'Bearer', expires_in: 3600, scope, refresh_token, issued_token_type }
    return Response.json({ ...answer, ...this.more }, { headers: this.#date() })
  }

  #date() {
    return { date: new Date(Date.now() + this.ahead + this.lies).toUTCString() }
  }

  /** What is issued, or the error code of a refusal. */
  async #issued(seen: SeenRequest): Promise<Issued | string> {
    const { body, grantType } = seen
    const wanted = {
      scope: body.get('scope') ?? undefined,
      audience: body.getAll('audience'),
      resource: body.getAll('resource'),
    }
    if (grantType === 'refresh_token') return this.#refreshed(body.get('refresh_token') ?? '')
    if (grantType === JWT_BEARER) {
      try {
        const { sub, iss, jti, exp = 0, iat = 0, scope = wanted.scope } = await this.claims(seen)
        if (exp - iat > 3600 || !jti || this.#spent.has(jti)) return 'invalid_grant'
        this.#spent.add(jti)
        return { ...wanted, subject: sub ?? `${iss}`, scope: scope as string | undefined }
      } catch {
        return 'invalid_grant'
      }
    }
    if (grantType !== TOKEN_EXCHANGE) return 'unsupported_grant_type'
    const subject = this.subjects.get(body.get('subject_token') ?? '')
    const actor = body.has('actor_token') ? this.subjects.get(body.get('actor_token') ?? '') : undefined
    const isTyped = body.has('subject_token_type') && body.has('actor_token') === body.has('actor_token_type')
    if (subject === undefined || !isTyped || (body.has('actor_token') && actor === undefined)) return this.refusal
    return { ...wanted, subject, actor }
  }

  #refreshed(refreshToken: string): Issued | string {
    const issued = this.#refreshTokens.get(refreshToken)
    this.#refreshTokens.delete(refreshToken)
    return issued ?? 'invalid_grant'
  }

  /** Every refresh token is dead from now on. */
  forgetRefreshTokens(): void {
    this.#refreshTokens.clear()
  }
}

/** For every test of the file: the platform's fetch ends at the server that was put up last. */
export function onPlatform(): (server: MachineServer) => void {
  let current = new MachineServer()
  const msw = setupServer(http.all(`${ISSUER}/*`, ({ request }) => current.answer(request)))
  beforeAll(() => msw.listen({ onUnhandledFrame: 'error' }))
  afterAll(() => msw.close())
  return (server) => {
    current = server
  }
}
