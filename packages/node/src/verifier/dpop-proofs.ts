import { Remembered } from '@keyturn/core'
import { calculateJwkThumbprint, EmbeddedJWK, jwtVerify } from 'jose'
import { ALGORITHMS } from './algorithms.ts'
import type { DPoPNonces } from './dpop-nonces.ts'
import type { PresentedToken } from './presented-token.ts'
import { sha256 } from './sha-256.ts'
import type { TokenChallenge } from './token-challenge.ts'

/** Seconds that a proof without a nonce is good for, before and after its `iat`. */
const LIFETIME = 300
/** How many proofs are remembered, so that none is taken twice; where more come, older ones are not taken any more. */
const MOST = 100_000
/** Seconds for which a proof is taken however many come: nobody can have so many verified in that time. */
const RECENT = 30

/** What a proof has to be for. */
export interface ProvenRequest {
  readonly method: string
  /** As the client knows it. */
  readonly url: URL | null
  /** The thumbprint of the key that the token is bound to: `cnf.jkt` (RFC 9449 section 6). */
  readonly thumbprint: string
}

/** Checks DPoP proofs (RFC 9449 section 4.3), each of which is good once. */
export class DPoPProofs {
  readonly #nonces: DPoPNonces | undefined
  readonly #tolerance: number
  /** When each was made, or its nonce was, epoch seconds. */
  readonly #taken: Remembered<number>
  /** When the newest of those was that are forgotten and could come again, epoch seconds. */
  #forgotten = 0

  /** `tolerance`: seconds that clocks may differ by, where the proof says when it ends. */
  constructor(nonces: DPoPNonces | undefined, tolerance: number, most: number = MOST) {
    this.#nonces = nonces
    this.#tolerance = tolerance
    this.#taken = new Remembered(most)
  }

  /**
   * Takes the proof of a token. Rejects with a `VerificationError`. Gives a newer nonce where that of the proof is in the
   * second half of its life.
   */
  async take(
    { token, proof = '' }: PresentedToken,
    { method, url, thumbprint }: ProvenRequest,
    challenge: TokenChallenge,
  ): Promise<string | undefined> {
    const refused = (cause: unknown) => challenge.invalidProof({ scheme: 'DPoP', cause })
    const { payload, protectedHeader } = await jwtVerify(proof, EmbeddedJWK, {
      typ: 'dpop+jwt',
      algorithms: ALGORITHMS,
      clockTolerance: this.#tolerance,
      requiredClaims: ['jti', 'iat', 'htm', 'htu', 'ath'],
    }).catch((cause) => {
      throw refused(cause)
    })
    const { htm, htu, ath, jti, iat = 0, nonce } = payload
    const { jwk } = protectedHeader
    if (htm !== method) throw refused(new Error('its htm is another'))
    if (!url || addressOf(URL.parse(String(htu))) !== addressOf(url)) throw refused(new Error('its htu is another'))
    if (typeof jti !== 'string' || jti === '' || !jwk) throw refused(new Error('it has no jti'))
    if (ath !== (await sha256(token))) throw refused(new Error('its ath is another'))
    const signer = await calculateJwkThumbprint(jwk)
    if (signer !== thumbprint) throw challenge.invalidToken('The token is bound to another key', { scheme: 'DPoP' })
    const now = Date.now() / 1000
    const nonceAt = await this.#nonces?.issuedAt(nonce)
    if (this.#nonces && nonceAt === undefined) throw challenge.nonceRequired(await this.#nonces.issue())
    // With a nonce it is this clock that says how old the proof is (section 4.3, item 11).
    if (nonceAt === undefined && Math.abs(now - iat) > LIFETIME) throw refused(new Error('its iat is too far away'))
    const at = nonceAt ?? iat
    const until = at + (this.#nonces?.lifetime ?? LIFETIME)
    const name = await sha256(`${signer} ${jti}`)
    // From here on nothing is awaited: of two at the same time one is taken.
    if (at <= this.#forgotten) {
      if (this.#nonces) throw challenge.nonceRequired(await this.#nonces.issue())
      throw refused(new Error('it is so old that it may have been taken before'))
    }
    if (this.#taken.get(name) !== undefined) throw refused(new Error('it was taken before'))
    const forgotten = this.#taken.set(name, at, (until + 1) * 1000) ?? 0
    this.#forgotten = Math.max(this.#forgotten, Math.min(forgotten, now - RECENT))
    const isOld = this.#nonces && nonceAt !== undefined && now - nonceAt > this.#nonces.lifetime / 2
    return isOld ? this.#nonces?.issue() : undefined
  }
}

/** Without query and fragment, which do not count (RFC 9449 section 4.3, item 9). */
function addressOf(url: URL | null): string | undefined {
  return url ? url.origin + url.pathname : undefined
}
