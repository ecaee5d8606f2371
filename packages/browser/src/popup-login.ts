import {
  type AuthorizationCodeFlow,
  type LoginOptions,
  type LoginResult,
  type LoginRoute,
  memoryTransactions,
  OAuthError,
} from '@keyturn/core'
import { openPopup } from './popup-window.ts'

/** What `loginWithPopup` takes besides what `login()` does. */
export interface PopupLoginOptions extends LoginOptions {
  /** Ends the login, closes its window, and rejects with the signal's own reason. Default: none. */
  signal?: AbortSignal | undefined
}

/** Milliseconds for which a login can come back. */
const LIFE = 3_600_000

/** The login of each client that has a window open, and the name of that. */
const underWay = new WeakMap<AuthorizationCodeFlow, { name: string; replace: () => void }>()

/**
 * Signs a person in in a window of its own; call it where they click. Settles as `handleCallback()` would when a login
 * has come back, which the page at `redirectUri` calls in that window: it gives the response to this page, which redeems
 * it, and closes. Rejects besides with an `OAuthError`: `popup-blocked`, `timeout` after an hour, and all that keeps
 * `login()` from leaving. Never leaves this page. A further call takes the place of the one before (`popup-closed`); of a
 * window that the person closes nothing can be known (COOP), so offer a way to cancel with `signal`.
 */
export async function loginWithPopup(
  auth: AuthorizationCodeFlow,
  { signal, ...options }: PopupLoginOptions = {},
): Promise<LoginResult> {
  signal?.throwIfAborted()
  const before = underWay.get(auth)
  const name = before?.name ?? `keyturn ${Math.random()}`
  const popup = openPopup(name) // nothing may be awaited before
  before?.replace()

  const { promise, resolve, reject } = Promise.withResolvers<LoginResult>()
  const over = new AbortController()
  const end = (reason: unknown) => {
    over.abort()
    reject(reason)
  }
  const closeAndEnd = (reason: unknown) => {
    popup.close()
    end(reason)
  }
  const login = { name, replace: () => end(closed('Another login took its place')) }
  underWay.set(auth, login)
  signal?.addEventListener('abort', () => closeAndEnd(signal.reason), { signal: over.signal })
  const expiry = setTimeout(closeAndEnd, LIFE, new OAuthError('timeout', 'Nobody came back within an hour'))
  over.signal.addEventListener('abort', () => {
    clearTimeout(expiry)
    if (underWay.get(auth) === login) underWay.delete(auth)
  })

  const { route, request } = popupRoute()
  try {
    await auth.login(options, route)
    if (over.signal.aborted) return promise
    if (popup.closed) throw closed('The window was closed')
    if (new URL(request.redirectUri).origin !== location.origin) {
      throw new OAuthError('invalid-options', 'The answer would come to another origin', {
        fix: 'Give loginWithPopup() a client whose redirectUri has the origin of this page.',
      })
    }
  } catch (error) {
    if (!over.signal.aborted) closeAndEnd(error)
    return promise
  }

  listen(request.state, over.signal, (response) => {
    over.abort()
    popup.close() // where COOP has cut the tie, it closes itself
    auth.redeem({ response, cleanAddress: '' }, route).then((result) => resolve(result ?? {}), reject)
  })
  // From here on nothing is read from `closed`: COOP makes it true of a window that is open.
  popup.location.replace(request.url)
  return promise
}

function closed(message: string): OAuthError {
  return new OAuthError('popup-closed', message, { fix: 'Offer the login again.' })
}

/** The way of one login: its transaction is in memory here, since nobody else is to use it. */
function popupRoute(): { route: LoginRoute; request: { url: string; state: string; redirectUri: string } } {
  const request = { url: '', state: '', redirectUri: '' }
  const transactions = memoryTransactions()
  const userAgent = {
    url: '',
    navigate(url: string) {
      request.url = url
    },
    replaceUrl() {},
  }
  const put: typeof transactions.put = (state, transaction) => {
    Object.assign(request, { state, redirectUri: transaction.redirectUri })
    return transactions.put(state, transaction)
  }
  return { route: { userAgent, transactions: { ...transactions, put } }, request }
}

/** Hears of the response to one authorization request: its state is the channel's name. All else is ignored. */
function listen(state: string, signal: AbortSignal, answered: (response: URLSearchParams) => void): void {
  const channel = new BroadcastChannel(state)
  signal.addEventListener('abort', () => channel.close())
  channel.onmessage = ({ data }: MessageEvent<unknown>) => {
    const response = new URLSearchParams(typeof data === 'string' ? data : '')
    if (response.get('state') !== state || !(response.has('code') || response.has('error'))) return
    channel.postMessage('')
    answered(response)
  }
}
