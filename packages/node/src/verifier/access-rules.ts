import { OAuthError, TokenUnavailableError } from '@keyturn/core'
import type { TokenChallenge } from './token-challenge.ts'

/** What is known of an access token that is good (RFC 9068 section 2.2, RFC 7662 section 2.2). */
export interface AccessTokenClaims {
  readonly iss?: string | undefined
  readonly sub?: string | undefined
  readonly client_id?: string | undefined
  readonly scope?: string | undefined
  readonly exp?: number | undefined
  readonly [claim: string]: unknown
}

/** What a good token has to allow besides. */
export interface AccessRules {
  /** All of these, separated by spaces (RFC 6749 section 3.3). Default: none. */
  scope?: string | undefined
  /** How the person signed in: as one of these, separated by spaces (RFC 9470 section 4). Default: in any way. */
  acrValues?: string | undefined
  /** Seconds since the person signed in, at most (RFC 9470 section 4). Default: no limit. */
  maxAge?: number | undefined
  /** Whether the claims will do, such as a role. Default: they do. */
  allows?: ((claims: AccessTokenClaims) => boolean | Promise<boolean>) | undefined
}

/** The scopes of one or more lists, each once. */
export function scopesOf(...lists: unknown[]): string[] {
  const names = lists.flatMap((list) => (typeof list === 'string' ? list.split(' ') : []))
  return [...new Set(names.filter(Boolean))]
}

/** Whether there is anything to obey. */
export function areRules({ scope, acrValues, maxAge, allows }: AccessRules): boolean {
  return [scope, acrValues, maxAge, allows].some((rule) => rule !== undefined)
}

/** Throws an `OAuthError` for a rule of the wrong type: ignored, or compared all the same, it would let in whom it is to keep out. */
export function assertRules({ scope, acrValues, maxAge, allows }: AccessRules): void {
  for (const [name, list] of Object.entries({ scope, acrValues })) {
    if (list !== undefined && typeof list !== 'string')
      throw wrong(`${name} cannot be used`, 'Give one string, with spaces.')
  }
  if (maxAge !== undefined && !isAmount(maxAge)) throw wrong('maxAge cannot be used', 'Give seconds, as a number.')
  if (allows !== undefined && typeof allows !== 'function') throw wrong('allows cannot be used', 'Give a function.')
}

/** Whether an option is a number, and neither negative nor NaN. */
export function isAmount(value: unknown): boolean {
  return typeof value === 'number' && value >= 0
}

/** Options that cannot work. */
export function wrong(message: string, fix: string): OAuthError {
  return new OAuthError('invalid-options', message, { fix })
}

/** Rejects with a `VerificationError` where the claims are not enough. */
export async function obey(
  rules: AccessRules,
  claims: AccessTokenClaims,
  scheme: 'Bearer' | 'DPoP',
  challenge: TokenChallenge,
): Promise<void> {
  const { scope, acrValues, maxAge, allows } = rules
  if (scope !== undefined) {
    const granted = scopesOf(claims.scope)
    if (!scopesOf(scope).every((name) => granted.includes(name))) throw challenge.insufficientScope(scheme)
  }
  const { acr, auth_time: signedInAt } = claims
  const isStrong = acrValues === undefined || (typeof acr === 'string' && scopesOf(acrValues).includes(acr))
  const isRecent = maxAge === undefined || (typeof signedInAt === 'number' && Date.now() / 1000 <= signedInAt + maxAge)
  if (!isStrong || !isRecent) throw challenge.insufficientAuthentication(scheme, acrValues, maxAge)
  if (allows && !(await isAllowed(allows, claims, challenge))) throw challenge.forbidden(scheme)
}

async function isAllowed(
  allows: NonNullable<AccessRules['allows']>,
  claims: AccessTokenClaims,
  challenge: TokenChallenge,
): Promise<boolean> {
  try {
    return (await allows(claims)) === true
  } catch (cause) {
    throw challenge.unavailable(new TokenUnavailableError('callback-failed', 'The function allows failed', { cause }))
  }
}
