import { type AuthorizationCodeFlow, type LoginOptions, OAuthError, StoreError } from '@keyturn/core'

/** Milliseconds until a tab may leave by itself again, whatever became of the last time. */
const HOUR = 3_600_000

/**
 * `login()` without a click, for apps that are nothing without somebody signed in: to be called on every load after
 * `handleCallback()`. Leaves the page at most once per tab until somebody is signed in, or an hour has passed, so that a
 * server that refuses everything, or a person who says no, is not asked in a loop. Does nothing where somebody is signed
 * in. Rejects with an `OAuthError` of code `login-repeated` instead of leaving once more: offer a button that calls
 * `login()`; and with all that `login()` rejects with.
 */
export async function loginOnce(auth: AuthorizationCodeFlow, options?: LoginOptions): Promise<void> {
  const { issuer, clientId } = auth.client
  const key = `keyturn-login-once ${issuer} ${clientId}`
  if (auth.session.status === 'unknown') await auth.handleCallback()
  try {
    if (auth.session.status === 'signedIn') return sessionStorage.removeItem(key)
    const age = Date.now() - Number(sessionStorage.getItem(key) ?? Number.NaN)
    if (Math.abs(age) < HOUR) {
      throw new OAuthError('login-repeated', 'This tab has left for a login already, and nobody is signed in', {
        fix: 'Show why the login failed, and offer a button that calls login().',
      })
    }
    sessionStorage.setItem(key, `${Date.now()}`)
  } catch (cause) {
    if (cause instanceof OAuthError) throw cause
    throw new StoreError('Cannot remember that this tab leaves for a login', { cause, fix: 'Allow session storage.' })
  }
  await auth.login(options).catch((error) => {
    sessionStorage.removeItem(key) // nobody has left
    throw error
  })
}
