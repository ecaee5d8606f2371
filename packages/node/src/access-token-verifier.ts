import type { IncomingHttpHeaders } from 'node:http'
import {
  type AccessTokenVerifier,
  type AccessTokenVerifierOptions,
  accessTokenVerifier as coreVerifier,
  type VerifiableRequest,
} from '@keyturn/core'

/** A standard `Request`, Node's `IncomingMessage`, or what express makes of that. */
export interface ApiRequest {
  readonly method?: string | undefined
  readonly url?: string | undefined
  /** As it came, where a router has taken the beginning away. */
  readonly originalUrl?: string | undefined
  readonly headers: Headers | IncomingHttpHeaders
  /** Node keeps the first of several `Authorization` headers; here are all. */
  readonly rawHeaders?: readonly string[] | undefined
  readonly socket?: { readonly encrypted?: boolean } | object | null | undefined
}

/**
 * Verifies the access tokens that an API is sent: JWTs by the server's keys (RFC 9068), others by asking the server
 * (RFC 7662), a token that is bound to a key with its proof (RFC 9449). Throws an `OAuthError` where options are wrong.
 */
export function accessTokenVerifier(options: AccessTokenVerifierOptions): AccessTokenVerifier<ApiRequest> {
  const verifier = coreVerifier(options)
  const known = new WeakMap<ApiRequest, VerifiableRequest>() // the same request is to be seen as the same
  return {
    async verify(request, rules) {
      const seen = known.get(request) ?? verifiable(request)
      known.set(request, seen)
      return verifier.verify(seen, rules)
    },
  }
}

function verifiable(request: ApiRequest): VerifiableRequest {
  const { method = 'GET', url = '/', originalUrl = url, headers, rawHeaders, socket } = request
  if (headers instanceof Headers) return { method, url, headers }
  const sent = new Headers()
  for (const name of ['authorization', 'dpop']) {
    for (const value of valuesOf(name, headers, rawHeaders)) sent.append(name, value)
  }
  // The path goes behind the host as it is: resolved, `//other.example/` would be a host of its own.
  const path = originalUrl.startsWith('/') ? originalUrl : originalUrl.replace(/^(https?:\/\/[^/?#]*)?\/?/i, '/')
  const host = headers.host ?? headers[':authority'] ?? 'localhost'
  const isTls = Object(socket).encrypted === true
  return {
    method,
    url: `${isTls ? 'https' : 'http'}://${String(host).replace(/[/?#@\\].*/s, '')}${path}`,
    headers: sent,
  }
}

function valuesOf(name: string, headers: IncomingHttpHeaders, raw: readonly string[] | undefined): string[] {
  if (!raw) return [headers[name] ?? []].flat()
  return raw.filter((_, index) => index % 2 === 1 && raw[index - 1]?.toLowerCase() === name)
}
