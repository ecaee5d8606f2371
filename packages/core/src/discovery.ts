import * as oauth from 'oauth4webapi'
import { OAuthError } from './errors.ts'
import type { EndpointAnswer } from './token-response.ts'

export type AuthorizationServer = oauth.AuthorizationServer

/** A request as oauth4webapi hands it over. */
export type Init = Omit<oauth.CustomFetchOptions<'GET' | 'POST', URLSearchParams | undefined>, 'redirect'> & {
  redirect: 'manual' | 'follow'
}

/**
 * The metadata of an authorization server: OpenID Connect Discovery section 4, then RFC 8414 section 3; undefined where
 * it has none. A redirect is followed on the same origin. Rejects with an `OAuthError`, also for another issuer's.
 */
export async function discover(
  issuer: string,
  request: (url: string, init: Init) => Promise<EndpointAnswer>,
): Promise<AuthorizationServer | undefined> {
  const url = new URL(issuer)
  const answered = async (address: string, init: Init, hops = 3): Promise<Response> => {
    const { status, headers, json, finalUrl } = await request(address, init)
    const sameOrigin = (other: string) => URL.parse(other, address)?.origin === url.origin
    const location = headers.get('location')
    if (status >= 300 && location && hops > 0 && sameOrigin(location)) {
      return answered(new URL(location, address).href, init, hops - 1)
    }
    // A browser does not tell where a redirect leads: it follows by itself, and says afterwards where it arrived.
    if (status === 0 && hops > 0) return answered(address, { ...init, redirect: 'follow' }, 0)
    return typeof json?.issuer === 'string' && status === 200 && sameOrigin(finalUrl || address)
      ? Response.json(json)
      : Response.error()
  }
  for (const algorithm of ['oidc', 'oauth2'] as const) {
    const options = { algorithm, [oauth.allowInsecureRequests]: true, [oauth.customFetch]: answered }
    const response = await oauth.discoveryRequest(url, options)
    if (!response.ok) continue
    try {
      return await oauth.processDiscoveryResponse(url, response)
    } catch (cause) {
      throw new OAuthError('issuer-mismatch', `The metadata at ${issuer} is of another issuer`, {
        cause,
        fix: 'Set issuer to exactly what the metadata says.',
      })
    }
  }
  return undefined
}
