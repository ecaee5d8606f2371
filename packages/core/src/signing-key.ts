import type { CryptoKey } from 'oauth4webapi'
import { OAuthError } from './errors.ts'

/** How to import a private key for a JWS algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1). */
const algorithms = {
  ES256: { name: 'ECDSA', namedCurve: 'P-256' },
  ES384: { name: 'ECDSA', namedCurve: 'P-384' },
  ES512: { name: 'ECDSA', namedCurve: 'P-521' },
  Ed25519: { name: 'Ed25519' },
  RS256: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
  RS384: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-384' },
  RS512: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-512' },
  PS256: { name: 'RSA-PSS', hash: 'SHA-256' },
  PS384: { name: 'RSA-PSS', hash: 'SHA-384' },
  PS512: { name: 'RSA-PSS', hash: 'SHA-512' },
} as const

/** A JWS algorithm that a private key can sign by (RFC 7518 section 3.1). */
export type SigningAlgorithm = keyof typeof algorithms

/** A private key as people have it: WebCrypto's, a JWK (RFC 7517), or PKCS#8 in PEM (RFC 7468 section 10). */
export type SigningKeyMaterial = CryptoKey | { readonly key: CryptoKey; readonly kid?: string } | PrivateJwk | string

/** A private JWK (RFC 7517 section 4). */
export interface PrivateJwk {
  kty: string
  alg?: string
  kid?: string
  use?: string
  key_ops?: string[]
  crv?: string
  x?: string
  y?: string
  d?: string
  n?: string
  e?: string
  p?: string
  q?: string
  dp?: string
  dq?: string
  qi?: string
}

/** The key that signs, not extractable, and its `kid`. Rejects with an `OAuthError` for what is none. */
export async function signingKey(
  material: SigningKeyMaterial,
  { algorithm, kid }: { algorithm?: SigningAlgorithm | undefined; kid?: string | undefined },
): Promise<{ key: CryptoKey; kid?: string }> {
  if (typeof material === 'string') {
    const bytes = pkcs8(material)
    return pair(await imported((fit) => crypto.subtle.importKey('pkcs8', bytes, fit, false, ['sign']), algorithm), kid)
  }
  if ('kty' in material) {
    const named = algorithm ?? algorithmNamed(material.alg)
    const { key_ops: _, ...jwk } = material
    return pair(
      await imported((fit) => crypto.subtle.importKey('jwk', jwk, fit, false, ['sign']), named),
      material.kid ?? kid,
    )
  }
  return 'key' in material ? pair(material.key, material.kid ?? kid) : pair(material, kid)
}

function algorithmNamed(alg: string | undefined): SigningAlgorithm | undefined {
  return Object.keys(algorithms).find((name): name is SigningAlgorithm => name === alg)
}

function pair(key: CryptoKey, kid: string | undefined): { key: CryptoKey; kid?: string } {
  if (key.type !== 'private' || !key.usages.includes('sign')) throw unusable(undefined)
  return kid === undefined ? { key } : { key, kid }
}

/** By the algorithm that was named, else by the first that fits the key. */
async function imported(
  importFor: (parameters: (typeof algorithms)[SigningAlgorithm]) => Promise<CryptoKey>,
  algorithm: SigningAlgorithm | undefined,
): Promise<CryptoKey> {
  let cause: unknown
  for (const parameters of algorithm ? [algorithms[algorithm]] : Object.values(algorithms)) {
    try {
      return await importFor(parameters)
    } catch (error) {
      cause = error // the next may fit
    }
  }
  throw unusable(cause)
}

function pkcs8(pem: string): Uint8Array<ArrayBuffer> {
  const [, base64] = /-----BEGIN PRIVATE KEY-----([\s\S]+?)-----END PRIVATE KEY-----/.exec(pem) ?? []
  try {
    return Uint8Array.from(atob(String(base64).replace(/\s/g, '')), (char) => char.charCodeAt(0))
  } catch (cause) {
    throw unusable(cause)
  }
}

function unusable(cause: unknown): OAuthError {
  return new OAuthError('invalid-options', 'The private key cannot be used', {
    cause,
    fix: 'Give a CryptoKey that may sign, a private JWK, or PKCS#8 in PEM (openssl pkcs8 -topk8 -nocrypt).',
  })
}
