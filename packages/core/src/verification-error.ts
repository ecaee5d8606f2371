import { OAuthError, type OAuthErrorCode, type OAuthErrorDetails } from './errors.ts'

/** How an API answers who brings a token that it must refuse. */
export interface VerificationAnswer {
  /** HTTP status: 400, 401 or 403 (RFC 6750 section 3.1), or 503 where the token could not be looked at. */
  readonly status: number
  /** The value of `WWW-Authenticate`; undefined where it is no fault of the request's. */
  readonly challenge?: string | undefined
  /** All headers of the answer, the challenge among them. */
  readonly headers: Readonly<Record<string, string>>
}

/** A request that an API must refuse (RFC 6750 section 3, RFC 9449 section 7.1, RFC 9470 section 3). */
export class VerificationError extends OAuthError {
  override name = 'VerificationError'
  declare readonly status: number
  declare readonly challenge?: string | undefined
  declare readonly headers: Readonly<Record<string, string>>

  constructor(code: OAuthErrorCode, message: string, answer: VerificationAnswer, details?: OAuthErrorDetails) {
    super(code, message, details)
    Object.assign(this, answer)
  }
}
