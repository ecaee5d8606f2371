// What an API has to check of a DPoP proof (RFC 9449 section 4.3).
import { createHash, randomUUID } from 'node:crypto'
import { calculateJwkThumbprint, EmbeddedJWK, jwtVerify } from 'jose'

/** Seconds for which a proof is good, and a nonce the newest. */
const LIFE = 60

/** The request that a proof has to be for. */
export interface Proven {
  proof: string
  method: string
  url: URL
  accessToken: string
  /** The key that the access token is bound to: `cnf.jkt` of the token (RFC 9449 section 6). */
  thumbprint: unknown
}

/** Checks proofs: each is good once. With `nonces` a proof needs one that was given out in the last two minutes. */
export class Proofs {
  readonly #nonces: boolean
  readonly #seen = new Map<string, number>()
  #current = { nonce: randomUUID(), at: now() }
  #before = this.#current

  constructor({ nonces = false }: { nonces?: boolean | undefined } = {}) {
    this.#nonces = nonces
  }

  /** For the header `DPoP-Nonce` of an answer; undefined: proofs need none. */
  get nonce(): string | undefined {
    if (now() - this.#current.at > LIFE) {
      this.#before = this.#current
      this.#current = { nonce: randomUUID(), at: now() }
    }
    return this.#nonces ? this.#current.nonce : undefined
  }

  /** The error of the challenge to answer with (RFC 9449 section 7.1); undefined: the proof is good. */
  async problemWith({ proof, method, url, accessToken, thumbprint }: Proven): Promise<string | undefined> {
    const options = { typ: 'dpop+jwt', algorithms: ['ES256'], requiredClaims: ['jti', 'iat'] }
    const verified = await jwtVerify(proof, EmbeddedJWK, options).catch(() => undefined)
    if (!verified) return 'invalid_dpop_proof'
    const { jti, iat = 0, htm, htu, ath, nonce } = verified.payload
    const { jwk } = verified.protectedHeader
    const isFor =
      htm === method &&
      htu === url.origin + url.pathname &&
      ath === createHash('sha256').update(accessToken).digest('base64url')
    if (!isFor || !jwk || 'd' in jwk || typeof jti !== 'string' || this.#seen.has(jti)) return 'invalid_dpop_proof'
    if (this.nonce && nonce !== this.#current.nonce && nonce !== this.#before.nonce) return 'use_dpop_nonce'
    if (Math.abs(now() - iat) > LIFE) return 'invalid_dpop_proof'
    for (const [old, until] of this.#seen) if (until < now()) this.#seen.delete(old)
    this.#seen.set(jti, now() + 2 * LIFE)
    return (await calculateJwkThumbprint(jwk)) === thumbprint ? undefined : 'invalid_token'
  }
}

function now(): number {
  return Date.now() / 1000
}
