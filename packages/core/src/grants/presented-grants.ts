import { AuthorizationServerError, OAuthError } from '../errors.ts'
import type { TokenRequest } from '../grant.ts'
import { Remembered } from '../remembered.ts'
import { renewalDelay } from '../renewal-policy.ts'
import { tokenKeyOf } from '../token-parameters.ts'
import type { Issued } from '../token-set.ts'

/** Milliseconds for which what was refused is not presented again: the server may have been mended since (R7). */
const MINUTE = 60_000
/** For how many different requests a refusal is remembered at most. */
const MOST = 1000

interface Refused {
  readonly presented: string
  readonly error: AuthorizationServerError
  /** How many in a row. */
  readonly count: number
  /** Epoch milliseconds before which nothing else is presented either. */
  readonly retryAt: number
}

/** Assertions and tokens that somebody else has issued, as they are presented to the server, and what it refused of them. */
export class PresentedGrants {
  readonly #refused = new Remembered<Refused>(MOST)
  readonly #isRefusal: (error: AuthorizationServerError) => boolean
  readonly #fix: string

  constructor(isRefusal: (error: AuthorizationServerError) => boolean, fix: string) {
    this.#isRefusal = isRefusal
    this.#fix = fix
  }

  /**
   * Presents what `find` gives, unless the server has just refused it: that is not presented again for a minute, something
   * else at once, and if that is refused too, more slowly each time (R8), for what is signed anew is another every time.
   */
  async present(
    request: TokenRequest,
    find: () => Promise<string>,
    send: (presented: string) => Promise<Issued>,
  ): Promise<Issued> {
    const about = tokenKeyOf(request)
    const last = this.#refused.get(about)
    if (last && Date.now() < last.retryAt) throw last.error
    const presented = await find()
    if (last?.presented === presented) throw last.error
    try {
      const issued = await send(presented)
      this.#refused.delete(about)
      return issued
    } catch (error) {
      if (!(error instanceof AuthorizationServerError && this.#isRefusal(error))) throw error
      const refusal = new AuthorizationServerError('credentials-refused', error, { fix: this.#fix })
      const count = (last?.count ?? 0) + 1
      const wait = renewalDelay(count - 1)
      const now = Date.now()
      const refused = { presented, error: refusal, count, retryAt: now + wait }
      this.#refused.set(about, refused, now + Math.max(MINUTE, 2 * wait))
      throw refusal
    }
  }
}

/** A token or an assertion as it is at present, without the line break at its end. Rejects with an `OAuthError` where there is none. */
export async function asked(value: string | (() => string | Promise<string>), name: string): Promise<string> {
  const text: unknown = typeof value === 'function' ? await value() : value
  if (typeof text === 'string' && text.trim() !== '') return text.trim()
  throw new OAuthError('invalid-options', `${name} is missing`, { fix: `Have ${name} give a token.` })
}
