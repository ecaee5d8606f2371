import { type TokenEndpointResponse, validateApplicationLevelSignature } from 'oauth4webapi'
import type { Client } from './client.ts'
import { type KeysInUse, keySet } from './key-set.ts'
import type { ServerKeys } from './server-keys.ts'

/**
 * Called before a token request; what it resolves with is called with the validated answer, and rejects where the ID
 * token's signature is not the server's (OpenID Connect Core section 3.1.3.7).
 */
export type IdTokenSignature = (
  client: Client,
) => Promise<(response: Response, answer: TokenEndpointResponse) => Promise<void>>

/**
 * Also checks the ID token's signature against the server's keys (OpenID Connect Core section 3.1.3.7). They are fetched
 * before the token request, so that an outage of theirs spends no code and no refresh token.
 */
export function idTokenSignature(): IdTokenSignature {
  const keySets = new WeakMap<Client, ServerKeys<KeysInUse>>()
  return async (client) => {
    const keys = keySets.get(client) ?? keySet(client)
    keySets.set(client, keys)
    await keys.ready()
    return async (response, answer) => {
      if (answer.id_token === undefined) return
      await keys.verified(({ server, options }) => validateApplicationLevelSignature(server, response, options))
    }
  }
}
