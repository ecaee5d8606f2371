/** Headers as Node has them, by their names in lower case. */
export type NodeHeaders = Readonly<Record<string, string | string[] | undefined>>

/** What is looked at of a request: a standard `Request` and Node's `IncomingMessage` have it, and so what frameworks make of them. */
export interface WebRequest {
  readonly method?: string | undefined
  readonly url?: string | undefined
  readonly headers: Headers | NodeHeaders
}

/** One header, as it was sent. */
export function headerOf({ headers }: WebRequest, name: string): string | undefined {
  if (areOfFetch(headers)) return headers.get(name) ?? undefined
  const value = headers[name]
  return Array.isArray(value) ? value.join('; ') : value
}

/** Not by class: those of another implementation of fetch would count as empty, and a sign-out from elsewhere as ours. */
export function areOfFetch(headers: WebRequest['headers']): headers is Headers {
  return typeof headers.get === 'function'
}

/** The query as it was sent, whatever a proxy or a router made of the address before it. */
export function queryOf({ url = '' }: WebRequest): string {
  return /\?[^#]*/.exec(url)?.[0] ?? ''
}

/** The cookies, by name (RFC 6265 section 5.4); one name may come twice. */
export function cookiesOf(request: WebRequest): [name: string, value: string][] {
  const pairs = (headerOf(request, 'cookie') ?? '').split(';')
  return pairs.map((pair) => {
    const [name = '', value = ''] = pair.trim().split(/=(.*)/s)
    return [name, value]
  })
}

/**
 * Whether another site's page made the browser send it (Fetch Metadata section 2.3; RFC 6454 section 7 where a browser
 * does not tell). `null` tells nothing: a page without referrers sends it to itself, too.
 */
export function isFromElsewhere(request: WebRequest, origin: string): boolean {
  const site = headerOf(request, 'sec-fetch-site')
  if (site !== undefined) return site !== 'same-origin' && site !== 'none'
  const from = headerOf(request, 'origin')
  return from !== undefined && from !== 'null' && from !== origin
}
