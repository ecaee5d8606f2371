import { areOfFetch, type WebRequest } from '../web-request.ts'

/** A standard `Request`, Node's `IncomingMessage`, or what express and others make of that. */
export interface ApiRequest extends WebRequest {
  /** As it came, where a router has taken the beginning away. */
  readonly originalUrl?: string | undefined
  /** Node keeps the first of several `Authorization` headers; here are all. */
  readonly rawHeaders?: readonly string[] | undefined
  /** Of a TLS connection, for what it says of the client's certificate. */
  readonly socket?: object | null | undefined
}

/** One header as it was sent; of several, all. Undefined where there is none. */
export function sentHeader({ headers, rawHeaders }: ApiRequest, name: string): string | undefined {
  if (areOfFetch(headers)) return headers.get(name) ?? undefined
  const shown = headers[name]
  if (shown === undefined || rawHeaders === undefined) return Array.isArray(shown) ? shown.join(', ') : shown
  const values: (string | undefined)[] = []
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const sent = rawHeaders[at]
    if (sent?.length === name.length && sent.toLowerCase() === name) values.push(rawHeaders[at + 1])
  }
  return values.length > 1 ? values.join(', ') : `${shown}`
}

/** Path and query as they came; of a standard request the whole URL. */
export function sentTarget({ url = '/', originalUrl = url }: ApiRequest): string {
  return originalUrl
}

/** The URL as its client knows it, whatever host a proxy has put in: `origin` is where clients reach the API. */
export function clientUrl(request: ApiRequest, origin: string | undefined): URL | null {
  const { headers, socket } = request
  const target = sentTarget(request)
  if (areOfFetch(headers)) {
    const url = URL.parse(target)
    return url && origin ? URL.parse(origin + url.pathname) : url
  }
  // The path goes behind the host as it is: resolved, `//other.example/` would be a host of its own.
  const path = target.startsWith('/') ? target : target.replace(/^(https?:\/\/[^/?#]*)?\/?/i, '/')
  if (origin) return URL.parse(origin + path)
  const host = String(headers.host ?? headers[':authority'] ?? 'localhost')
  const scheme = Object(socket).encrypted === true ? 'https' : 'http'
  return URL.parse(`${scheme}://${host.replace(/[/?#@\\].*/s, '')}${path}`)
}
