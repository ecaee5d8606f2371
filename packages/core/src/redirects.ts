import type { ApiRoute } from './api-routes.ts'
import { unlessAborted } from './deadline.ts'
import type { Follow } from './token-fetch.ts'

/** Fetch standard, HTTP-redirect fetch. */
const MOST_HOPS = 20

/** What describes a body, and goes with it. */
const OF_BODY = ['content-encoding', 'content-language', 'content-length', 'content-location', 'content-type']

/** What is for one origin only. */
const OF_ORIGIN = ['authorization', 'proxy-authorization', 'cookie', 'host']

let hidesRedirects: boolean | undefined

/**
 * Follows redirects as fetch does (Fetch standard, HTTP-redirect fetch), so that each hop has a token and a proof of its
 * own, or none. Where the platform shows no redirect, or is to check `integrity`, it follows them by itself.
 */
export const followRedirects: Follow = async (first) => {
  const { request, init, route, canSendAgain, routeOf, send, plain } = first
  // Browsers let no script see a redirect, nor set Host: whoever lets it set that shows redirects, too.
  hidesRedirects ??= !new Request('https://localhost/', { headers: { host: 'localhost' } }).headers.has('host')
  if (hidesRedirects || request.redirect !== 'follow' || request.integrity) return send(request, init, route)

  const { cache, credentials, keepalive, mode, referrer, referrerPolicy } = request
  // An address says as much as the Request where the options are plain, and the platform takes it in half the time.
  const { input, given = {} } = first
  const isPlain = !(input instanceof Request) && !request.body && Object.getPrototypeOf(given) === Object.prototype
  // Options take a Request's referrer away.
  const kept = isPlain ? init : { ...init, referrer, referrerPolicy }
  let hop: Hop = { request, route, options: { ...kept, redirect: 'manual' }, hasLeft: false }
  for (let hops = 0; ; hops++) {
    const { request, route, options } = hop
    const byAddress = (own: Headers, init: RequestInit) => {
      const headers = new Headers(request.headers)
      for (const [name, value] of own) headers.set(name, value)
      return plain(request.url, { ...init, headers })
    }
    // A copy, because the next hop may need the body.
    const without = () => plain(canSendAgain ? request.clone() : request, options)
    const response = await (route ? send(request, options, route, isPlain ? byAddress : undefined) : without())
    const url = redirectedTo(response, request.url)
    if (!url) return hops ? redirected(response) : response
    response.body?.cancel().catch(() => {}) // it is of no use to anybody
    if (hops === MOST_HOPS) throw failed('redirect count exceeded')
    if (response.status !== 303 && request.body && !canSendAgain) throw failed('a stream cannot be sent again')

    const { signal } = request
    const isGet = becomesGet(response.status, request.method)
    const isOther = url.origin !== new URL(request.url).origin
    const hasLeft = hop.hasLeft || isOther
    const headers = new Headers(request.headers)
    for (const name of [...(isGet ? OF_BODY : []), ...(isOther ? OF_ORIGIN : [])]) headers.delete(name)
    const method = isGet ? 'GET' : request.method
    // As bytes, for then its length is known.
    const body = isGet || !request.body ? null : await unlessAborted(request.blob(), signal)
    const standard = { cache, credentials, keepalive, mode, referrer, referrerPolicy, signal }
    hop = {
      request: new Request(url, { ...standard, method, headers, body }),
      options: { ...options, method },
      route: hasLeft ? undefined : routeOf(url.href),
      hasLeft,
    }
  }
}

interface Hop {
  request: Request
  options: RequestInit
  route: ApiRoute | undefined
  /** To another origin: no token goes anywhere from there, not even back. */
  hasLeft: boolean
}

/** Where a response redirects to; undefined: nowhere. Throws as fetch does for what it cannot follow. */
function redirectedTo({ status, type, headers }: Response, from: string): URL | undefined {
  if (type === 'opaqueredirect') throw failed('the fetch underneath hides where it was redirected to')
  const location = headers.get('location')
  if (location === null || ![301, 302, 303, 307, 308].includes(status)) return undefined
  // A header is read byte for byte, and servers send UTF-8.
  const text = new TextDecoder().decode(Uint8Array.from(location, (byte) => byte.charCodeAt(0)))
  const url = URL.parse(text, from)
  if (!url || !/^https?:$/.test(url.protocol)) throw failed('URL scheme must be a HTTP(S) scheme')
  if (url.username || url.password) throw failed('cross origin not allowed: the URL has user information')
  if (!text.includes('#')) url.hash = new URL(from).hash
  return url
}

function becomesGet(status: number, method: string): boolean {
  return status === 303 ? method !== 'GET' && method !== 'HEAD' : status < 303 && method === 'POST'
}

/** It says that it was redirected, and so do its clones; its `url` is that of the last hop anyway. */
function redirected(response: Response): Response {
  const clone = response.clone.bind(response)
  return Object.defineProperties(response, {
    redirected: { value: true },
    clone: { value: () => redirected(clone()) },
  })
}

/** What fetch rejects with. */
function failed(why: string): TypeError {
  return new TypeError('fetch failed', { cause: new Error(why) })
}
