import type {
  AuthorizationCodeFlow,
  AuthorizationCodeOptions,
  Claims,
  InvalidCallbackError,
  LoggedOut,
  LoginOptions,
  LogoutOptions,
  TokenStore,
} from '@keyturn/core'
import type { CookieKey } from './sealed-cookies.ts'
import type { WebRequest } from './web-request.ts'

/** What a web app's own server needs besides what `authorizationCode` takes. */
export interface WebSessionsOptions
  extends Omit<AuthorizationCodeOptions, 'client' | 'dpop' | 'sessionKey' | 'transactions' | 'userAgent'> {
  /** Keeps the sessions of all; shared by all processes that serve the app. */
  store: TokenStore
  /**
   * Encrypts the cookies: 32 random bytes, or at least 32 random characters; the same in all processes. Of a list the
   * first one is used for what is new, and all for what there is.
   */
  cookieKey: CookieKey | readonly CookieKey[]
  /** Seconds after which a person has to sign in again, however active they are. Default: 604 800 (a week). */
  cookieMaxAge?: number | undefined
}

/** What became of a login that came back. `headers` belong to whatever the app answers. */
export interface WebCallback<C extends Claims = Claims> {
  /** The session that has begun; undefined where no login came back, or it cannot be used. */
  readonly auth?: AuthorizationCodeFlow<C>
  /** What `login()` was given. */
  readonly appState?: unknown
  /** Why the login that came back cannot be used. */
  readonly error?: InvalidCallbackError
  readonly headers: Headers
}

/** The sessions of a web app's people, each found by a cookie of their own. */
export interface WebSessions<C extends Claims = Claims> {
  /** Sends the browser to the authorization server. Rejects with an `OAuthError`, such as for too large an `appState`. */
  login(request: WebRequest, options?: LoginOptions): Promise<Response>
  /** For the route of `redirectUri`. A response that cannot be used is no rejection: its cookies have to go, too. */
  handleCallback(request: WebRequest): Promise<WebCallback<C>>
  /** The session of who sent this request; undefined: nobody is signed in. Rejects with a `StoreError`. */
  of(request: WebRequest): Promise<AuthorizationCodeFlow<C> | undefined>
  /** Ends the session here and at the server; answers only a POST of the app's own pages. */
  logout(request: WebRequest, options?: LogoutOptions): Promise<Response>
  /**
   * Ends the sessions that the authorization server says are over (OpenID Connect Back-Channel Logout 1.0 section 2.7):
   * the `onLogout` of `backChannelLogout`. Rejects where it could not, so that the server is told.
   */
  end(loggedOut: LoggedOut): Promise<void>
  /** Stops timers and watchers; the sessions stay in the store. */
  [Symbol.asyncDispose](): Promise<void>
}
