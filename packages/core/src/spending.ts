import { OAuthError } from './errors.ts'
import type { TokenRequest } from './grant.ts'
import type { SourceOptions } from './source-options.ts'
import { tokenKeyOf } from './token-parameters.ts'
import type { TokenSet } from './token-set.ts'
import { Warnings } from './warnings.ts'

/** How many tokens may be bought before somebody should know of it. */
export interface TokenBudget {
  /** How many tokens. */
  tokens: number
  /** Within how many milliseconds, from the first of them on. */
  per: number
}

/** How many sources in a row have to buy what another one has, until it is said. */
const IN_VAIN = 10
/** How many tokens and budgets are known at most; who buys so many different ones does not buy the same. */
const MOST = 1000

/** Until when a token is valid that a source bought first, and how many in a row were bought by others meanwhile. */
const firstBought = new Map<number, { until: number; inVain: number }>()
/** What was bought of a budget, since when. */
const budgets = new Map<number, { since: number; tokens: number }>()

/**
 * Watches what one source of machine tokens buys, together with all others of this process: one that is made for every
 * call cannot see that by itself. Of a token no more than a number is kept. Warns by `onWarning`.
 */
export class Spending {
  readonly #options: SourceOptions
  readonly #budget: TokenBudget | undefined
  /** How many tokens the source has bought. */
  tokens = 0

  /** Throws an `OAuthError` for a budget that is none. */
  constructor(options: SourceOptions, budget: TokenBudget | undefined) {
    if (budget && !(budget.tokens > 0 && budget.per > 0)) {
      throw new OAuthError('invalid-options', 'budget cannot be used', { fix: 'Set tokens and per, both above 0.' })
    }
    this.#options = options
    this.#budget = budget
  }

  /** The server has issued this. */
  add(request: TokenRequest, { expiresAt }: TokenSet): void {
    // What a source buys again it needs; its first token may be one that another source has already.
    if (this.tokens === 0) this.#compare(request, expiresAt)
    this.tokens++
    if (this.#budget) this.#charge(this.#budget)
  }

  #compare(request: TokenRequest, until: number): void {
    const { issuer, clientId, sessionKey } = this.#options
    const name = numberOf([issuer, clientId, sessionKey, tokenKeyOf(request)])
    const before = firstBought.get(name)
    const inVain = before && Date.now() < before.until ? before.inVain + 1 : 1
    remember(firstBought, name, { until, inVain })
    if (inVain !== IN_VAIN) return
    this.#warn(
      `${IN_VAIN} sources of client ${clientId} in a row have bought the same token, each while another was valid. ` +
        'Make one source, and keep it: each new one asks the server, and may be billed, for a token of its own',
    )
  }

  #charge({ tokens, per }: TokenBudget): void {
    const { issuer, clientId } = this.#options
    const name = numberOf([issuer, clientId, tokens, per])
    const before = budgets.get(name)
    const account = before && Math.abs(Date.now() - before.since) < per ? before : { since: Date.now(), tokens: 0 }
    account.tokens++
    remember(budgets, name, account)
    if (account.tokens !== Math.floor(tokens) + 1) return
    this.#warn(`Client ${clientId} has bought more than ${tokens} tokens within ${per} ms: its budget is passed`)
  }

  #warn(message: string): void {
    new Warnings(this.#options.onWarning).warn(message)
  }
}

function remember<V>(all: Map<number, V>, name: number, value: V): void {
  all.delete(name)
  all.set(name, value)
  for (const oldest of all.keys()) {
    if (all.size <= MOST) return
    all.delete(oldest)
  }
}

/** Tells things apart, and says nothing of them. Two that get the same number cost a warning too much. */
function numberOf(parts: readonly unknown[]): number {
  let number = 0
  for (const char of JSON.stringify(parts)) number = (Math.imul(number, 31) + Number(char.codePointAt(0))) | 0
  return number
}
