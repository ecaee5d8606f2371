import { type CryptoKey, issueRequestObject, type PrivateKey } from 'oauth4webapi'
import { OAuthError } from '../errors.ts'
import type { AuthorizationRequestStep } from './pushed-authorization-requests.ts'

/** Signs an authorization request (RFC 9101). */
export type RequestObject = AuthorizationRequestStep

/**
 * The authorization request is signed with the client's private key, whose algorithm decides on the signature's; `kid`
 * tells the server which of the client's keys it is. Composes with `par`. `login()` rejects with an `OAuthError` where
 * the key cannot sign (RFC 9101 section 4).
 */
export function requestObject(key: CryptoKey | { key: CryptoKey; kid?: string }): RequestObject {
  // oauth4webapi says what is wrong with a key that is none.
  const pair: PrivateKey = 'key' in Object(key) ? Object(key) : { key }
  return async (client, request) => {
    const client_id = client.clientId
    const server = await client.metadata()
    try {
      return new URLSearchParams({ client_id, request: await issueRequestObject(server, { client_id }, request, pair) })
    } catch (cause) {
      throw new OAuthError('invalid-options', 'The authorization request cannot be signed', {
        cause,
        fix: 'Give requestObject() a private CryptoKey that may sign.',
      })
    }
  }
}
