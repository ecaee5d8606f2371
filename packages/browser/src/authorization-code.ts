import { AuthorizationCodeFlow, type AuthorizationCodeOptions, type Claims, type StandardSchemaV1 } from '@keyturn/core'
import { browserUserAgent } from './browser-user-agent.ts'
import { indexedDBStore } from './indexed-db-store.ts'
import { sessionTransactions } from './session-transactions.ts'

/** What `authorizationCode` takes in a page. */
export type BrowserOptions = Omit<AuthorizationCodeOptions, 'userAgent'> &
  Partial<Pick<AuthorizationCodeOptions, 'userAgent'>>

/**
 * A person signs in: authorization code with PKCE (RFC 10017 section 6.3), with a browser's defaults: the page's address,
 * `indexedDBStore()` for the session, session storage for logins under way. Throws an `OAuthError` for options that
 * cannot work; touches neither network nor storage.
 */
export function authorizationCode<C extends object>(
  options: BrowserOptions & { claims: StandardSchemaV1<unknown, C> },
): AuthorizationCodeFlow<Claims & C>
export function authorizationCode(options: BrowserOptions): AuthorizationCodeFlow
export function authorizationCode(options: BrowserOptions): AuthorizationCodeFlow {
  const { userAgent = browserUserAgent(), store = indexedDBStore(), transactions = sessionTransactions() } = options
  return new AuthorizationCodeFlow({ ...options, userAgent, store, transactions })
}
