import { InvalidCallbackError, OAuthError, type OAuthErrorCode } from '../errors.ts'
import { printable } from '../server-answers.ts'

/** What an authorization response may bring (RFC 6749 section 4.1.2, RFC 9207, OpenID Connect Session Management). */
const PARAMETER = /^(code|state|iss|session_state|error(_description|_uri)?)(=|$)/

/** An authorization response, and the address without it. */
export interface AuthorizationResponse {
  readonly response: URLSearchParams
  readonly cleanAddress: string
}

/** The response in an address at the redirect URI; undefined where there is none. */
export function authorizationResponseIn(address: string, redirectUri: string): AuthorizationResponse | undefined {
  const url = URL.parse(address)
  const { origin, pathname } = new URL(redirectUri)
  if (url?.origin !== origin || url.pathname !== pathname) return undefined
  const theirs: string[] = []
  const own: string[] = []
  // The app's own parameters stay as they were written.
  for (const pair of url.search.slice(1).split('&')) (PARAMETER.test(pair) ? theirs : own).push(pair)
  const response = new URLSearchParams(theirs.join('&'))
  const query = own.join('&')
  url.search = query && `?${query}` // a query may begin with a question mark of its own
  return response.has('code') || response.has('error') ? { response, cleanAddress: url.href } : undefined
}

/** How every `state` of one client starts. Not a secret: it tells clients on one page apart. */
export function stateMark(...client: unknown[]): string {
  let hash = 0
  for (const char of JSON.stringify(client)) hash = (Math.imul(hash, 31) + char.charCodeAt(0)) >>> 0
  return `kt${hash.toString(36)}-`
}

/** Why a login that is ours came to nothing, with what the app needs to start again. */
export function unusable(thrown: unknown, appState: unknown, reason?: OAuthErrorCode): InvalidCallbackError {
  const { message, error, fix = 'Call login() again.' } = thrown as { message: string; error?: string; fix?: string }
  const answer = error ? 'authorization-refused' : 'invalid-response'
  const code = reason ?? (thrown instanceof OAuthError ? 'exchange-failed' : answer)
  const said = error ? ` (${printable(error)})` : ''
  return new InvalidCallbackError(code, `No sign-in: ${message}${said}`, { appState, cause: thrown, error, fix })
}
