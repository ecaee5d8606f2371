import type { FetchedKeySet } from '@keyturn/core'
import { type CryptoKey, createLocalJWKSet, errors, type JWK, type JWTVerifyGetKey } from 'jose'
import { ALGORITHMS } from './algorithms.ts'

/** What jose says where none of the keys, or more than one, could be meant: never are several tried. */
export const UNKNOWN_KEY: readonly string[] = ['ERR_JWKS_NO_MATCHING_KEY', 'ERR_JWKS_MULTIPLE_MATCHING_KEYS']

/**
 * Finds the one key that a token names (RFC 7515 section 4.1.4), among those that a server publishes. What jose has found
 * once is not looked for again: a set has few keys, and each has few algorithms.
 */
export function localKeys(set: FetchedKeySet): JWTVerifyGetKey {
  const find = createLocalJWKSet({ keys: set.keys.filter(isKey) })
  const found = new Map<string, CryptoKey>()
  return (header, token) => {
    const { alg, kid } = header
    if (!ALGORITHMS.includes(alg))
      throw new errors.JOSEAlgNotAllowed('its alg is none that is signed with a private key')
    const name = kid === undefined ? alg : `${alg} ${kid}`
    const known = kid === undefined || typeof kid === 'string' ? found.get(name) : undefined
    if (known) return known
    return find(header, token).then((key) => {
      found.set(name, key)
      return key
    })
  }
}

/** Others are for others (RFC 7517 section 5). */
function isKey(key: object): key is JWK {
  return 'kty' in key && typeof key.kty === 'string'
}
