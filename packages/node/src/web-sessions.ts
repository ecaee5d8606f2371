import {
  type AuthorizationCodeOptions,
  authorizationCode,
  type Claims,
  InvalidCallbackError,
  type LogoutOptions,
  OAuthError,
  type StandardSchemaV1,
  StoreError,
  type UserAgent,
} from '@keyturn/core'
import { cookieTransactions, newSessionKey, webLoginsOf } from './cookie-transactions.ts'
import { ANYBODY, KeptFlows, type PlacedFlow, placeOf } from './kept-flows.ts'
import { SealedCookies } from './sealed-cookies.ts'
import { SessionIndex } from './session-index.ts'
import { isFromElsewhere, queryOf, type WebRequest } from './web-request.ts'
import type { WebCallback, WebSessions, WebSessionsOptions } from './web-session-options.ts'

const SESSION = 'session'
/** Milliseconds after which a storage call is given up. */
const STORAGE_TIMEOUT = 5000

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
  const index = new SessionIndex({
    store,
    client: [issuer, clientId],
    life: cookieMaxAge * 1000,
    inTime: (call) => client.inTime(call, 'The session store did not answer', STORAGE_TIMEOUT),
  })
  const underWay = new Map<string, Promise<WebCallback>>()

  function sessionKeyOf(request: WebRequest): string | undefined {
    const found = cookies.opened(request).find(({ name }) => name === cookies.name(SESSION))
    return typeof found?.value === 'string' ? found.value : undefined
  }

  /** Where the server can tell when its own session is over, it finds ours. */
  async function remember(sessionKey: string): Promise<void> {
    try {
      const { backchannel_logout_supported: tells } = await client.metadata()
      if (tells) await index.add(await claimsOf(sessionKey), sessionKey)
    } catch (error) {
      warn(`A logout at the server will not end a session here: ${Object(error).message}`)
    }
  }

  /** Whose session it is, as far as the store tells. */
  async function claimsOf(sessionKey: string): Promise<Claims | undefined> {
    const session = (await flows.at(sessionKey).catch(() => undefined))?.session
    return session?.status === 'signedIn' ? session.claims : undefined
  }

  async function forget(sessionKey: string, claims: Claims | undefined): Promise<void> {
    try {
      await flows.forget(sessionKey)
      await index.remove(claims, sessionKey)
    } catch (error) {
      warn(`A session that is over stays in the store: ${Object(error).message}`)
    }
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
      await remember(sessionKey)
      const before = sessionKeyOf(request)
      // Not revoked: at many servers that would end the new one, too.
      if (before !== undefined) await forget(before, await claimsOf(before))
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
        const claims = await claimsOf(sessionKey)
        await flows.take(sessionKey).flow.logout(logoutOptions, { userAgent: redirectTo(headers) })
        await forget(sessionKey, claims)
      }
      return new Response(null, { status: 303, headers })
    },

    async end(loggedOut) {
      try {
        const ending = (await index.of(loggedOut)).map(async (named) => {
          const { sessionKey } = named
          await flows.take(sessionKey).flow.revoke({ origin: 'server' })
          await flows.forget(sessionKey)
          await index.remove(named, sessionKey)
        })
        await Promise.allSettled(ending) // one that fails keeps no other from its end
        await Promise.all(ending)
      } catch (cause) {
        throw new StoreError('A session could not be ended', { cause })
      }
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
