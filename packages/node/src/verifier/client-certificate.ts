import { type ApiRequest, sentHeader } from './api-request.ts'
import { sha256 } from './sha-256.ts'

/**
 * The certificate of a request's client, of a request that a proxy has made: as DER, PEM, URL-encoded PEM (nginx, Envoy,
 * load balancers), or bare or `:enclosed:` base64 (RFC 9440 section 2.1). Undefined where the client showed none.
 */
export type ClientCertificate = (request: ApiRequest) => string | Uint8Array | null | undefined

/** Where to read certificates: a function, a header by its name, or the connection. */
export function certificateReader(source: string | ClientCertificate | undefined): ClientCertificate {
  if (typeof source !== 'string') return source ?? connectionCertificate
  const name = source.toLowerCase()
  return (request) => sentHeader(request, name)
}

/** The certificate of a TLS connection that ends here (RFC 8705 section 3). */
function connectionCertificate({ socket }: ApiRequest): Uint8Array | undefined {
  const { getPeerX509Certificate: read } = Object(socket)
  const { raw } = Object(typeof read === 'function' ? read.call(socket) : undefined)
  return raw instanceof Uint8Array ? raw : undefined
}

/** The `x5t#S256` of a certificate (RFC 8705 section 3.1); undefined where it is none. */
export async function certificateThumbprint(certificate: ReturnType<ClientCertificate>): Promise<string | undefined> {
  const der = typeof certificate === 'string' ? derOf(certificate) : certificate
  // A certificate is a SEQUENCE; the hash of anything else can be that of no certificate.
  if (der?.[0] !== 0x30) return undefined
  return sha256(Uint8Array.from(der))
}

function derOf(text: string): Uint8Array | undefined {
  try {
    // Two headers in one: one of them may be the client's own.
    if (text.includes(',')) return undefined
    const plain = text.includes('%') ? decodeURIComponent(text) : text
    // Of a chain the first one is the client's (RFC 5246 section 7.4.2).
    const [, inside] = /-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----/.exec(plain) ?? []
    const base64 = (inside ?? plain.trim().replace(/^:(.*):$/s, '$1')).replace(/\s/g, '')
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))
  } catch {
    return undefined // which is the answer: it is no certificate
  }
}
