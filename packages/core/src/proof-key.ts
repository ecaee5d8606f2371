import { type CryptoKey, type JWK, calculatePKCECodeChallenge as sha256 } from 'oauth4webapi'
import type { StoredKey } from './session-record.ts'
import type { TokenStore } from './token-store.ts'

const ES256 = { name: 'ECDSA', namedCurve: 'P-256' }

/** A key pair that signs proofs, ready for use. */
export interface ProofKey {
  readonly privateKey: CryptoKey
  /** RFC 7517 section 4, and nothing but what is public. */
  readonly jwk: JWK
  /** As it goes with a session into the store. */
  readonly stored: StoredKey
}

/** A new key pair, for ES256; its private part can be read by nobody, unless a store keeps it encrypted. */
export async function newProofKey(keys: TokenStore['keys']): Promise<ProofKey> {
  const pair = await crypto.subtle.generateKey(ES256, keys === 'encrypted', ['sign', 'verify'])
  const jwk = publicPart(await crypto.subtle.exportKey('jwk', pair.publicKey))
  const thumbprint = await thumbprintOf(jwk)
  if (keys !== 'encrypted') {
    return { privateKey: pair.privateKey, jwk, stored: keys ? { thumbprint, pair } : { thumbprint } }
  }
  const wrapped = await crypto.subtle.exportKey('jwk', pair.privateKey)
  return proofKeyFrom({ thumbprint, jwk: { ...jwk, d: wrapped.d ?? '' } })
}

/** The key pair that a store kept. Rejects where it kept none, or one that cannot be used. */
export async function proofKeyFrom(stored: StoredKey): Promise<ProofKey> {
  const { thumbprint, pair, jwk: wrapped } = stored
  const jwk = publicPart(pair ? await crypto.subtle.exportKey('jwk', pair.publicKey) : { ...wrapped })
  const privateKey = pair?.privateKey ?? (await crypto.subtle.importKey('jwk', { ...wrapped }, ES256, false, ['sign']))
  if ((await thumbprintOf(jwk)) !== thumbprint || privateKey.type !== 'private') throw new Error('not the key')
  return { privateKey, jwk, stored }
}

function publicPart({ crv, kty, x, y }: JWK): JWK {
  return { crv: `${crv}`, kty: `${kty}`, x: `${x}`, y: `${y}` }
}

/** RFC 7638 section 3: required members alone, in the order of their names. */
function thumbprintOf({ crv, kty, x, y }: JWK): Promise<string> {
  return sha256(JSON.stringify({ crv, kty, x, y }))
}
