import { secureUrl } from '@keyturn/core'
import { decodeJwt } from 'jose'
import {
  type AccessRules,
  type AccessTokenClaims,
  areRules,
  assertRules,
  isAmount,
  obey,
  scopesOf,
  wrong,
} from './access-rules.ts'
import type { ApiRequest } from './api-request.ts'
import { type ClientCertificate, certificateReader } from './client-certificate.ts'
import type { DPoPNonces } from './dpop-nonces.ts'
import { DPoPProofs } from './dpop-proofs.ts'
import { JwtHeaders } from './jwt-headers.ts'
import { type PresentedToken, presentedToken } from './presented-token.ts'
import { TokenBinding } from './token-binding.ts'
import { TokenChallenge } from './token-challenge.ts'
import type { TrustedServerOptions } from './trusted-server.ts'
import type { TrustedIssuer } from './trusted-servers.ts'
import { trustedServers } from './trusted-servers.ts'

/** What an API takes; the rules are those of every request. */
export interface AccessTokenVerifierOptions extends AccessRules, Omit<TrustedServerOptions, 'issuer'> {
  /**
   * The authorization server's issuer identifier (RFC 8414 section 2). Where tokens of several servers are taken: what
   * each of them needs, with `clientId` for one at most.
   */
  issuer: string | readonly TrustedIssuer[]
  /** What `aud` has to name (RFC 9068 section 4); of several, one. */
  audience: string | readonly string[]
  /** Milliseconds that what the server says of a token that is no JWT is believed: how long one lives that was revoked. Default: 30 000. */
  introspectionLifetime?: number | undefined
  /** `required`: only tokens that are bound to a key are taken (RFC 9449). Default: others, too. */
  dpop?: 'required' | undefined
  /** `dpopNonces()`: proofs need a nonce of this API (RFC 9449 section 9). Default: they don't. */
  nonces?: DPoPNonces | undefined
  /** Where clients reach the API, such as `https://api.example.com`; proofs are made for it. Default: as the request says. */
  origin?: string | undefined
  /**
   * Where a proxy ends TLS: the name of the header in which it tells the client's certificate, or a function that gives it.
   * The proxy has to take away such a header of the client's (RFC 8705 section 6.5). Default: the certificate of the
   * request's own connection.
   */
  clientCertificate?: string | ClientCertificate | undefined
  /** The URL of `protectedResourceMetadata()`, told to who is refused (RFC 9728 section 5.1). Default: not told. */
  resourceMetadata?: string | undefined
  /** Seconds that the server's clock may differ by. Default: 5. */
  clockTolerance?: number | undefined
}

/** Lets requests in, or tells what to answer. */
export interface AccessTokenVerifier {
  /**
   * The claims of the request's access token. Rejects with a `VerificationError`, which knows what to answer. `rules`
   * are laid on top of those of all requests.
   */
  verify(request: ApiRequest, rules?: AccessRules): Promise<AccessTokenClaims>
  /**
   * Headers for the answer to a request that was verified: a newer `DPoP-Nonce`, once that of its proof is half through
   * its life, and that caches keep no such answer (RFC 9449 section 8.2). Else none.
   */
  responseHeaders(request: ApiRequest): Readonly<Record<string, string>>
  /**
   * Fetches metadata and keys, so that the first request need not wait. Rejects with an `OAuthError` where they cannot be
   * had; nothing is lost by that, and nobody has to listen: the next request tries again, every half second at most.
   */
  ready(): Promise<void>
}

/** What has become of a request's proof, or certificate. */
interface Proven {
  /** Scheme and token. */
  readonly sent: string
  /** Gives a newer nonce to tell. */
  readonly checking: Promise<string | undefined>
  nonce?: string | undefined
}

/**
 * Verifies the access tokens that an API is sent: JWTs by the server's keys (RFC 9068), others by asking the server
 * (RFC 7662), a token that is bound to a key with its proof (RFC 9449) or its certificate (RFC 8705). Throws an
 * `OAuthError` where options are wrong; so does `verify()` for rules that are.
 */
