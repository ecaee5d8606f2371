/** How many servers are remembered; those that were heard of longest ago go first. */
const MOST = 100
/** Seconds by which a clock has to be wrong before a proof is signed once more for it. */
const NOTICEABLE = 5

/** The authorization server, among the origins of APIs: its nonces are its own, even where they share an origin. */
export const AUTHORIZATION_SERVER = ''

/** What one server told. */
interface Told {
  readonly nonce?: string | undefined
  /** Seconds that its clock is ahead, by its refusals: what it takes needs no other time, and a `Date` may be a proxy's. */
  readonly skew?: number | undefined
}

/** What servers told of the proofs that they take: their last nonce (RFC 9449 sections 8 and 9), and the time. */
export class ProofServers {
  readonly #told = new Map<string, Told>()
  /** Seconds that the authorization server's clock is ahead, by whatever it answers. */
  #ahead = 0

  /** Nonce and time for a proof to a server; who does not tell the time is believed to have the authorization server's. */
  wishes(server: string): { nonce: string | undefined; at: number } {
    return { nonce: this.#told.get(server)?.nonce, at: Math.floor(Date.now() / 1000) + this.#skew(server) }
  }

  /** `skew`: seconds that its clock is ahead, where it told. Gives whether nonce and time are other than was believed. */
  learn(
    server: string,
    nonce: string | null,
    skew: number | undefined,
    isRefusal: boolean,
  ): { isNew: boolean; wasWrong: boolean } {
    const before = this.#told.get(server)
    const believed = this.#skew(server)
    this.#told.delete(server)
    this.#told.set(server, { nonce: nonce ?? before?.nonce, skew: (isRefusal ? skew : undefined) ?? before?.skew })
    if (server === AUTHORIZATION_SERVER) this.#ahead = skew ?? this.#ahead
    for (const oldest of this.#told.keys()) if (this.#told.size > MOST) this.#told.delete(oldest)
    return {
      isNew: nonce !== null && nonce !== before?.nonce,
      wasWrong: skew !== undefined && Math.abs(skew - believed) > NOTICEABLE,
    }
  }

  #skew(server: string): number {
    return this.#told.get(server)?.skew ?? (server === AUTHORIZATION_SERVER ? 0 : this.#ahead)
  }
}
