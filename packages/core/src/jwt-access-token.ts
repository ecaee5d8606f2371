import * as oauth from 'oauth4webapi'
import type { AccessTokenClaims } from './access-rules.ts'
import type { Client } from './client.ts'
import { OAuthError } from './errors.ts'
import { jwtPart } from './jwt-part.ts'
import { KeySet } from './key-set.ts'
import type { PresentedToken, VerifiableRequest } from './presented-token.ts'
import { Remembered } from './remembered.ts'
import type { TokenChallenge } from './token-challenge.ts'
import type { VerificationError } from './verification-error.ts'

/** Milliseconds that keys stay good through an outage of the server. */
const LONGEST_OUTAGE = 86_400_000
/** Seconds that a proof is good for, before and after its `iat`: what oauth4webapi allows. */
const PROOF_LIFETIME = 300
/** How many proofs are remembered, so that none is taken twice. */
const MOST_PROOFS = 100_000

export interface JwtAccessTokenOptions {
  readonly audiences: readonly string[]
  /** Seconds that clocks may differ by. */
  readonly tolerance: number
}

/** Whether a token is a JWT, as far as it can be seen (RFC 7515 section 3.1). */
export function isJwt(token: string): boolean {
  try {
    return token.split('.').length >= 3 && typeof jwtPart(token, 0).alg === 'string'
  } catch {
    return false // which is the answer
  }
}

/** Verifies access tokens that are JWTs (RFC 9068 section 4), and the proof that comes with one (RFC 9449 section 4.3). */
export class JwtAccessTokens {
  readonly #keys: KeySet
  readonly #options: JwtAccessTokenOptions
  readonly #proofs = new Remembered<true>(MOST_PROOFS)

  constructor(client: Client, options: JwtAccessTokenOptions) {
    this.#keys = new KeySet(client, LONGEST_OUTAGE)
    this.#options = options
  }

  /** The claims of a token that is good. Rejects with a `VerificationError`. */
  async verified(
    presented: PresentedToken,
    request: VerifiableRequest,
    challenge: TokenChallenge,
  ): Promise<AccessTokenClaims> {
    const { token, scheme } = presented
    const { tolerance } = this.#options
    const { request: copy, headers } = copyOf(presented, request)
    const claims = await this.#keys
      .verified((server, options) => {
        const all = { ...options, [oauth.clockTolerance]: tolerance }
        return oauth.validateJwtAccessToken(server, copy, this.#audience(token), all)
      })
      .catch((error) => {
        throw refusal(error, presented, headers.isProofRead, challenge)
      })
    if (claims.iat > Date.now() / 1000 + tolerance)
      throw challenge.invalidToken('The token is not good yet', { scheme })
    if (headers.isProofRead) await this.#takeProof(`${request.headers.get('dpop')}`, challenge)
    return claims
  }

  /** The one of ours that the token is for, if there is one. */
  #audience(token: string): string {
    const [first = '', ...others] = this.#options.audiences
    if (others.length === 0) return first
    const named = [jwtPart(token, 1).aud].flat()
    return others.find((audience) => named.includes(audience)) ?? first
  }

  async #takeProof(proof: string, challenge: TokenChallenge): Promise<void> {
    const { jti, iat } = jwtPart(proof, 1)
    const { jwk } = jwtPart(proof, 0)
    const key = await oauth.calculatePKCECodeChallenge(JSON.stringify([jwk, jti]))
    if (this.#proofs.get(key)) {
      throw challenge.invalidProof({ scheme: 'DPoP', cause: new Error('it was taken before') })
    }
    this.#proofs.set(key, true, (Number(iat) + PROOF_LIFETIME + 1) * 1000)
  }
}

/** The two headers that count. Notices when oauth4webapi reads the proof: by then the token itself is good. */
class TokenHeaders {
  readonly #values: Record<string, string | null>
  isProofRead = false

  constructor({ scheme, token }: PresentedToken, proof: string | null) {
    this.#values = { authorization: `${scheme} ${token}`, dpop: proof }
  }

  has(name: string): boolean {
    return (this.#values[name] ?? null) !== null
  }

  get(name: string): string | null {
    if (name === 'dpop') this.isProofRead = true
    return this.#values[name] ?? null
  }
}

/** As much of a `Request` as is looked at: to make a whole one takes half as long as to verify a token. */
function copyOf(presented: PresentedToken, { method, url, headers: sent }: VerifiableRequest) {
  const headers = new TokenHeaders(presented, sent.get('dpop'))
  const members = { method: { value: method }, url: { value: url }, headers: { value: headers } }
  const request: Request = Object.create(Request.prototype, members)
  return { headers, request }
}

function refusal(
  cause: unknown,
  { scheme }: PresentedToken,
  isProofRead: boolean,
  challenge: TokenChallenge,
): VerificationError {
  if (cause instanceof OAuthError) return challenge.unavailable(cause)
  const { claim } = Object(Object(cause).cause)
  if (isProofRead && scheme === 'Bearer') {
    return challenge.invalidToken('The token is bound to a key', { scheme: 'DPoP', cause })
  }
  if (claim === 'cnf.jkt') return challenge.invalidToken('The token is bound to another key', { scheme, cause })
  if (isProofRead) return challenge.invalidProof({ scheme, cause })
  return challenge.invalidToken(claim === 'exp' ? 'The token has expired' : 'The token is not good here', {
    scheme,
    cause,
  })
}
