import { processPushedAuthorizationResponse } from 'oauth4webapi'
import type { Client } from '../client.ts'
import { OAuthError } from '../errors.ts'
import { refusal } from '../server-answers.ts'

/** From the parameters of an authorization request to those that the user agent takes along (RFC 6749 section 4.1.1). */
export type AuthorizationRequestStep = (client: Client, request: URLSearchParams) => Promise<URLSearchParams>

/** Pushes an authorization request (RFC 9126). */
export type PushedAuthorizationRequests = AuthorizationRequestStep

/**
 * The authorization request goes to the server directly, with the client's own authentication; the user agent takes
 * along no more than a reference to it. `login()` rejects with an `OAuthError` where the server refuses (RFC 9126).
 */
export function pushedAuthorizationRequests(): PushedAuthorizationRequests {
  return async (client, request) => {
    const url = await client.requiredEndpoint('pushed_authorization_request_endpoint')
    const { client: who, secrets, response, json } = await client.post(url, new URLSearchParams(request))
    const { status } = response
    if (json?.error && typeof json.error === 'string') {
      throw refusal(json.error, json.error_description, status, secrets)
    }
    try {
      const answer = Response.json(json, { status: status || 502 }) // a redirect has no status in a browser
      const { request_uri } = await processPushedAuthorizationResponse(await client.metadata(), who, answer)
      return new URLSearchParams({ client_id: client.clientId, request_uri })
    } catch (cause) {
      throw new OAuthError('invalid-response', `The pushed request got no request_uri (status ${status})`, {
        cause,
        fix: 'Check what answers at pushed_authorization_request_endpoint.',
      })
    }
  }
}
