import { type IntrospectionResponse, processIntrospectionResponse } from 'oauth4webapi'
import type { Client } from './client.ts'
import { TokenUnavailableError } from './errors.ts'
import { refusal } from './server-answers.ts'

/**
 * What the authorization server says of an access token (RFC 7662 section 2). Rejects with an `OAuthError` where it does
 * not say; of a token that is not good it says `active: false`.
 */
export async function introspect(client: Client, token: string): Promise<IntrospectionResponse> {
  const url = await client.requiredEndpoint('introspection_endpoint')
  const body = new URLSearchParams({ token, token_type_hint: 'access_token' })
  const { client: who, secrets, response, json } = await client.post(url, body)
  const { status } = response
  if (typeof json?.error === 'string') throw refusal(json.error, json.error_description, status, secrets)
  try {
    return await processIntrospectionResponse(await client.metadata(), who, Response.json(json, { status }))
  } catch (cause) {
    throw new TokenUnavailableError('invalid-response', `No answer about a token (status ${status})`, {
      cause,
      fix: 'Check what answers at introspection_endpoint.',
    })
  }
}
