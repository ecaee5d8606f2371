import { type Client, OAuthError, ServerKeys } from '@keyturn/core'
import { createLocalJWKSet, decodeProtectedHeader, type JWTVerifyGetKey, type JWTVerifyOptions, jwtVerify } from 'jose'
import type { AccessTokenClaims } from './access-rules.ts'
import { type AccessTokenProfile, normalized, problemWith } from './access-token-profile.ts'
import { ALGORITHMS } from './algorithms.ts'
import type { PresentedToken } from './presented-token.ts'
import type { TokenChallenge } from './token-challenge.ts'

/** Milliseconds that keys stay good through an outage of the server. */
const LONGEST_OUTAGE = 86_400_000
/** What jose says where none of the keys, or more than one, could be meant: never are several tried. */
const UNKNOWN_KEY = ['ERR_JWKS_NO_MATCHING_KEY', 'ERR_JWKS_MULTIPLE_MATCHING_KEYS']

export interface JwtAccessTokenOptions {
  readonly audiences: readonly string[]
  /** Seconds that clocks may differ by. */
  readonly tolerance: number
  readonly profile: AccessTokenProfile
}

/** Whether a token is a JWT, as far as it can be seen (RFC 7515 section 3.1). */
export function isJwt(token: string): boolean {
  try {
    return token.split('.', 3).length === 3 && typeof decodeProtectedHeader(token).alg === 'string'
  } catch {
    return false // which is the answer
  }
}

/** Verifies access tokens of one server that are JWTs (RFC 9068 section 4). */
export class JwtAccessTokens {
  readonly #keys: ServerKeys<JWTVerifyGetKey>
  readonly #options: JwtAccessTokenOptions
  readonly #wanted: JWTVerifyOptions

  constructor(client: Client, options: JwtAccessTokenOptions) {
    this.#keys = new ServerKeys<JWTVerifyGetKey>(client, {
      prepare: ({ keys }) => createLocalJWKSet({ keys: [...keys] }),
      isUnknownKey: (error) => UNKNOWN_KEY.includes(Object(error).code),
      longest: LONGEST_OUTAGE,
    })
    this.#options = options
    this.#wanted = {
      algorithms: ALGORITHMS,
      issuer: client.issuer,
      clockTolerance: options.tolerance,
      requiredClaims: ['exp', 'iat'],
    }
  }

  /** Rejects with an `OAuthError` where there are no keys. */
  ready(): Promise<void> {
    return this.#keys.ready()
  }

  /** The claims of a token that is good, as RFC 9068 names them. Rejects with a `VerificationError`. */
  async verified({ token, scheme }: PresentedToken, challenge: TokenChallenge): Promise<AccessTokenClaims> {
    const { audiences, tolerance, profile } = this.#options
    const verifying = this.#keys.verified((keys) => jwtVerify(token, keys, this.#wanted))
    const { payload, protectedHeader } = await verifying.catch((cause) => {
      if (cause instanceof OAuthError) throw challenge.unavailable(cause)
      const isOld = Object(cause).code === 'ERR_JWT_EXPIRED'
      throw challenge.invalidToken(isOld ? 'The token has expired' : 'The token is not good here', { scheme, cause })
    })
    const problem = problemWith(profile, protectedHeader.typ, payload, audiences)
    if (problem) throw challenge.invalidToken('The token is not good here', { scheme, cause: new Error(problem) })
    if (Number(payload.iat) > Date.now() / 1000 + tolerance) {
      throw challenge.invalidToken('The token is not good yet', { scheme })
    }
    return normalized(profile, payload)
  }
}
