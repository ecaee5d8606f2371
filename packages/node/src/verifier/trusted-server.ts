import { Client, type ClientOptions, confidential } from '@keyturn/core'
import type { AccessTokenClaims } from './access-rules.ts'
import { type AccessTokenProfile, RFC_9068 } from './access-token-profile.ts'
import { JwtAccessTokens } from './jwt-access-token.ts'
import type { PresentedToken } from './presented-token.ts'
import type { TokenChallenge } from './token-challenge.ts'
import { TokenIntrospection } from './token-introspection.ts'

/** An authorization server whose tokens are taken. */
export interface TrustedServerOptions extends Omit<ClientOptions, 'clientId' | 'idTokenSignature' | 'claims'> {
  /** Who asks about tokens that are no JWTs (RFC 7662). Default: such tokens are refused. */
  clientId?: string | undefined
  /** How its JWTs stray from RFC 9068, such as `entraId()`. Default: they don't. */
  profile?: AccessTokenProfile | undefined
}

export interface TokenLimits {
  readonly audiences: readonly string[]
  /** Seconds that clocks may differ by. */
  readonly tolerance: number
  /** Milliseconds that what the server says of a token is believed. */
  readonly introspectionLifetime: number
}

/** Knows good tokens of one authorization server, whoever sends them. */
export class TrustedServer {
  readonly #client: Client
  readonly #limits: TokenLimits
  readonly #jwts: JwtAccessTokens
  readonly #introspection: TokenIntrospection | undefined

  constructor(options: TrustedServerOptions, limits: TokenLimits) {
    const { clientId, profile = RFC_9068 } = options
    // Who only reads keys needs no name of its own: none is sent.
    const named = { ...options, claims: undefined, clientId: clientId ?? `${limits.audiences[0]}` }
    this.#client = new Client(confidential(named))
    this.#limits = limits
    this.#jwts = new JwtAccessTokens(this.#client, { ...limits, profile })
    this.#introspection =
      clientId === undefined ? undefined : new TokenIntrospection(this.#client, limits.introspectionLifetime)
  }

  get issuer(): string {
    return this.#client.issuer
  }

  /** Whether it can be asked about tokens that are no JWTs. */
  get introspects(): boolean {
    return this.#introspection !== undefined
  }

  /** Fetches what the first token will need. Rejects with an `OAuthError`. */
  async ready(): Promise<void> {
    const asksOnly = this.introspects && !(await this.#client.endpoint('jwks_uri'))
    await (asksOnly ? this.#client.requiredEndpoint('introspection_endpoint') : this.#jwts.ready())
  }

  /** The claims of a JWT of this server. Rejects with a `VerificationError`. */
  jwt(presented: PresentedToken, challenge: TokenChallenge): Promise<AccessTokenClaims> {
    return this.#jwts.verified(presented, challenge)
  }

  /** What the server says of a token that is no JWT. Rejects with a `VerificationError`. */
  async opaque({ token, scheme }: PresentedToken, challenge: TokenChallenge): Promise<AccessTokenClaims> {
    const { audiences, tolerance } = this.#limits
    const refused = (cause: string, description = 'The token is not good here') =>
      challenge.invalidToken(description, { scheme, cause: new Error(cause) })
    if (!this.#introspection) throw refused('it is no JWT, and there is no clientId to ask with')
    const { active, ...claims } = await this.#introspection.of(token).catch((error) => {
      throw challenge.unavailable(error)
    })
    const { iss = this.issuer, aud, exp, nbf, cnf, token_type: type } = claims
    const now = Date.now() / 1000
    if (!active) throw refused('the server says that it is not active')
    if (iss !== this.issuer) throw refused('its iss is another')
    if (![aud].flat().some((name) => audiences.includes(`${name}`))) throw refused('its aud is another')
    if (typeof exp === 'number' && exp <= now - tolerance) throw refused('exp', 'The token has expired')
    if (typeof nbf === 'number' && nbf > now + tolerance) throw refused('nbf', 'The token is not good yet')
    // A token of another type is bound to something; what it is bound to has to be said.
    const isOfBearer = type === undefined || /^(bearer|access_token)$/i.test(String(type))
    const isOfKey = /^dpop$/i.test(String(type)) && typeof Object(cnf).jkt === 'string'
    if (!isOfBearer && !isOfKey) throw refused('its type is another')
    // A refresh token is active, too.
    if (claims.token_use === 'refresh_token') throw refused('it is a refresh token')
    return claims
  }
}
