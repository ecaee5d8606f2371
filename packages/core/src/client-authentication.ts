import type { AuthorizationServer, Client, ClientAuth } from 'oauth4webapi'
import type { ClientOptions } from './client.ts'
import { OAuthError } from './errors.ts'
import { ours } from './renewal-errors.ts'

/** How the client proves who it is to the authorization server (RFC 6749 section 2.3); the secret comes as `client.client_secret`. */
export type ClientAuthentication = ClientAuth

/**
 * HTTP Basic (RFC 6749 section 2.3.1). `encoding: 'form'`, the default, is what the RFC asks for and leaves `-._*` as
 * they are; `'none'` is for servers that don't decode.
 */
export function clientSecretBasic({ encoding = 'form' }: { encoding?: 'form' | 'none' } = {}): ClientAuthentication {
  const encode = (text: string) => (encoding === 'form' ? new URLSearchParams([['', text]]).toString().slice(1) : text)
  return (_server, client, _body, headers) => {
    const bytes = new TextEncoder().encode(`${encode(client.client_id)}:${encode(String(client.client_secret))}`)
    headers.set('authorization', `Basic ${btoa(String.fromCharCode(...bytes))}`)
  }
}

/** The secret in the request's body (RFC 6749 section 2.3.1). */
export function clientSecretPost(): ClientAuthentication {
  return (_server, client, body) => {
    body.set('client_id', client.client_id)
    body.set('client_secret', String(client.client_secret))
  }
}

/** A public client: its identifier alone (RFC 6749 section 3.2.1). */
export function none(): ClientAuthentication {
  return (_server, client, body) => {
    body.set('client_id', client.client_id)
  }
}

/** The client with the secret of this one request. */
export type Identified = Client & { client_secret: string | undefined }

/** How this request is authenticated. Throws an `OAuthError` where a secret is needed and there is none. */
export function authenticationFor(
  { clientAuthentication: chosen, clientSecret }: Pick<ClientOptions, 'clientAuthentication' | 'clientSecret'>,
  server: AuthorizationServer,
  client: Identified,
): ClientAuthentication {
  if (typeof chosen === 'function') {
    return async (...request) => {
      try {
        await chosen(...request)
      } catch (error) {
        throw ours(error)
      }
    }
  }
  const supported = server.token_endpoint_auth_methods_supported
  const fallback =
    supported?.includes('client_secret_post') && !supported.includes('client_secret_basic')
      ? 'client_secret_post'
      : 'client_secret_basic'
  const method = chosen ?? (clientSecret === undefined ? 'none' : fallback)
  if (method === 'none') return none()
  if (method !== 'client_secret_basic' && method !== 'client_secret_post') {
    const fix = 'Give client_secret_basic, client_secret_post, none, or a function.'
    throw new OAuthError('invalid-options', 'clientAuthentication is not known', { fix })
  }
  if (!client.client_secret) {
    throw new OAuthError('invalid-options', `${method} needs a secret`, { fix: 'Set clientSecret.' })
  }
  return method === 'client_secret_post' ? clientSecretPost() : clientSecretBasic()
}
