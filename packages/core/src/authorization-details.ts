import { OAuthError } from './errors.ts'

/** One thing that access is asked for or was granted (RFC 9396 section 2); a `type` may define members of its own. */
export interface AuthorizationDetail {
  readonly type: string
  readonly locations?: readonly string[]
  readonly actions?: readonly string[]
  readonly datatypes?: readonly string[]
  readonly identifier?: string
  readonly privileges?: readonly string[]
  readonly [member: string]: unknown
}

/**
 * The `parameters` that ask for these authorization details: of a source, of `login()`, or of one token request. What was
 * granted is `authorizationDetails` of the token set. Throws an `OAuthError` for what is no such list (RFC 9396 section 2).
 */
export function authorizationDetails<D extends AuthorizationDetail>(
  ...details: readonly D[]
): { authorization_details: string } {
  if (!detailsIn(details)?.length) {
    throw new OAuthError('invalid-options', 'These are no authorization details', {
      fix: 'Give every authorization detail a type.',
    })
  }
  return { authorization_details: JSON.stringify(details) }
}

/** The list, if it is one (RFC 9396 section 7). */
export function detailsIn(list: unknown): readonly AuthorizationDetail[] | undefined {
  return Array.isArray(list) && list.every((detail) => typeof Object(detail).type === 'string') ? list : undefined
}