export function accessTokenVerifier(options: AccessTokenVerifierOptions): AccessTokenVerifier {
  const { dpop, nonces, clientCertificate, clockTolerance = 5, resourceMetadata } = options
  assertRules(options)
  if (dpop !== undefined && dpop !== 'required') throw wrong('dpop cannot be used', "Say 'required', or leave it out.")
  if (!isAmount(clockTolerance)) throw wrong('clockTolerance cannot be used', 'Give seconds, as a number.')
  const servers = trustedServers(options, clockTolerance)
  const [only] = servers
  const origin = options.origin && secureUrl(options.origin, 'origin', options.allowInsecureRequests).origin
  const proofs = new DPoPProofs(nonces, clockTolerance)
  const binding = new TokenBinding({ proofs, certificateOf: certificateReader(clientCertificate), origin })
  const isBound = dpop === 'required'

  const jwts = new JwtHeaders()
  const claimsOf = (presented: PresentedToken, challenge: TokenChallenge): Promise<AccessTokenClaims> => {
    const refused = (cause: string) =>
      challenge.invalidToken('The token is not good here', { scheme: presented.scheme, cause: new Error(cause) })
    if (!presented.isJwt) {
      const server = servers.find(({ introspects }) => introspects)
      if (!server) throw refused('it is no JWT, and there is no clientId to ask with')
      return server.opaque(presented, challenge)
    }
    // Whose it says it is decides who is asked; whether that is true, the signature tells.
    const server = servers.length === 1 ? only : servers.find(({ issuer }) => issuer === issuerOf(presented.token))
    if (!server) throw refused('its iss is none of those that are trusted')
    return server.jwt(presented, challenge)
  }

  const challengeFor = (scope: string | undefined) => new TokenChallenge({ scope, resourceMetadata, isBound })
  const hasRules = areRules(options)
  const everyday = challengeFor(scopesOf(options.scope).join(' ') || undefined)
  const boundOnly = (challenge: TokenChallenge) =>
    challenge.invalidToken('Only tokens that are bound to a key are taken', { scheme: 'DPoP' })
  // A route that asks for more looks at the same request again: its proof has not come twice. Its token may have ended since.
  const known = new WeakMap<ApiRequest, Proven>()
  const prove = async (
    claims: AccessTokenClaims,
    request: ApiRequest,
    presented: PresentedToken,
    challenge: TokenChallenge,
  ) => {
    const sent = `${presented.scheme} ${presented.token}`
    let entry = known.get(request)
    if (entry?.sent !== sent) {
      entry = { sent, checking: binding.check(claims, presented, request, challenge) }
      known.set(request, entry)
    }
    entry.nonce = await entry.checking
  }

  return {
    async verify(request, rules) {
      if (rules) assertRules(rules)
      const challenge = rules?.scope ? challengeFor(scopesOf(options.scope, rules.scope).join(' ')) : everyday
      const presented = presentedToken(request, jwts, challenge)
      const { scheme } = presented
      if (isBound && scheme === 'Bearer') throw boundOnly(challenge)
      // To look at a token once more costs those who ask twice less than to remember it would cost everybody.
      const claims = await claimsOf(presented, challenge)
      if (claims.cnf !== undefined || scheme === 'DPoP') await prove(claims, request, presented, challenge)
      if (hasRules) await obey(options, claims, scheme, challenge)
      if (rules) await obey(rules, claims, scheme, challenge)
      return claims
    },

    responseHeaders(request): Record<string, string> {
      const nonce = known.get(request)?.nonce
      return nonce === undefined ? {} : { 'dpop-nonce': nonce, 'cache-control': 'no-store' }
    },

    ready() {
      const fetched = Promise.all(servers.map((server) => server.ready())).then(() => {})
      fetched.catch(() => {}) // who does not wait for it learns of it with the first request
      return fetched
    },
  }
}

/** Not verified. */
function issuerOf(token: string): unknown {
  try {
    return decodeJwt(token).iss
  } catch {
    return undefined // it is nobody's
  }
}
