import { memoryStore, type WebCallback, type WebSessions, type WebSessionsOptions, webSessions } from '@keyturn/node'
import { onTestFinished } from 'vitest'
import {
  type AuthorizationServer,
  startAuthorizationServer,
} from '../../../examples/playground/src/authorization-server.ts'
import { signInOverHttp } from '../../../examples/playground/src/sign-in-over-http.ts'

export const ORIGIN = 'https://app.example'
export const REDIRECT_URI = `${ORIGIN}/callback`
export const COOKIE_KEY: string = 'k'.repeat(32)

const passwords: Record<string, string> = { ada: 'lovelace', alan: 'turing' }

/** An authorization server that knows the app, for one file of tests. */
export function startServer(): Promise<AuthorizationServer> {
  return startAuthorizationServer({ redirectUris: [REDIRECT_URI, `${ORIGIN}/`], accessTokenTTL: 60 })
}

/** One process of the app. */
export function startSessions(
  server: Pick<AuthorizationServer, 'issuer'>,
  options: Partial<WebSessionsOptions> = {},
): WebSessions & { warnings: string[] } {
  const warnings: string[] = []
  const sessions = webSessions({
    issuer: server.issuer,
    clientId: 'web',
    clientSecret: 'web-secret',
    redirectUri: REDIRECT_URI,
    scope: 'openid profile offline_access',
    store: memoryStore(),
    cookieKey: COOKIE_KEY,
    onWarning: (message) => warnings.push(message),
    ...options,
  })
  onTestFinished(() => sessions[Symbol.asyncDispose]())
  return { ...sessions, warnings }
}

/** Somebody's browser, as far as the app sees it. */
export class Visitor {
  /** By name. */
  readonly cookies: Map<string, string> = new Map()
  /** Every `Set-Cookie` that came, oldest first. */
  readonly received: string[] = []

  request(path = '/', init: RequestInit = {}): Request {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    return new Request(new URL(path, ORIGIN), { ...init, headers: { cookie, ...init.headers } })
  }

  take(headers: Headers): void {
    for (const line of headers.getSetCookie()) {
      this.received.push(line)
      const [, name = '', value = '', maxAge] = /^([^=]+)=([^;]*).*; Max-Age=(\d+)/.exec(line) ?? []
      if (maxAge === '0') this.cookies.delete(name)
      else this.cookies.set(name, value)
    }
  }

  /** As far as the authorization server's pages: their address. */
  async leave(sessions: WebSessions, appState?: unknown): Promise<string> {
    const answer = await sessions.login(this.request('/login'), { appState })
    this.take(answer.headers)
    return answer.headers.get('location') ?? ''
  }

  /** As far as the return to the app: where the browser is sent. */
  async comeBack(sessions: WebSessions, username = 'ada', appState?: unknown): Promise<string> {
    const address = await this.leave(sessions, appState)
    return signInOverHttp(address, { username, password: passwords[username] ?? '' })
  }

  async arrive(sessions: WebSessions, address: string): Promise<WebCallback> {
    const callback = await sessions.handleCallback(this.request(address))
    this.take(callback.headers)
    return callback
  }

  async signIn(sessions: WebSessions, username?: string, appState?: unknown): Promise<WebCallback> {
    return this.arrive(sessions, await this.comeBack(sessions, username, appState))
  }

  /** Who the app says that this is: undefined where there is nobody. */
  async name(sessions: WebSessions): Promise<unknown> {
    const session = (await sessions.of(this.request()))?.session
    return session?.status === 'signedIn' ? session.claims?.sub : session
  }

  async signOut(sessions: WebSessions, postLogoutRedirectUri?: string): Promise<Response> {
    const answer = await sessions.logout(this.request('/logout', { method: 'POST' }), { postLogoutRedirectUri })
    this.take(answer.headers)
    return answer
  }

  /** The same browser as it is now, kept for later. */
  copy(): Visitor {
    const other = new Visitor()
    for (const [name, value] of this.cookies) other.cookies.set(name, value)
    return other
  }
}
