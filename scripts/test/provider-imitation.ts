import { createHash } from 'node:crypto'
import { type CryptoKey, decodeProtectedHeader, type JWTHeaderParameters, jwtVerify } from 'jose'
import { type HttpHandler, http } from 'msw'

export const CLIENT_SECRET = 'a-secret-of-the-client'
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'

/** What is said instead of a token. */
export interface Refusal {
  readonly error: string
  readonly error_description?: string
  /** Default: 400. */
  readonly status?: number
  readonly [member: string]: unknown
}

/** A request as the provider sees it: of a code and a refresh token also what was asked for at the login. */
export interface Asked {
  readonly body: URLSearchParams
  readonly login: URLSearchParams
  readonly grantType: string
  /** Claims and header of the assertion that the client proved itself by, or that is its grant. */
  readonly claims?: Record<string, unknown> | undefined
  readonly header?: JWTHeaderParameters | undefined
}

/** Where a provider is, and how it strays. */
export interface Oddities {
  readonly issuer: string
  readonly metadata: Record<string, string> & { token_endpoint: string }
  /** Whose assertions are believed, by `iss`. */
  readonly keys?: Record<string, CryptoKey>
  /** Clients that have no secret. */
  readonly publicClients?: readonly string[]
  /** What it does not do; undefined: it does. */
  refuses?(asked: Asked): Refusal | undefined
  /** What it does not let anybody sign in for. */
  refusesLogin?(login: URLSearchParams): string | undefined
  /** Whether this login gives a refresh token. */
  givesRefreshToken?(login: URLSearchParams): boolean
  /** Whether a refresh gives another refresh token; the one before is good for a while yet. */
  readonly rotates?: boolean
  /** What it answers in place of what the standards say. */
  answers?(answer: Record<string, unknown>, asked: Asked): Record<string, unknown>
  /** Whether it takes this kind of token for revocation. */
  revokes?(body: URLSearchParams): Refusal | undefined
}

/** A provider in this process: as strict as the standards say, and as odd as its documentation. */
export class ProviderImitation {
  readonly #oddities: Oddities
  readonly #codes = new Map<string, URLSearchParams>()
  readonly #refreshTokens = new Map<string, URLSearchParams>()
  #serial = 0
  /** Token requests, oldest first. */
  readonly asked: Asked[] = []
  /** Revocation requests, oldest first. */
  readonly revoked: URLSearchParams[] = []
  /** Access tokens, and the requests that they were issued for. */
  readonly issued = new Map<string, Asked>()
  /** Loses the next answer after the request was served. */
  losesNextAnswer = false
  readonly handlers: HttpHandler[]

