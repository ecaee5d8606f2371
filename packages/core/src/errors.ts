import type { Challenge } from './challenge.ts'

/** Every `code` an `OAuthError` can have; docs/errors.md tells the long story of each. */
export type OAuthErrorCode =
  // what the developer set up
  | 'invalid-options'
  | 'insecure-url'
  | 'insecure-context'
  | 'discovery-failed'
  | 'issuer-mismatch'
  | 'invalid-metadata'
  // what the authorization server said
  | 'client-refused'
  | 'credentials-refused'
  | 'request-refused'
  | 'invalid-response'
  // what keeps a token from coming
  | 'network'
  | 'timeout'
  | 'server-error'
  | 'throttled'
  | 'token-rejected'
  | 'busy'
  | 'storage'
  | 'callback-failed'
  // what keeps a connection from lasting
  | 'connection-failed'
  | 'not-connected'
  // who has to act
  | 'login-required'
  | 'session-ended'
  | 'invalid-state'
  | 'authorization-refused'
  | 'exchange-failed'
  | 'navigation-failed'
  | 'login-repeated'
  | 'popup-blocked'
  | 'popup-closed'
  // what others send
  | 'invalid-logout-token'
  | 'step-up-refused'
  | 'token-missing'
  | 'malformed-request'
  | 'invalid-token'
  | 'invalid-proof'
  | 'nonce-required'
  | 'insufficient-scope'
  | 'insufficient-authentication'
  | 'verification-unavailable'

/** What an error carries besides its message. */
export interface OAuthErrorDetails {
  cause?: unknown
  /** Trying again later can work, with nothing changed. */
  retryable?: boolean | undefined
  /** One sentence: what to change. */
  fix?: string | undefined
  /** Of a `TokenUnavailableError`. Default: now. */
  retryAt?: number
  /** Of an `InvalidCallbackError`. */
  error?: string | undefined
  /** Of an `InvalidCallbackError`. */
  appState?: unknown
  /** Of a `ChallengeError`. */
  challenge?: Challenge
}

/** Every rejection of this SDK is one of these; `code` tells which, `fix` what to change. It never carries a secret. */
export class OAuthError extends Error {
  override name = 'OAuthError'
  /** Which error it is; docs/errors.md has the story of each. */
  declare readonly code: OAuthErrorCode
  /** Whether trying again later can work, with nothing changed. */
  declare readonly retryable: boolean
  /** One sentence: what to change, where that is known. */
  declare readonly fix?: string | undefined

  /** All details but the cause become members. */
  constructor(code: OAuthErrorCode, message: string, { cause, ...details }: OAuthErrorDetails = {}) {
    super(message, { cause: stripped(cause) })
    Object.assign(this, { code, retryable: false }, details)
  }
}

/** Nobody is signed in, or the session ended: call `login()`. */
export class LoginRequiredError extends OAuthError {
  override name = 'LoginRequiredError'
}

/** An error response (RFC 6749 section 5.2) and its HTTP status. */
export interface ServerAnswer {
  readonly error: string
  readonly errorDescription?: string | undefined
  readonly status: number
}

/** The authorization server answered with an error (RFC 6749 section 5.2). */
export class AuthorizationServerError extends OAuthError {
  override name = 'AuthorizationServerError'
  /** The server's own error code, such as `invalid_client`. */
  declare readonly error: string
  declare readonly errorDescription?: string | undefined
  /** HTTP status. */
  declare readonly status: number

  constructor(code: OAuthErrorCode, answer: ServerAnswer, details?: OAuthErrorDetails) {
    const { error, errorDescription, status } = answer
    const said = errorDescription ? `${error}: ${errorDescription}` : error
    const members = { ...details, error, errorDescription, status }
    super(code, `The authorization server said ${said}`, members)
  }
}

/** What was presented is refused (RFC 6749 section 5.2): a refresh token, a password, an assertion. */
export function isInvalidGrant(error: unknown): error is AuthorizationServerError {
  return error instanceof AuthorizationServerError && error.error === 'invalid_grant'
}

/** The authorization response cannot be trusted or used, or says error (RFC 6749 section 4.1.2.1). */
export class InvalidCallbackError extends OAuthError {
  override name = 'InvalidCallbackError'
  /** The server's own error code, such as `access_denied`. */
  declare readonly error?: string | undefined
  /** What the app gave to `login()`, where the login could be found. */
  declare readonly appState?: unknown
}

/** No valid token can be had at present; nothing is lost, trying again from `retryAt` on can work. */
export class TokenUnavailableError extends OAuthError {
  override name = 'TokenUnavailableError'
  /** Epoch milliseconds before which nothing is tried. */
  declare readonly retryAt: number

  constructor(code: OAuthErrorCode, message: string, details?: OAuthErrorDetails) {
    super(code, message, { retryable: true, retryAt: Date.now(), ...details })
  }
}

/** A step-up was asked for and refused (RFC 9470); a fetch itself never rejects for a status. */
export class ChallengeError extends OAuthError {
  override name = 'ChallengeError'
  /** What the API asks for. */
  declare readonly challenge: Challenge

  constructor(message: string, details: OAuthErrorDetails & { challenge: Challenge }) {
    super('step-up-refused', message, details)
  }
}

/** The token store failed. Never thrown for a token that is still valid in memory. */
export class StoreError extends OAuthError {
  override name = 'StoreError'

  constructor(message: string, details?: OAuthErrorDetails) {
    super('storage', message, { retryable: true, ...details })
  }
}

/** Errors of others may carry requests and response bodies: only their name, message and code are kept. */
function stripped(cause: unknown): unknown {
  if (!(cause instanceof Error)) return undefined
  if (cause instanceof OAuthError) return cause
  const { name, message } = cause
  const { code } = Object(cause.cause ?? cause)
  return Object.assign(new Error(message), { name, code: typeof code === 'string' ? code : undefined })
}
