import type { ClientAuth } from 'oauth4webapi'

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
