import type { ClientAuth } from 'oauth4webapi'
import type { ClientOptions } from './client-options.ts'
import { OAuthError } from './errors.ts'
import type { EndpointAnswer } from './server-answers.ts'

/** How the client proves who it is to the authorization server (RFC 6749 section 2.3); the secret comes as `client.client_secret`. */
export type ClientAuthentication = ClientAuth

/** One that is good for a while, by the server's clock. */
export interface TimedAuthentication extends ClientAuthentication {
  /** Whether the answer is a refusal that the same request, sent once more, need not meet. */
  isLate?(body: URLSearchParams, answer: EndpointAnswer): boolean
}

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

/**
 * The client's certificate proves who it is, in a TLS connection that the caller's `fetch` makes; requests go to the
 * server's mutual-TLS addresses where it has other ones (RFC 8705 sections 2 and 5).
 */
export function tlsClientAuth(): ClientAuthentication {
  return Object.assign(none(), { aliases: 'mtls_endpoint_aliases' })
}

/**
 * The options of a client that can keep a secret (RFC 6749 section 2.1): from a name, or the secret and what the server
 * supports, to a function. Throws an `OAuthError` where that cannot be.
 */
export function confidential<T extends ClientOptions>(options: T): T {
  const { clientSecret, clientAuthentication: chosen = clientSecret === undefined ? 'none' : undefined } = options
  if (typeof chosen === 'function' || chosen === 'none') return options
  if (chosen !== undefined && chosen !== 'client_secret_basic' && chosen !== 'client_secret_post') {
    const fix = 'Give client_secret_basic, client_secret_post, none, or a function.'
    throw new OAuthError('invalid-options', 'clientAuthentication is not known', { fix })
  }
  const [basic, post] = [clientSecretBasic(), clientSecretPost()]
  const clientAuthentication: ClientAuthentication = (server, client, ...request) => {
    if (!client.client_secret) {
      throw new OAuthError('invalid-options', 'There is no secret to authenticate with', { fix: 'Set clientSecret.' })
    }
    const supported = [server.token_endpoint_auth_methods_supported].flat() // a list, if the metadata is in order
    const onlyPost = supported.includes('client_secret_post') && !supported.includes('client_secret_basic')
    const method = chosen ?? (onlyPost ? 'client_secret_post' : 'client_secret_basic')
    return (method === 'client_secret_post' ? post : basic)(server, client, ...request)
  }
  return { ...options, clientAuthentication }
}
