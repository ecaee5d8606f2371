import type { AuthorizationServer as Metadata } from 'oauth4webapi'
import { OAuthError } from './errors.ts'
import type { EndpointAnswer } from './server-answers.ts'

/** An authorization server's metadata (RFC 8414 section 2, OpenID Connect Discovery section 3). */
export type AuthorizationServer = Metadata

/**
 * The metadata of an authorization server: OpenID Connect Discovery section 4, then RFC 8414 section 3. A redirect is
 * followed on the same origin. Rejects with an `OAuthError` where there is none, or that of another issuer.
 */
export async function discover(
  issuer: string,
  get: (url: string, redirect: 'manual' | 'follow') => Promise<EndpointAnswer>,
): Promise<AuthorizationServer> {
  const { origin, pathname, href } = new URL(issuer)
  const found = async (
    url: string,
    hops = 3,
    redirect: 'manual' | 'follow' = 'manual',
  ): Promise<EndpointAnswer['json']> => {
    const { response, json } = await get(url, redirect)
    const { status } = response
    const location = response.headers.get('location')
    // A browser does not tell where a redirect leads: it follows by itself, and says afterwards where it arrived.
    if (hops > 0 && status === 0) return found(url, 0, 'follow')
    // Where no redirect was followed `fetch` alone decides at which address a server is reached.
    const target = URL.parse(location ?? (redirect === 'follow' ? response.url : ''), url)
    if (target?.origin !== origin) return undefined
    if (hops > 0 && status >= 300 && location !== null) return found(target.href, hops - 1)
    return status === 200 ? json : undefined
  }
  const path = pathname.replace(/\/$/, '')
  for (const wellKnown of [
    `${path}/.well-known/openid-configuration`,
    `/.well-known/oauth-authorization-server${path}`,
  ]) {
    const metadata = await found(origin + wellKnown)
    if (!isMetadata(metadata)) continue
    if (URL.parse(metadata.issuer)?.href === href) return metadata
    throw new OAuthError('issuer-mismatch', `The metadata at ${issuer} is of another issuer`, {
      fix: 'Set issuer to exactly what the metadata says.',
    })
  }
  throw new OAuthError('discovery-failed', `No authorization server metadata at ${issuer}`, {
    fix: 'Check issuer, or give metadata with discovery: false.',
  })
}

function isMetadata(json: EndpointAnswer['json']): json is AuthorizationServer {
  return typeof json?.issuer === 'string'
}
