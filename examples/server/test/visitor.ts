import { type Cookie, signInOverHttp } from '../../playground/src/sign-in-over-http.ts'

const passwords: Record<string, string> = { ada: 'lovelace', alan: 'turing' }

/** Somebody's browser without its pages: a jar of cookies, and redirects that are followed by hand. */
export class Visitor {
  readonly origin: string
  readonly cookies: Map<string, string>
  /** The authorization server's own, by path and name. */
  readonly serverCookies: Map<string, Cookie> = new Map()
  /** Every `Set-Cookie` that came, oldest first. */
  readonly received: string[] = []

  constructor(origin: string, cookies: Map<string, string> = new Map()) {
    this.origin = origin
    this.cookies = cookies
  }

  async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const headers = { cookie, connection: 'close', ...init.headers } // the app may have been restarted since
    const response = await fetch(new URL(path, this.origin), { ...init, headers, redirect: 'manual' })
    for (const line of response.headers.getSetCookie()) {
      this.received.push(line)
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (line.includes('; Max-Age=0;')) this.cookies.delete(name)
      else this.cookies.set(name, value)
    }
    return response
  }

  /** As far as the return to the app: the address of that. */
  async comeBack(username: string, path = '/login'): Promise<string> {
    const { headers } = await this.fetch(path)
    const password = passwords[username] ?? ''
    return signInOverHttp(headers.get('location') ?? '', { username, password, cookies: this.serverCookies })
  }

  /** Signs out at the authorization server, which knows the person by its own cookies; the app is not asked. */
  async signOutThere(issuer: string): Promise<void> {
    const end = `${issuer}/session/end?client_id=web`
    await signInOverHttp(end, { username: '', password: '', cookies: this.serverCookies })
  }

  /** Signs in, and tells where the app sends the browser then. */
  async signIn(username: string, path?: string): Promise<string | null> {
    const response = await this.fetch(await this.comeBack(username, path))
    return response.headers.get('location')
  }

  /** What the app's API says, once it has been asked with this person's token. */
  async me(): Promise<unknown> {
    const response = await this.fetch('/me')
    return response.status === 200 ? Object(await response.json()).api : response.status
  }

  /** The same browser as it is now. */
  copy(): Visitor {
    return new Visitor(this.origin, new Map(this.cookies))
  }
}
