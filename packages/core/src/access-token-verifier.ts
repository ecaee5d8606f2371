import { type AccessRules, type AccessTokenClaims, obey, scopesOf } from './access-rules.ts'
import { Client } from './client.ts'
import { confidential } from './client-authentication.ts'
import type { ClientOptions } from './client-options.ts'
import { OAuthError } from './errors.ts'
import { isJwt, JwtAccessTokens } from './jwt-access-token.ts'
import { type PresentedToken, presentedToken, type VerifiableRequest } from './presented-token.ts'
import { secureUrl } from './secure-url.ts'
import { TokenChallenge } from './token-challenge.ts'
import { TokenIntrospection } from './token-introspection.ts'

/** What an API takes; the rules are those of every request. */
export interface AccessTokenVerifierOptions
  extends AccessRules,
    Omit<ClientOptions, 'clientId' | 'idTokenSignature' | 'claims'> {
  /** What `aud` has to name (RFC 9068 section 4); of several, one. */
  audience: string | readonly string[]
  /** Who asks about tokens that are no JWTs (RFC 7662). Default: such tokens are refused. */
  clientId?: string | undefined
  /** Milliseconds that what the server says of such a token is believed: how long one lives that was revoked. Default: 30 000. */
  introspectionLifetime?: number | undefined
  /** `required`: only tokens that are bound to a key are taken (RFC 9449). Default: others, too. */
  dpop?: 'required' | undefined
  /** Where clients reach the API, such as `https://api.example.com`; proofs are made for it. Default: as the request says. */
  origin?: string | undefined
  /** The URL of `protectedResourceMetadata()`, told to who is refused (RFC 9728 section 5.1). Default: not told. */
  resourceMetadata?: string | undefined
  /** Seconds that the server's clock may differ by. Default: 5. */
  clockTolerance?: number | undefined
}

export interface AccessTokenVerifier<Request = VerifiableRequest> {
  /**
   * The claims of the request's access token. Rejects with a `VerificationError`, which knows what to answer. `rules`
   * are laid on top of those of all requests.
   */
  verify(request: Request, rules?: AccessRules): Promise<AccessTokenClaims>
}

/**
 * Verifies the access tokens that an API is sent: JWTs by the server's keys (RFC 9068), others by asking the server
 * (RFC 7662), a token that is bound to a key with its proof (RFC 9449). Throws an `OAuthError` where options are wrong.
 */
export function accessTokenVerifier(options: AccessTokenVerifierOptions): AccessTokenVerifier {
  const { audience, clientId, introspectionLifetime = 30_000, clockTolerance: tolerance = 5, dpop } = options
  const audiences = [audience].flat()
  if (audiences.length === 0 || !audiences.every((name) => typeof name === 'string' && name !== '')) {
    throw new OAuthError('invalid-options', 'audience cannot be used', { fix: 'Set audience: what aud has to name.' })
  }
  const origin = options.origin && secureUrl(options.origin, options.allowInsecureRequests).origin
  // Who only reads keys needs no name of its own: none is sent.
  const client = new Client(confidential({ ...options, claims: undefined, clientId: clientId ?? `${audiences[0]}` }))
  const isBound = dpop === 'required'
  const jwts = new JwtAccessTokens(client, { audiences, tolerance })
  const introspection = clientId === undefined ? undefined : new TokenIntrospection(client, introspectionLifetime)

  const opaque = async ({ token, scheme }: PresentedToken, challenge: TokenChallenge): Promise<AccessTokenClaims> => {
    const refused = (cause: string, description = 'The token is not good here') =>
      challenge.invalidToken(description, { scheme, cause: new Error(cause) })
    if (introspection === undefined) throw refused('it is no JWT, and there is no clientId to ask with')
    const { active, ...claims } = await introspection.of(token).catch((error) => {
      throw challenge.unavailable(error)
    })
    const { iss = client.issuer, aud, exp, nbf, cnf, token_type: type } = claims
    const now = Date.now() / 1000
    if (!active) throw refused('the server says that it is not active')
    if (iss !== client.issuer) throw refused('its iss is another')
    if (![aud].flat().some((name) => audiences.includes(`${name}`))) throw refused('its aud is another')
    if (typeof exp === 'number' && exp <= now - tolerance) throw refused('exp', 'The token has expired')
    if (typeof nbf === 'number' && nbf > now + tolerance) throw refused('nbf', 'The token is not good yet')
    // Nobody here can check the proof of such a token.
    const isOfBearer = type === undefined || /^(bearer|access_token)$/i.test(String(type))
    if (cnf !== undefined || scheme !== 'Bearer' || !isOfBearer) throw refused('it is bound to a key')
    // A refresh token is active, too.
    if (claims.token_use === 'refresh_token') throw refused('it is a refresh token')
    return claims
  }

  const verified = async (request: VerifiableRequest, presented: PresentedToken, challenge: TokenChallenge) => {
    if (isBound && presented.scheme === 'Bearer') {
      throw challenge.invalidToken('Only tokens that are bound to a key are taken', { scheme: 'DPoP' })
    }
    if (!isJwt(presented.token)) return opaque(presented, challenge)
    return jwts.verified(presented, reachedAt(origin, request), challenge)
  }
  // A route that asks for more looks at the same request again: its proof has not come twice.
  const known = new WeakMap<VerifiableRequest, { token: string; verifying: Promise<AccessTokenClaims> }>()

  return {
    async verify(request, rules = {}) {
      const scope = scopesOf(options.scope, rules.scope).join(' ') || undefined
      const challenge = new TokenChallenge({ scope, resourceMetadata: options.resourceMetadata, isBound })
      const presented = presentedToken(request, challenge)
      const before = known.get(request)
      const isSame = before?.token === presented.token
      const verifying = isSame ? before.verifying : verified(request, presented, challenge)
      known.set(request, { token: presented.token, verifying })
      const claims = await verifying
      for (const each of [options, rules]) await obey(each, claims, presented.scheme, challenge)
      return claims
    },
  }
}

/** The request as its client knows it, whatever host a proxy has put in. */
function reachedAt(origin: string | undefined, { method, url, headers }: VerifiableRequest): VerifiableRequest {
  const path = origin && URL.parse(url)?.pathname
  return { method, url: path ? origin + path : url, headers }
}
