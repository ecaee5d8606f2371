import { unlessAborted } from './deadline.ts'
import { prepare, type Redirects, type Target } from './token-fetch.ts'

/** Fetch standard, HTTP-redirect fetch. */
const MOST_HOPS = 20

/** What describes a body, and goes with it. */
const OF_BODY = ['content-encoding', 'content-language', 'content-length', 'content-location', 'content-type']

/** What is for one origin only. */
const OF_ORIGIN = ['authorization', 'proxy-authorization', 'cookie', 'host']

/** Those in which the standard changes nothing. */
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']

let hidden: boolean | undefined

/** Browsers let no script see a redirect, nor set Host: whoever lets it set that shows redirects, too. */
function hidesRedirects(): boolean {
  hidden ??= !new Request('https://localhost/', { headers: { host: 'localhost' } }).headers.has('host')
  return hidden
}

/**
 * Follows redirects as fetch does (Fetch standard, HTTP-redirect fetch), so that each hop has a token and a proof of its
 * own, or none. Where the platform shows no redirect, or is to check `integrity`, it follows them by itself.
 */
export const hopByHop: Redirects = { prepare: prepareHop, follow }

/**
 * An address says as much as a Request where there is no body and the options are plain, and the platform takes it in
 * half of the time. What is wrong with such options, the fetch underneath says.
 */
function prepareHop(input: Request | URL, given?: RequestInit): ReturnType<typeof prepare> {
  const init: RequestInit = { ...given }
  const {
    body,
    headers: own,
    integrity,
    method = 'GET',
    redirect = 'follow',
    referrer = '',
    referrerPolicy = '',
  } = init
  const isPlain = input instanceof URL && body == null && (!given || Object.getPrototypeOf(given) === Object.prototype)
  if (!isPlain || redirect !== 'follow' || integrity || !METHODS.includes(method) || hidesRedirects()) {
    return shown(prepare(input, given))
  }
  const headers = own === undefined ? undefined : new Headers(own) // once, for an iterator is gone then
  if (headers?.has('authorization')) return prepare(input, { ...init, headers })
  init.redirect = 'manual'
  return { target: { url: input.href, method, headers, redirect, referrer, referrerPolicy }, init }
}

/** With the redirects shown, where the platform can and is to follow any, and they are ours to follow. */
function shown({ target, init }: ReturnType<typeof prepare>): ReturnType<typeof prepare> {
  const { redirect, integrity, headers } = target as Request
  const isOurs = redirect === 'follow' && !integrity && !headers.has('authorization') && !hidesRedirects()
  return { target, init: isOurs ? optionsFor(target, init) : init }
}

async function follow(...[hop, answer, by]: Parameters<Redirects['follow']>): Promise<Response> {
  const { target, canSendAgain, redirects = 0 } = hop
  const { headers: _, ...init } = hop.init // a hop's own are those of its Request
  if (target.redirect !== 'follow' || init.redirect !== 'manual') return answer
  const url = redirectedTo(answer, target.url)
  if (!url) return answer
  if (redirects === MOST_HOPS) throw failed('redirect count exceeded')

  const from =
    target instanceof Request ? target : new Request(target.url, { ...init, headers: new Headers(target.headers) })
  if (answer.status !== 303 && from.body && !canSendAgain) throw failed('a stream cannot be sent again')
  const { cache, credentials, keepalive, mode, referrerPolicy, signal } = from
  // A redirect may have a policy of its own (Referrer Policy section 8.1): all of them are understood as the strictest.
  const referrer = answer.headers.has('referrer-policy') ? '' : from.referrer
  const standard = { cache, credentials, keepalive, mode, referrer, referrerPolicy, signal }
  const isGet = becomesGet(answer.status, from.method)
  const isOther = url.origin !== new URL(from.url).origin
  if (isOther && mode === 'same-origin') throw failed('request mode cannot be "same-origin"')
  const headers = new Headers(from.headers)
  for (const name of [...(isGet ? OF_BODY : []), ...(isOther ? OF_ORIGIN : [])]) headers.delete(name)
  const method = isGet ? 'GET' : from.method
  // As bytes, for then its length is known.
  const body: Blob | null = isGet || !from.body ? null : await unlessAborted(from.blob(), signal)
  const request = new Request(url, { ...standard, method, headers, body })
  const options = { ...optionsFor(request, init), method }
  const hasLeft = hop.hasLeft || isOther
  const next = {
    ...hop,
    target: request,
    init: options,
    canSendAgain: true, // bytes, or nothing
    redirects: redirects + 1,
    hasLeft,
  }
  const route = hasLeft ? undefined : by.routeOf(url)
  // A copy, because the next hop may need the body.
  const without = () => by.plain(request.clone(), options)
  const response = route ? await by.send({ ...next, route }) : await follow(next, await without(), by)
  return response.redirected ? response : redirected(response)
}

/** With the referrer of the request, which options take away. */
function optionsFor({ referrer, referrerPolicy }: Target, init: RequestInit): RequestInit {
  return { ...init, referrer, referrerPolicy, redirect: 'manual' }
}

/** Where a response redirects to; undefined: nowhere. Throws as fetch does for what it cannot follow. */
function redirectedTo({ status, type, headers, body }: Response, from: string): URL | undefined {
  if (type === 'opaqueredirect') throw failed('the fetch underneath hides where it was redirected to')
  const location = [301, 302, 303, 307, 308].includes(status) ? headers.get('location') : null
  if (location === null) return undefined
  body?.cancel().catch(() => {}) // it is of no use to anybody, wherever that leads
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
