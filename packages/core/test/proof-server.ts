import { createHash, randomUUID } from 'node:crypto'
import { calculateJwkThumbprint, EmbeddedJWK, jwtVerify } from 'jose'

const sha256 = (text: string) => createHash('sha256').update(text).digest('base64url')

/** A proof that came, checked. */
export interface Proof {
  url: string
  jwk: Record<string, unknown>
  thumbprint: string
  claims: Record<string, unknown>
}

type Endpoint = 'token' | 'api' | 'userinfo'

const ISSUER = 'https://as.example'
const HTTP = { use_dpop_nonce: 'a nonce is wanted', invalid_dpop_proof: 'the proof is not good' }

/**
 * An authorization server and an API that take nothing without a proof (RFC 9449), every one of which jose checks. The
 * API is at `https://api.example`, and any other host is one that must see neither token nor proof.
 */
export class ProofServer {
  readonly proofs: Proof[] = []
  /** Every request, oldest first. */
  readonly requests: { url: string; method: string; headers: Headers; body: URLSearchParams }[] = []
  /** Whether a proof needs the last nonce of whom it is for. */
  readonly wantsNonce: Record<Endpoint, boolean> = { token: false, api: false, userinfo: false }
  /** Whether each answer has another nonce. */
  changesNonce = false
  /** Whether no nonce is ever right. */
  neverContent = false
  /** Seconds that the clocks of both are ahead. */
  ahead = 0
  /** Seconds that the API's clock is ahead of that. */
  apiAhead = 0
  /** Seconds that the clock is ahead by which the `Date` of an answer is written: that of a proxy. */
  proxyAhead = 0
  /** Whether CORS shows challenges. */
  showsChallenge = true
  tokenType = 'DPoP'
  lifetime = 3600
  /** Refuses access tokens that came before the one with this number. */
  oldest = 0
  readonly #nonces: Record<Endpoint, string> = {
    token: 'nonce-token-0',
    api: 'nonce-api-0',
    userinfo: 'nonce-userinfo-0',
  }
  readonly #bound = new Map<string, string>()
  readonly #seen = new Set<unknown>()
  #serial = 0

  /** For the option `fetch`, and for what is called with a token. */
  readonly fetch: typeof fetch = async (input, init) => this.answer(new Request(input, init))

  get tokenRequests(): URLSearchParams[] {
    return this.requests.filter(({ url }) => url === `${ISSUER}/token`).map(({ body }) => body)
  }

  proofsFor(path: string): Proof[] {
    return this.proofs.filter(({ url }) => url.startsWith(path))
  }

  /** Knows a refresh token that was obtained elsewhere; with no key, it is bound to none. */
  bind(refreshToken: string, thumbprint: string | undefined): void {
    this.#bound.set(refreshToken, thumbprint ?? 'any')
  }

  async answer(request: Request): Promise<Response> {
    const { method, headers, url } = request
    const body = new URLSearchParams(method === 'POST' ? await request.text() : '')
    this.requests.push({ url, method, headers, body })
    const { origin, pathname } = new URL(url)
    if (pathname.startsWith('/.well-known')) {
      const endpoints = ['token', 'userinfo', 'authorization'].map((name) => [`${name}_endpoint`, `${ISSUER}/${name}`])
      return Response.json({ issuer: ISSUER, ...Object.fromEntries(endpoints) })
    }
    if (url === `${ISSUER}/token`) return this.#token(request, body)
    const endpoint = origin === ISSUER ? 'userinfo' : 'api'
    const [scheme, token = ''] = `${headers.get('authorization')}`.split(' ')
    const jkt = this.#bound.get(token)
    if (scheme !== 'DPoP' || !jkt || Number(/\d+$/.exec(token)) < this.oldest)
      return this.#challenge(endpoint, 'invalid_token')
    const problem = await this.#problemWith(request, endpoint, token, jkt)
    return problem
      ? this.#challenge(endpoint, problem)
      : Response.json({ sub: 'ada' }, { headers: this.#headers(endpoint) })
  }

  async #token(request: Request, body: URLSearchParams): Promise<Response> {
    const given = body.get('refresh_token') ?? ''
    const bound = this.#bound.get(given)
    const problem =
      (await this.#problemWith(request, 'token')) ?? (given && this.#otherKey(bound) ? 'invalid_grant' : undefined)
    if (problem) return Response.json({ error: problem }, { status: 400, headers: this.#headers('token', problem) })
    this.#bound.delete(given) // every one is good for one use
    const jkt = this.proofs.at(-1)?.thumbprint ?? ''
    const names = { access_token: `access-token-${++this.#serial}`, refresh_token: `refresh-token-${this.#serial}` }
    for (const token of Object.values(names)) this.#bound.set(token, jkt)
    const answer = { ...names, token_type: this.tokenType, expires_in: this.lifetime }
    return Response.json(answer, { headers: this.#headers('token') })
  }

  #otherKey(bound: string | undefined): boolean {
    return bound !== 'any' && bound !== this.proofs.at(-1)?.thumbprint
  }

  /** RFC 9449 section 4.3. */
  async #problemWith(
    { headers, method, url }: Request,
    endpoint: Endpoint,
    token?: string,
    jkt?: string,
  ): Promise<keyof typeof HTTP | undefined> {
    const { payload, protectedHeader } = await jwtVerify(headers.get('dpop') ?? '', EmbeddedJWK, {
      typ: 'dpop+jwt',
      algorithms: ['ES256'],
      currentDate: new Date(0), // the time is checked below
    })
    const jwk = { ...protectedHeader.jwk }
    const thumbprint = await calculateJwkThumbprint(jwk)
    this.proofs.push({ url, jwk, thumbprint, claims: payload })
    const { origin, pathname } = new URL(url)
    const good =
      !('d' in jwk) &&
      payload.htm === method &&
      payload.htu === origin + pathname &&
      payload.ath === (token && sha256(token)) &&
      (!jkt || jkt === thumbprint) &&
      typeof payload.jti === 'string' &&
      !this.#seen.has(payload.jti)
    this.#seen.add(payload.jti)
    if (!good || Math.abs(this.#now(endpoint) / 1000 - Number(payload.iat)) > 60) return 'invalid_dpop_proof'
    if (this.neverContent || (this.wantsNonce[endpoint] && payload.nonce !== this.#nonces[endpoint]))
      return 'use_dpop_nonce'
    return undefined
  }

  #challenge(endpoint: Endpoint, error: string): Response {
    const headers = this.#headers(endpoint, error)
    const challenge = { 'www-authenticate': `DPoP error="${error}", algs="ES256"` }
    return new Response(undefined, { status: 401, headers: { ...headers, ...(this.showsChallenge && challenge) } })
  }

  #now(endpoint: Endpoint): number {
    return Date.now() + 1000 * (this.ahead + (endpoint === 'api' ? this.apiAhead : 0))
  }

  #headers(endpoint: Endpoint, problem?: string): Record<string, string> {
    if (this.changesNonce) this.#nonces[endpoint] = `nonce-${endpoint}-${randomUUID()}`
    const tells = this.changesNonce || this.neverContent || problem === 'use_dpop_nonce'
    const date = new Date(this.#now(endpoint) + 1000 * this.proxyAhead).toUTCString()
    return { date, ...(tells && { 'dpop-nonce': this.#nonces[endpoint] }) }
  }
}