  constructor(oddities: Oddities) {
    this.#oddities = oddities
    const { issuer, metadata } = oddities
    const document = { ...metadata, issuer, id_token_signing_alg_values_supported: ['RS256'] }
    const { token_endpoint, revocation_endpoint } = metadata
    this.handlers = [
      http.get(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`, () => Response.json(document)),
      http.post(token_endpoint, async ({ request }) => {
        const answer = await this.#answer(new URLSearchParams(await request.text()), request.headers)
        if (!this.losesNextAnswer) return answer
        this.losesNextAnswer = false
        return Response.error()
      }),
    ]
    if (revocation_endpoint) {
      this.handlers.push(
        http.post(revocation_endpoint, async ({ request }) => {
          const body = new URLSearchParams(await request.text())
          this.revoked.push(body)
          const refusal = oddities.revokes?.(body)
          return refusal ? Response.json(refusal, { status: 400 }) : new Response('')
        }),
      )
    }
  }

  /** What a person's browser is sent back to who has signed in. */
  authorize(address: string): string {
    const url = new URL(address)
    const login = url.searchParams
    const { authorization_endpoint } = this.#oddities.metadata
    if (url.origin + url.pathname !== authorization_endpoint) throw new Error(`not the login page: ${address}`)
    const back = new URL(login.get('redirect_uri') ?? '')
    const error = this.#oddities.refusesLogin?.(login)
    const code = `code-${++this.#serial}`
    this.#codes.set(code, login)
    for (const [name, value] of Object.entries(error ? { error } : { code })) back.searchParams.set(name, value)
    back.searchParams.set('state', login.get('state') ?? '')
    return back.href
  }

  async #answer(body: URLSearchParams, headers: Headers): Promise<Response> {
    try {
      const asked = await this.#understood(body, headers)
      const refusal = this.#oddities.refuses?.(asked)
      if (refusal) throw refusal
      this.asked.push(asked)
      return Response.json(this.#issue(asked))
    } catch (refusal) {
      if (refusal instanceof Error) throw refusal
      const { status = 400, ...said } = refusal as Refusal
      return Response.json(said, { status })
    }
  }

  async #understood(body: URLSearchParams, headers: Headers): Promise<Asked> {
    const grantType = body.get('grant_type') ?? ''
    const { keys = {}, publicClients = [] } = this.#oddities
    const jwt = body.get('client_assertion') ?? (grantType === JWT_BEARER ? body.get('assertion') : null)
    const basic = headers.get('authorization')?.replace('Basic ', '')
    const [, secret = body.get('client_secret')] = basic ? atob(basic).split(':').map(decodeURIComponent) : []
    let said: Pick<Asked, 'claims' | 'header'> = {}
    if (secret === null && jwt !== null) {
      const { iss } = JSON.parse(Buffer.from(`${jwt.split('.')[1]}`, 'base64url').toString())
      const { metadata, issuer } = this.#oddities
      const audience = [issuer, metadata.token_endpoint]
      const key = keys[iss]
      if (!key) throw { error: 'invalid_client' }
      const { payload } = await jwtVerify(jwt, key, { audience })
      said = { claims: payload, header: decodeProtectedHeader(jwt) as JWTHeaderParameters }
    } else if (secret !== CLIENT_SECRET && !publicClients.includes(body.get('client_id') ?? '(not named)')) {
      throw { error: 'invalid_client', status: 401 }
    }
    return { body, grantType, login: this.#loginOf(body), ...said }
  }

  /** The login that a code or a refresh token comes from; nothing for machines. */
  #loginOf(body: URLSearchParams): URLSearchParams {
    const code = body.get('code')
    if (code !== null) {
      const login = this.#codes.get(code)
      this.#codes.delete(code)
      const challenge = createHash('sha256')
        .update(`${body.get('code_verifier')}`)
        .digest('base64url')
      if (login?.get('code_challenge') !== challenge) throw { error: 'invalid_grant' }
      return login
    }
    const refreshToken = body.get('refresh_token')
    if (refreshToken === null) return new URLSearchParams()
    const login = this.#refreshTokens.get(refreshToken)
    if (!login) throw { error: 'invalid_grant' }
    return login
  }

  #issue(asked: Asked): Record<string, unknown> {
    const { body, login, grantType } = asked
    const { rotates, givesRefreshToken, answers } = this.#oddities
    const access_token = `access-token-${++this.#serial}`
    this.issued.set(access_token, asked)
    const begins = grantType === 'authorization_code' && givesRefreshToken?.(login)
    const refresh_token = begins || (grantType === 'refresh_token' && rotates) ? `refresh-${this.#serial}` : undefined
    if (refresh_token) this.#refreshTokens.set(refresh_token, login)
    const scope = body.get('scope') ?? login.get('scope') ?? undefined
    const isOpenId = login.get('scope')?.split(' ').includes('openid')
    const answer = {
      ...{ access_token, token_type: 'Bearer', expires_in: 3600, scope, refresh_token },
      ...(isOpenId && { id_token: this.#idToken(login, grantType) }),
      ...(grantType === TOKEN_EXCHANGE && { issued_token_type: 'urn:ietf:params:oauth:token-type:access_token' }),
    }
    return answers?.(answer, asked) ?? answer
  }

  /** TLS stands for its signature. */
  #idToken(login: URLSearchParams, grantType: string): string {
    const now = Math.floor(Date.now() / 1000)
    const nonce = grantType === 'authorization_code' ? (login.get('nonce') ?? undefined) : undefined
    const who = { iss: this.#oddities.issuer, aud: login.get('client_id'), sub: 'ada' }
    const parts = [
      { alg: 'RS256', kid: '1' },
      { ...who, iat: now, exp: now + 3600, nonce },
    ]
    return `${parts.map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')}.c2ln`
  }
}
