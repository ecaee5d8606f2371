import { AuthorizationServerError, InvalidCallbackError, OAuthError } from '../errors.ts'

/** What an authorization response may bring (RFC 6749 section 4.1.2, RFC 9207, OpenID Connect Session Management). */
const PARAMETERS = ['code', 'state', 'iss', 'error', 'error_description', 'error_uri', 'session_state']

/** The parameters of an authorization response in a URL at the redirect URI; undefined where there is none. */
export function authorizationResponseIn(address: string, redirectUri: string): URLSearchParams | undefined {
  const url = URL.parse(address)
  const expected = new URL(redirectUri)
  if (!url || url.origin !== expected.origin || url.pathname !== expected.pathname) return undefined
  const response = new URLSearchParams([...url.searchParams].filter(([name]) => PARAMETERS.includes(name)))
  return response.has('code') || response.has('error') ? response : undefined
}

/** The address without the response: the app's own parameters stay, as they were written. */
export function withoutResponse(address: string): string {
  const url = new URL(address)
  const own = url.search.slice(1).split('&')
  url.search = own
    .filter((pair) => ![...new URLSearchParams(pair).keys()].some((name) => PARAMETERS.includes(name)))
    .join('&')
  return url.href
}

/** How every `state` of one client starts. Not a secret: it tells clients on one page apart. */
export function statePrefix(client: unknown): string {
  let hash = 0
  for (const char of JSON.stringify(client)) hash = (Math.imul(hash, 31) + char.charCodeAt(0)) | 0
  return `kt${(hash >>> 0).toString(36)}-`
}

/** Whether a `state` is of this SDK, be it another client's. */
export function isState(state: string): boolean {
  return /^kt[0-9a-z]+-[\w-]{43}$/.test(state)
}

/** Why a login that is ours came to nothing, with what the app needs to start again. */
export function unusable(thrown: unknown, appState: unknown): OAuthError {
  const { code, message, error } = thrown as { code?: string; message: string; error?: string }
  if (code === 'OAUTH_AUTHORIZATION_RESPONSE_ERROR') {
    return new InvalidCallbackError(
      'authorization-refused',
      `The authorization server refused: ${error?.slice(0, 300)}`,
      {
        error,
        appState,
        fix:
          error === 'access_denied'
            ? 'Offer to sign in again.'
            : "Look the error up in the server's documentation and log.",
      },
    )
  }
  if (!(thrown instanceof OAuthError)) {
    return new InvalidCallbackError('invalid-response', `The authorization response cannot be trusted: ${message}`, {
      appState,
      cause: thrown,
      fix: 'Call login() again; if it stays, compare issuer with the iss parameter of the answer.',
    })
  }
  const { fix } = thrown
  return new InvalidCallbackError('exchange-failed', `The code could not be redeemed: ${message}`, {
    appState,
    cause: thrown,
    error: thrown instanceof AuthorizationServerError ? thrown.error : undefined,
    fix: fix ?? 'Call login() again.',
  })
}

/** It has to survive the way to the server and back. */
export function assertJson(appState: unknown): void {
  try {
    if (appState === undefined || JSON.stringify(appState) !== undefined) return
  } catch {
    // a bigint, or a circle: said below
  }
  throw new OAuthError('invalid-options', 'appState is no JSON value', { fix: 'Give plain data as appState.' })
}
