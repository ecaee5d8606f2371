/**
 * Where to go after a login: `address`, such as one that came in a link, where it is of this page's own origin once it is
 * parsed, else `fallback`. Neither `//evil.example` nor `/\evil.example` nor `javascript:` is; and what it gives is
 * absolute, for a path can start with two slashes (RFC 9700 section 4.11).
 */
export function returnAddress(address: unknown, fallback = '/'): string {
  const url = typeof address === 'string' ? URL.parse(address, location.href) : null
  const isOwn = url?.origin === location.origin && /^https?:$/.test(url.protocol)
  return isOwn ? url.href : new URL(fallback, location.href).href
}
