import { OAuthError } from './errors.ts'
import { secureUrl } from './secure-url.ts'
import type { AccessTokenRequest } from './token-source.ts'

type Wanted = Pick<AccessTokenRequest, 'resource' | 'scope' | 'parameters'>

/** URLs that may see a token, and which token. */
export interface Api extends Wanted {
  /** Everything at this origin whose path starts with these segments: https, or http on loopback. */
  url: string
}

/** Where a token may go: URLs, each with the token that it wants where that is not the source's own. */
export type Apis = string | Api | readonly (string | Api)[]

/** One API. */
export interface ApiRoute {
  /** Its origin and path, without a slash at the end. */
  readonly base: string
  /** Whether it is a whole origin, so that no path leads out of it. */
  readonly isOrigin: boolean
  /** Which token it wants; undefined: the source's own. */
  readonly wanted: Wanted | undefined
}

/** A dot segment that only a server would see: it is encoded, or has parameters. */
const HIDDEN_DOTS = /(\/|%(25)*(2f|5c))(\.|%(25)*2e){1,2}(\/|;|%(25)*(2f|5c|3b))/i

/**
 * Tells for a URL which token it may see: none (`undefined`) unless its origin and its first path segments are those of
 * an API. Compared after parsing, never as text. Throws an `OAuthError` for `apis` that cannot work.
 */
export function apiRoutes(apis: Apis): (url: URL | null) => ApiRoute | undefined {
  const routes = [apis ?? []].flat().map(routeTo)
  if (!routes.length) throw unusable()
  routes.sort((one, other) => other.base.length - one.base.length)
  return (url) => {
    const href = `${url?.href}` // user information in it would stand in the way of the host
    const covers = ({ base }: ApiRoute) => href.startsWith(base) && '/?#'.includes(href.charAt(base.length)) // or its end
    return routes.find((route) => covers(route) && (route.isOrigin || !hidesDots(`${url?.pathname}/`)))
  }
}

/** Few paths have what it takes, and the expression is slow (`npm run bench`). */
function hidesDots(path: string): boolean {
  return (path.includes('%') || path.includes(';')) && HIDDEN_DOTS.test(path)
}

function routeTo(api: string | Api): ApiRoute {
  const { url, ...wanted } = typeof api === 'string' ? { url: api } : (api ?? {})
  const parsed = secureUrl(`${url && absoluteUrl(url)}`, 'apis')
  // No pattern covers anything: with one a token would silently go nowhere.
  if (/\*|\?./.test(parsed.href)) throw unusable()
  return {
    base: parsed.href.replace(/[?#/]+$/, ''),
    isOrigin: parsed.pathname === '/',
    wanted: Object.keys(wanted).length ? wanted : undefined,
  }
}

const unusable = () =>
  new OAuthError('invalid-options', 'apis is no list of URLs', {
    fix: 'Set apis to the URLs that may see a token, without query and asterisk.',
  })

/** The URL as fetch would understand it, in a page or a worker also a relative one. */
export function absoluteUrl(url: string): URL | null {
  return URL.parse(url, globalThis.document?.baseURI ?? globalThis.location?.href)
}

/** A URL that has to be an API's, and its route. Throws an `OAuthError` where `apis` does not cover it. */
export function coveredUrl(address: string, apis: Apis): { url: URL; route: ApiRoute } {
  const url = absoluteUrl(address)
  const route = apiRoutes(apis)(url)
  if (url && route) return { url, route }
  throw new OAuthError('invalid-options', 'apis does not cover url', { fix: 'Add the URL of the API to apis.' })
}
