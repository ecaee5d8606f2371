/** What the user types and presses. */
export interface SignIn {
  username: string
  password: string
  /** The second factor, where the page asks for one. */
  code?: string
  /** Default 'allow'. */
  decision?: 'allow' | 'abort'
  /** The browser's cookies, kept from one sign-in to the next by who passes the same map. */
  cookies?: Map<string, Cookie>
}

export interface Cookie {
  name: string
  value: string
  path: string
}

/**
 * Goes through the authorization server's pages as a browser would until a redirect leaves it, and returns where that
 * goes; where none does (the device grant) the address of the last page. Signs out, too, at `end_session_endpoint`.
 */
export async function signInOverHttp(authorizationUrl: string | URL, signIn: SignIn): Promise<string> {
  const { cookies = new Map<string, Cookie>() } = signIn
  const { origin } = new URL(authorizationUrl)
  let url = new URL(authorizationUrl)
  let body: URLSearchParams | undefined

  for (let step = 0; step < 20; step++) {
    const response = await fetch(url, {
      redirect: 'manual',
      headers: { cookie: cookieHeader(cookies, url.pathname) },
      ...(body && { method: 'POST', body }),
    })
    for (const line of response.headers.getSetCookie()) keep(cookies, line)

    const location = response.headers.get('location')
    if (location) {
      url = new URL(location, url)
      body = undefined
      await response.body?.cancel()
      if (url.origin !== origin) return url.href
      continue
    }

    const html = await response.text()
    if (!response.ok) throw new Error(`${response.status} from ${url.pathname}: ${textOf(html)}`)
    const form = /<form[^>]*>/.exec(html)?.[0]
    if (!form) return url.href
    url = new URL(attribute(form, 'action') ?? '', url)
    body = filledIn(html, signIn)
  }
  throw new Error(`no end of pages at ${url.href}`)
}

function filledIn(html: string, { username, password, code = '', decision }: SignIn): URLSearchParams {
  const typed: Record<string, string> = { username, password, code }
  const body = new URLSearchParams()
  for (const [input] of html.matchAll(/<input[^>]*>/g)) {
    const name = attribute(input, 'name')
    if (name) body.set(name, typed[name] ?? attribute(input, 'value') ?? '')
  }
  const buttons = [...html.matchAll(/<button[^>]*>/g)].map(([button]) => button)
  const abort = decision === 'abort' && buttons.find((button) => attribute(button, 'name') === 'abort')
  const pressed = abort || buttons.find((button) => attribute(button, 'class') === 'primary') || ''
  const name = attribute(pressed, 'name')
  if (name) body.set(name, attribute(pressed, 'value') ?? '')
  return body
}

function attribute(tag: string, name: string): string | undefined {
  return new RegExp(` ${name}="([^"]*)"`).exec(tag)?.[1]?.replaceAll('&amp;', '&').replaceAll('&quot;', '"')
}

function textOf(html: string): string {
  return html
    .replace(/<style>.*<\/style>|<[^>]*>/gs, ' ')
    .replace(/\s+/g, ' ')
    .trim()
}

function keep(cookies: Map<string, Cookie>, line: string): void {
  const [pair = '', ...attributes] = line.split(/; */)
  const [name = '', value = ''] = pair.split(/=(.*)/s)
  const path = attributes.find((text) => /^path=/i.test(text))?.slice(5) ?? '/'
  const expires = attributes.find((text) => /^expires=/i.test(text))?.slice(8)
  const key = `${name} ${path}`
  if (expires && Date.parse(expires) <= Date.now()) cookies.delete(key)
  else cookies.set(key, { name, value, path })
}

function cookieHeader(cookies: Map<string, Cookie>, pathname: string): string {
  return [...cookies.values()]
    .filter(({ path }) => pathname === path || pathname.startsWith(path.endsWith('/') ? path : `${path}/`))
    .map(({ name, value }) => `${name}=${value}`)
    .join('; ')
}
