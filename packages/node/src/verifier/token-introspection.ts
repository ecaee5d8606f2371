import { type Client, introspect, Remembered } from '@keyturn/core'
import type { AccessTokenClaims } from './access-rules.ts'
import { sha256 } from './sha-256.ts'

/** How many tokens are remembered, good ones and others apart: a storm of bad ones pushes no good one out. */
const MOST = 10_000

type Answer = AccessTokenClaims & { readonly active: boolean }

/** What the authorization server says of tokens (RFC 7662), remembered for a short while under their hashes. */
export class TokenIntrospection {
  readonly #client: Client
  readonly #longest: number
  readonly #known = { active: new Remembered<Answer>(MOST), inactive: new Remembered<Answer>(MOST) }
  readonly #asking = new Map<string, Promise<Answer>>()

  /** `longest`: milliseconds that an answer is believed. */
  constructor(client: Client, longest: number) {
    this.#client = client
    this.#longest = longest
  }

  /** Rejects with an `OAuthError` where the server does not say. */
  async of(token: string): Promise<Answer> {
    const hash = await sha256(token)
    const known = this.#known.active.get(hash) ?? this.#known.inactive.get(hash)
    if (known) return known
    const asking = this.#asking.get(hash) ?? this.#ask(token, hash).finally(() => this.#asking.delete(hash))
    this.#asking.set(hash, asking)
    return asking
  }

  async #ask(token: string, hash: string): Promise<Answer> {
    const askedAt = Date.now()
    const answer: Answer = { ...(await introspect(this.#client, token)) }
    const { active, exp = Number.POSITIVE_INFINITY } = answer
    this.#known[active ? 'active' : 'inactive'].set(hash, answer, Math.min(askedAt + this.#longest, exp * 1000))
    return answer
  }
}
