import { hopByHop } from './redirects.ts'
import { type AuthenticatedFetchOptions, tokenFetch } from './token-fetch.ts'
import type { TokenSource } from './token-source.ts'

/**
 * A fetch that sends a valid token wherever `apis` says so (RFC 6750 section 2.1) and, after a 401, tries once more with
 * another one. It rejects as fetch does, and with an `OAuthError` where no token can be had.
 */
export function authenticatedFetch(source: TokenSource, options: AuthenticatedFetchOptions): typeof fetch {
  return tokenFetch(source, options, hopByHop)
}
