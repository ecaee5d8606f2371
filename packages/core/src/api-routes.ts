import { OAuthError } from './errors.ts'
import { secureUrl } from './secure-url.ts'
import type { AccessTokenRequest } from './token-source.ts'

/** URLs that may see a token, and which token. */
export interface Api extends Pick<AccessTokenRequest, 'resource' | 'scope' | 'parameters'> {
  /** Everything at this origin whose path starts with these segments: https, or http on loopback. */
  url: string
}

export type Apis = string | Api | readonly (string | Api)[]

/** One API; `request` says which token it wants, undefined: the source's own. */
export interface ApiRoute {
  readonly request: Pick<AccessTokenRequest, 'resource' | 'scope' | 'parameters'> | undefined
}

interface Covered {
  readonly origin: string
  readonly path: string
  readonly route: ApiRoute
}

/** A dot segment that only a server would see: it is encoded, or has parameters. */
const HIDDEN_DOTS = /(?:[\\/]|%2f|%5c)(?:\.|%2e){1,2}(?:[\\/;]|%2f|%5c|%3b|$)/i

/**
 * Tells for a URL which token it may see: none (`undefined`) unless its origin and its first path segments are those of
 * an API. Compared after parsing, never as text. Throws an `OAuthError` for `apis` that cannot work.
 */
export function apiRoutes(apis: Apis): (url: string) => ApiRoute | undefined {
  const given = [apis ?? []].flat() as (string | Api)[]
  if (given.length === 0) {
    throw new OAuthError('invalid-options', 'apis is missing', { fix: 'Name the URLs that may see a token.' })
  }
  const covered = given.map(coveredBy).sort((one, other) => other.path.length - one.path.length)
  return (address) => {
    const url = absoluteUrl(address)
    if (url === null || url.username || url.password) return undefined
    const hidden = HIDDEN_DOTS.test(url.pathname.replace(/%(?:25)+/g, '%'))
    const covers = ({ origin, path }: Covered) =>
      url.origin === origin && (path === '/' || (!hidden && `${url.pathname}/`.startsWith(path)))
    return covered.find(covers)?.route
  }
}

function coveredBy(api: string | Api): Covered {
  const { url, ...rest } = typeof api === 'object' && api !== null ? api : { url: api }
  const { origin, pathname, search, hash } = secureUrl((url && absoluteUrl(url)?.href) || '')
  if (search || hash) {
    throw new OAuthError('invalid-options', 'A URL in apis has more than origin and path', {
      fix: 'Leave query and fragment out of it.',
    })
  }
  return {
    origin,
    path: pathname.endsWith('/') ? pathname : `${pathname}/`,
    route: { request: Object.keys(rest).length > 0 ? rest : undefined },
  }
}

/** The URL as fetch would understand it, in a page also a relative one. */
export function absoluteUrl(url: string): URL | null {
  return URL.parse(url, globalThis.document?.baseURI)
}
