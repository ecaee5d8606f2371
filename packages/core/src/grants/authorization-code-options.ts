import type { SourceOptions } from '../source-options.ts'
import type { TransactionStore } from '../transaction-store.ts'
import type { Jarm } from './jarm.ts'
import type { PushedAuthorizationRequests } from './pushed-authorization-requests.ts'
import type { RequestObject } from './request-object.ts'
import type { UserAgent } from './user-agent.ts'

/** What `authorizationCode` takes besides what all sources do. */
export interface AuthorizationCodeOptions extends SourceOptions {
  /** Where the server sends the user agent back to (RFC 6749 section 3.1.2). */
  redirectUri: string
  userAgent: UserAgent
  /** Default: in memory. */
  transactions?: TransactionStore | undefined
  /** `pushedAuthorizationRequests()` (RFC 9126). Default: the user agent takes the request along. */
  par?: PushedAuthorizationRequests | undefined
  /** `requestObject(key)` (RFC 9101). Default: the request is not signed. */
  requestObject?: RequestObject | undefined
  /** `jarm()`: only authorization responses that are signed are taken. Default: the server's are not. */
  jarm?: Jarm | undefined
}

/** How a person gets to the authorization server and back, and what remembers the login meanwhile. */
export interface LoginRoute {
  userAgent: UserAgent
  transactions: TransactionStore
}
