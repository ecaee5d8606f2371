import type { AuthorizationDetail } from './authorization-details.ts'
import type { StoredKey } from './session-record.ts'

/** What a grant yields: a successful token response (RFC 6749 section 5.1) in the SDK's own words. */
export interface TokenSet {
  accessToken: string
  /** `Bearer` (RFC 6750), the default, or `DPoP` (RFC 9449). */
  tokenType?: 'Bearer' | 'DPoP' | undefined
  /** When the request for it was sent, epoch milliseconds of this machine's clock. Default: when the grant was called. */
  issuedAt?: number | undefined
  /** When it stops being valid, epoch milliseconds of this machine's clock. */
  expiresAt: number
  /** The scope as granted; where the server says nothing, the scope that was asked for. */
  scope?: string | undefined
  /** What the server says was granted (RFC 9396 section 7). */
  authorizationDetails?: readonly AuthorizationDetail[] | undefined
  refreshToken?: string | undefined
  /** Where the server tells it, epoch milliseconds. */
  refreshTokenExpiresAt?: number | undefined
  idToken?: string | undefined
  /** The validated claims of the ID token (OpenID Connect Core section 2). */
  claims?: Claims | undefined
}

/** A token set that is complete and in order. */
export interface Issued extends TokenSet {
  tokenType: 'Bearer' | 'DPoP'
  issuedAt: number
  /** What it is bound to, where it is a `DPoP` one. */
  key?: StoredKey | undefined
}

/** Claims of an ID token. */
export interface Claims {
  readonly sub: string
  readonly [claim: string]: unknown
}

/** What a manager tells of a token. `accessToken` and `idToken` are not enumerable, so that logging the whole shows neither. */
export interface IssuedTokenSet<C extends Claims = Claims> {
  readonly accessToken: string
  readonly tokenType: 'Bearer' | 'DPoP'
  /** When the request for it was sent, epoch milliseconds of this machine's clock. */
  readonly issuedAt: number
  /** When it stops being valid, epoch milliseconds of this machine's clock. */
  readonly expiresAt: number
  /** The scope as granted; where the server says nothing, the scope that was asked for. */
  readonly scope?: string | undefined
  /** What the server says was granted (RFC 9396 section 7). */
  readonly authorizationDetails?: readonly AuthorizationDetail[] | undefined
  /**
   * Until when the refresh token can be used, where the server says so (`refresh_expires_in` or
   * `refresh_token_expires_in`), epoch milliseconds of this machine's clock. Told, and acted on by nobody.
   */
  readonly refreshTokenExpiresAt?: number | undefined
  readonly idToken?: string | undefined
  /** The validated claims of the ID token (OpenID Connect Core section 2). */
  readonly claims?: C | undefined
}
