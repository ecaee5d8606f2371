import {
  type AuthorizationCodeFlow,
  type AuthorizationCodeOptions,
  authorizationCode,
  type Claims,
  InvalidCallbackError,
  type LoginOptions,
  type LogoutOptions,
  OAuthError,
  type StandardSchemaV1,
  StoreError,
  type TokenStore,
  type UserAgent,
} from '@keyturn/core'
import { cookieTransactions, newSessionKey, webLoginsOf } from './cookie-transactions.ts'
import { ANYBODY, KeptFlows, type PlacedFlow, placeOf } from './kept-flows.ts'
import { type CookieKey, SealedCookies } from './sealed-cookies.ts'
import { isFromElsewhere, queryOf, type WebRequest } from './web-request.ts'

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
  /** Stops timers and watchers; the sessions stay in the store. */
  [Symbol.asyncDispose](): Promise<void>
}

const SESSION = 'session'

/**
 * Sign-in for a web app that has a server: authorization code with PKCE (RFC 6749 section 4.1), tokens in the store and
 * never in the browser, which has a cookie that only this app can read. Takes and gives what all frameworks have. Throws
 * an `OAuthError` for options that cannot work.
 */
export function webSessions<C extends object>(
  options: WebSessionsOptions & { claims: StandardSchemaV1<unknown, C> },
): WebSessions<Claims & C>
export function webSessions(options: WebSessionsOptions): WebSessions
export function webSessions(options: WebSessionsOptions): WebSessions {
  const { store, cookieKey, cookieMaxAge = 604_800, onWarning, ...given } = options
  const { issuer, clientId, redirectUri } = options
  const isLife = Number.isInteger(cookieMaxAge) && cookieMaxAge > 0
  // Of what is bound to a key every session would need a client, and discovery, of its own.
  const wrong = !store ? 'store' : !isLife ? 'cookieMaxAge' : Object(options).dpop ? 'dpop' : undefined
  if (wrong) {
    throw new OAuthError('invalid-options', `${wrong} cannot be used`, {
      fix: 'Give a store, cookieMaxAge in whole seconds, and no dpop.',
    })
  }
  const warned = new Set<string>()
  const warn = (message: string) => {
    if (warned.has(message) || warned.size >= 1000) return
    warned.add(message)
    if (onWarning) onWarning(message)
    else console.warn(`keyturn: ${message}`)
  }
  const shared = { ...given, sessionKey: ANYBODY, onWarning: warn }
  /** Belongs to nobody: begins all logins, and its client is everybody's. */
  const lead = authorizationCode({ ...shared, store, userAgent: nobody })
  const { client } = lead
  const { origin, protocol, href } = new URL(redirectUri)
  const cookies = new SealedCookies({
    keys: [cookieKey].flat(),
    client: [issuer, clientId],
    secure: protocol === 'https:',
  })
  const open = (
    sessionKey: () => string,
    route: Pick<AuthorizationCodeOptions, 'userAgent' | 'transactions'>,
  ): PlacedFlow<Claims> => {
    const place = placeOf(store, sessionKey)
    return { place, flow: authorizationCode({ ...shared, ...route, client, store: place.store }) }
  }
  const flows = new KeptFlows((sessionKey) => open(() => sessionKey, { userAgent: nobody }))
  const underWay = new Map<string, Promise<WebCallback>>()

  function sessionKeyOf(request: WebRequest): string | undefined {
    const found = cookies.opened(request).find(({ name }) => name === cookies.name(SESSION))
    return typeof found?.value === 'string' ? found.value : undefined
  }

  async function forget(sessionKey: string): Promise<void> {
    await flows.forget(sessionKey).catch(({ message }) => warn(`A session that is over stays in the store: ${message}`))
  }

  async function comeBack(request: WebRequest): Promise<WebCallback> {
    const headers = new Headers({ 'cache-control': 'no-store' })
    const logins = webLoginsOf(cookies, request)
    let sessionKey = newSessionKey()
    const transactions = cookieTransactions({
      cookies,
      logins,
      headers,
      comesBack: async (login) => {
        sessionKey = login.sessionKey
        return flows.isFree(sessionKey) // else its response has been used
      },
    })
    const userAgent = { ...nobody, url: new URL(queryOf(request), href).href }
    const placed = open(() => sessionKey, { userAgent, transactions })
    const { flow } = placed
    try {
      const returned = await flow.handleCallback()
      if (!returned) {
        await flow[Symbol.asyncDispose]()
        return { headers }
      }
      cookies.put(headers, SESSION, sessionKey, cookieMaxAge)
      flows.keep(sessionKey, placed)
      const before = sessionKeyOf(request)
      // Not revoked: at many servers that would end the new one, too.
      if (before !== undefined) await forget(before)
      return { auth: flow, appState: returned.appState, headers }
    } catch (error) {
      await flow[Symbol.asyncDispose]()
      if (error instanceof InvalidCallbackError) return { error, headers }
      throw told(error)
    }
  }

  return {
    async login(request, loginOptions) {
      const headers = new Headers({ 'cache-control': 'no-store' })
      const transactions = cookieTransactions({ cookies, logins: webLoginsOf(cookies, request), headers })
      await lead.login(loginOptions, { userAgent: redirectTo(headers), transactions }).catch((error) => {
        throw told(error)
      })
      return new Response(null, { status: 303, headers })
    },

    async handleCallback(request) {
      // A reload while the response is redeemed: its answer is the one that the browser takes.
      const cameTwice = JSON.stringify([
        queryOf(request),
        webLoginsOf(cookies, request).map((login) => login.sessionKey),
      ])
      const callback = underWay.get(cameTwice) ?? comeBack(request).finally(() => underWay.delete(cameTwice))
      underWay.set(cameTwice, callback)
      const result = await callback
      return { ...result, headers: new Headers(result.headers) }
    },

    async of(request) {
      const sessionKey = sessionKeyOf(request)
      if (sessionKey === undefined || flows.isOver(sessionKey)) return undefined
      const auth = await flows.at(sessionKey)
      return auth.session.status === 'signedIn' ? auth : undefined
    },

    async logout(request, logoutOptions = {}) {
      if (request.method !== 'POST') return new Response(null, { status: 405, headers: { allow: 'POST' } })
      if (isFromElsewhere(request, origin)) return new Response(null, { status: 403 })
      const headers = new Headers({ 'cache-control': 'no-store', location: afterwards(logoutOptions) })
      cookies.remove(headers, cookies.name(SESSION))
      const sessionKey = sessionKeyOf(request)
      if (sessionKey !== undefined) {
        const { flow } = flows.take(sessionKey)
        await flow.logout(logoutOptions, { userAgent: redirectTo(headers) })
        await forget(sessionKey)
      }
      return new Response(null, { status: 303, headers })
    },

    async [Symbol.asyncDispose]() {
      await flows[Symbol.asyncDispose]()
    },
  }
}

/** A browser that is on its way through this server: it goes where the answer says. */
function redirectTo(headers: Headers): UserAgent {
  return { ...nobody, navigate: (url) => headers.set('location', url) }
}

/** Where no request is being answered there is no browser that could be sent anywhere. */
const nobody: UserAgent = {
  url: '',
  navigate() {
    throw new Error('Call login() and logout() of the sessions, with the request')
  },
  replaceUrl() {},
}

/** Core says of every failure that the login cannot be remembered; ours says why. */
function told(error: unknown): unknown {
  return error instanceof StoreError && error.cause instanceof OAuthError ? error.cause : error
}

/** Where to go if the server has no page for it; what a header cannot carry, or no page is, is the app's own start. */
function afterwards({ postLogoutRedirectUri = '' }: LogoutOptions): string {
  const url = URL.parse(postLogoutRedirectUri)
  return url && /^https?:$/.test(url.protocol) ? url.href : '/'
}
