import { createHmac, randomBytes } from 'node:crypto'

/** Milliseconds until there is another nonce. */
const LIFE = 60_000

/** Nonces that an API wants in DPoP proofs (RFC 9449 section 9): another one every minute; the one before is good, too. */
export class ProofNonces {
  #secret = randomBytes(32)

  /** For the header `DPoP-Nonce`. */
  get newest(): string {
    return this.#before(0)
  }

  /** Takes none that was given out, as a server does that starts anew. */
  forget(): void {
    this.#secret = randomBytes(32)
  }

  /**
   * Whether a proof that can be read has none of them. Nobody has looked at its signature yet: whoever verifies that has
   * verified the nonce with it.
   */
  areMissingIn(proof: string): boolean {
    const nonce = nonceIn(proof)
    return nonce !== undefined && nonce !== this.newest && nonce !== this.#before(1)
  }

  #before(lives: number): string {
    const life = Math.floor(Date.now() / LIFE) - lives
    return createHmac('sha256', this.#secret).update(`${life}`).digest('base64url')
  }
}

/** `null` where a proof has none; `undefined` where it cannot be read. */
function nonceIn(proof: string): string | null | undefined {
  try {
    const { nonce = null } = JSON.parse(Buffer.from(proof.split('.')[1] ?? '', 'base64url').toString())
    return typeof nonce === 'string' ? nonce : null
  } catch {
    return undefined // the verifier says what is wrong with it
  }
}
