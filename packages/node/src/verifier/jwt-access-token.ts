import type { VerificationError } from '@keyturn/core'
import { type Client, OAuthError, ServerKeys } from '@keyturn/core'
import { type JWTVerifyGetKey, type JWTVerifyOptions, jwtVerify } from 'jose'
import type { AccessTokenClaims } from './access-rules.ts'
import { type AccessTokenProfile, normalized, problemWith } from './access-token-profile.ts'
import { localKeys, UNKNOWN_KEY } from './local-keys.ts'
import type { PresentedToken } from './presented-token.ts'
import type { TokenChallenge } from './token-challenge.ts'

/** Milliseconds that keys stay good through an outage of the server. */
const LONGEST_OUTAGE = 86_400_000

export interface JwtAccessTokenOptions {
  readonly audiences: readonly string[]
  /** Seconds that clocks may differ by. */
  readonly tolerance: number
  readonly profile: AccessTokenProfile
}

/** Verifies access tokens of one server that are JWTs (RFC 9068 section 4). */
export class JwtAccessTokens {
  readonly #keys: ServerKeys<JWTVerifyGetKey>
  readonly #options: JwtAccessTokenOptions
  readonly #wanted: JWTVerifyOptions

  constructor(client: Client, options: JwtAccessTokenOptions) {
    this.#keys = new ServerKeys(client, { prepare: localKeys, unknownKey: UNKNOWN_KEY, longest: LONGEST_OUTAGE })
    this.#options = options
    const { issuer } = client
    this.#wanted = { issuer, clockTolerance: options.tolerance }
  }

  /** Rejects with an `OAuthError` where there are no keys. */
  ready(): Promise<void> {
    return this.#keys.ready()
  }

  /** The claims of a token that is good, as RFC 9068 names them. Rejects with a `VerificationError`. */
  async verified(presented: PresentedToken, challenge: TokenChallenge): Promise<AccessTokenClaims> {
    const { token, scheme } = presented
    const { audiences, tolerance, profile } = this.#options
    let verified: Awaited<ReturnType<typeof jwtVerify>>
    try {
      verified = await this.#keys.verified((keys) => jwtVerify(token, keys, this.#wanted))
    } catch (cause) {
      throw refusal(cause, presented, challenge)
    }
    const { payload, protectedHeader } = verified
    const problem = problemWith(profile, protectedHeader.typ, payload, audiences)
    if (problem) throw challenge.invalidToken('The token is not good here', { scheme, cause: new Error(problem) })
    if (Number(payload.iat) > Date.now() / 1000 + tolerance) {
      throw challenge.invalidToken('The token is not good yet', { scheme })
    }
    return normalized(profile, payload)
  }
}

function refusal(cause: unknown, { scheme }: PresentedToken, challenge: TokenChallenge): VerificationError {
  if (cause instanceof OAuthError) return challenge.unavailable(cause)
  const isOld = Object(cause).code === 'ERR_JWT_EXPIRED'
  return challenge.invalidToken(isOld ? 'The token has expired' : 'The token is not good here', { scheme, cause })
}
