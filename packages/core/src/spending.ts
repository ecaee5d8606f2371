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

/** Until when the token is valid that a source bought last, and how many in a row were bought by others meanwhile. */
const bought = new Map<number, { until: number; inVain: number }>()
/** What was bought of each budget, since when. */
const spent = new Map<number, { since: number; tokens: number }>()

/**
 * Watches what one source of machine tokens buys, together with all others of this process: a source that is made for
 * every call never sees that. Of each token only a number is kept. Warns by `onWarning`. Throws an `OAuthError` for a
 * budget that is none.
 */
export function spending(
  options: SourceOptions & { budget?: TokenBudget | undefined },
): (request: TokenRequest, tokenSet: TokenSet) => void {
  const { issuer, clientId, sessionKey, onWarning, budget } = options
  if (budget && !(budget.tokens > 0 && budget.per > 0)) {
    throw new OAuthError('invalid-options', 'budget cannot be used', { fix: 'Set tokens and per, both above 0.' })
  }
  const warn = (message: string) => new Warnings(onWarning).warn(message)
  let isFirst = true

  return (request, { expiresAt }) => {
    const now = Date.now()
    // What one source buys again it needs; the first token of another one may be one that is there already.
    if (isFirst) {
      const name = numberOf([issuer, clientId, sessionKey, tokenKeyOf(request)])
      const before = bought.get(name)
      const inVain = before && now < before.until ? before.inVain + 1 : 1
      remember(bought, name, { until: expiresAt, inVain })
      if (inVain === IN_VAIN) {
        warn(
          `${IN_VAIN} sources of client ${clientId} in a row have bought the same token while another was valid. ` +
            'Make one source, and keep it: each new one asks the server, and may be billed, for a token of its own',
        )
      }
    }
    isFirst = false
    if (budget === undefined) return
    const { tokens, per } = budget
    const name = numberOf([issuer, clientId, tokens, per])
    const before = spent.get(name)
    const account = before && Math.abs(now - before.since) < per ? before : { since: now, tokens: 0 }
    account.tokens++
    remember(spent, name, account)
    if (account.tokens === Math.floor(tokens) + 1) {
      warn(`Client ${clientId} has bought more than ${tokens} tokens within ${per} ms: its budget is passed`)
    }
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
