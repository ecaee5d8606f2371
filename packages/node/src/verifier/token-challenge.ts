import { type OAuthErrorDetails, VerificationError } from '@keyturn/core'
import { ALGORITHMS } from './algorithms.ts'

/** What every challenge of an API says (RFC 6750 section 3, RFC 9449 section 7.1, RFC 9728 section 5.1). */
export interface ChallengeOptions {
  /** Told to who comes without a token, and to whose token lacks them. */
  readonly scope?: string | undefined
  /** Where the API's metadata is. */
  readonly resourceMetadata?: string | undefined
  /** Whether only tokens that are bound to a key are taken. */
  readonly isBound: boolean
}

type Scheme = 'Bearer' | 'DPoP'
type Parameters = Record<string, string | number | undefined>

/** What proofs may be signed with (RFC 9449 section 7.1). */
const ALGS = ALGORITHMS.join(' ')

/** What is wrong with a token, and by which scheme it came or should have come. */
export interface Refusal extends OAuthErrorDetails {
  readonly scheme: Scheme
}

/** The answers to who must be refused, each a `VerificationError`. They say nothing that came with the request. */
export class TokenChallenge {
  readonly #options: ChallengeOptions

  constructor(options: ChallengeOptions) {
    this.#options = options
  }

  /** No token at all: nothing is said to be wrong (RFC 6750 section 3.1). */
  missing(): VerificationError {
    const { scope, resourceMetadata, isBound } = this.#options
    const parameters = { scope, resource_metadata: resourceMetadata }
    const proven = shown('DPoP', { ...parameters, algs: ALGS })
    const challenge = isBound ? proven : `${shown('Bearer', parameters)}, ${proven}`
    return new VerificationError('token-missing', 'The request has no access token', refused(401, challenge))
  }

  malformed(description: string, scheme?: Scheme): VerificationError {
    const answer = this.#refused(400, scheme, { error: 'invalid_request', error_description: description })
    return new VerificationError('malformed-request', description, answer)
  }

  invalidToken(description: string, { scheme, ...details }: Refusal): VerificationError {
    const answer = this.#refused(401, scheme, { error: 'invalid_token', error_description: description })
    return new VerificationError('invalid-token', description, answer, details)
  }

  invalidProof({ scheme, ...details }: Refusal): VerificationError {
    const description = 'The DPoP proof is not good for this request'
    const answer = this.#refused(401, scheme, { error: 'invalid_dpop_proof', error_description: description })
    return new VerificationError('invalid-proof', description, answer, details)
  }

  /** The proof is good but for its nonce (RFC 9449 section 9). */
  nonceRequired(nonce: string): VerificationError {
    const description = 'The DPoP proof needs the nonce of this answer'
    const answer = this.#refused(401, 'DPoP', { error: 'use_dpop_nonce', error_description: description })
    const headers = { ...answer.headers, 'dpop-nonce': nonce }
    return new VerificationError('nonce-required', description, { ...answer, headers })
  }

  insufficientScope(scheme: Scheme): VerificationError {
    const description = 'The token lacks a scope'
    const parameters = { error: 'insufficient_scope', error_description: description, scope: this.#options.scope }
    return new VerificationError('insufficient-scope', description, this.#refused(403, scheme, parameters))
  }

  /** No scope would help. */
  forbidden(scheme: Scheme): VerificationError {
    const description = 'The token does not allow this'
    const parameters = { error: 'insufficient_scope', error_description: description }
    return new VerificationError('insufficient-scope', description, this.#refused(403, scheme, parameters))
  }

  /** A sign-in that was too long ago, or too weak (RFC 9470 section 3). */
  insufficientAuthentication(scheme: Scheme, acrValues?: string, maxAge?: number): VerificationError {
    const description = 'The person has to sign in again'
    const wanted = { acr_values: acrValues, max_age: maxAge }
    const parameters = { error: 'insufficient_user_authentication', error_description: description, ...wanted }
    return new VerificationError('insufficient-authentication', description, this.#refused(401, scheme, parameters))
  }

  /** No fault of the request's: its token could not be looked at. */
  unavailable(cause: unknown): VerificationError {
    const fix = 'Look at cause: what the authorization server answers.'
    const answer = { status: 503, headers: { 'retry-after': '5', 'cache-control': 'no-store' } }
    const details = { cause, retryable: true, fix }
    return new VerificationError('verification-unavailable', 'The access token cannot be verified now', answer, details)
  }

  #refused(status: number, scheme: Scheme | undefined, parameters: Parameters) {
    const { resourceMetadata, isBound } = this.#options
    const named = scheme ?? (isBound ? 'DPoP' : 'Bearer')
    const all = { ...parameters, resource_metadata: resourceMetadata, algs: named === 'DPoP' ? ALGS : undefined }
    return refused(status, shown(named, all))
  }
}

function refused(status: number, challenge: string) {
  return { status, challenge, headers: { 'www-authenticate': challenge, 'cache-control': 'no-store' } }
}

/** One challenge, its values quoted (RFC 9110 section 11.6.1). */
function shown(scheme: Scheme, parameters: Parameters): string {
  const pairs = Object.entries(parameters)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}="${String(value).replace(/["\\]/g, '\\$&')}"`)
  return [scheme, pairs.join(', ')].filter(Boolean).join(' ')
}
