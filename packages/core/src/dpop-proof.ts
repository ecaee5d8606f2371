import { generateRandomState, calculatePKCECodeChallenge as sha256 } from 'oauth4webapi'
import { base64url } from './base64url.ts'
import type { ProofKey } from './proof-key.ts'

/** What a proof is for. */
export interface Proven {
  /** As on the wire. */
  method: string
  url: URL
  /** Seconds since 1970, by the server's clock. */
  at: number
  nonce: string | undefined
  /** The token that goes with it to an API; `undefined` at the token endpoint. */
  accessToken?: string | undefined
}

/** One DPoP proof, good for one request (RFC 9449 section 4.2). */
export async function dpopProof({ privateKey, jwk }: ProofKey, proven: Proven): Promise<string> {
  const { method, url, at, nonce, accessToken } = proven
  const header = { typ: 'dpop+jwt', alg: 'ES256', jwk }
  const claims = {
    jti: generateRandomState(),
    htm: method,
    htu: url.origin + url.pathname,
    iat: at,
    nonce,
    ath: accessToken && (await sha256(accessToken)),
  }
  const signed = [header, claims].map((part) => base64url(new TextEncoder().encode(JSON.stringify(part)))).join('.')
  const algorithm = { name: 'ECDSA', hash: 'SHA-256' }
  const signature = await crypto.subtle.sign(algorithm, privateKey, new TextEncoder().encode(signed))
  return `${signed}.${base64url(new Uint8Array(signature))}`
}
