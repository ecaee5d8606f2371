import { confidential } from '../client-authentication.ts'
import { withOutbox } from '../revocation-outbox.ts'
import type { SourceOptions, Stats } from '../source-options.ts'
import { Spending, type TokenBudget } from '../spending.ts'
import { TokenManager } from '../token-manager.ts'
import { tokenParameters } from '../token-parameters.ts'

/** What `clientCredentials` takes besides what all sources take. */
export interface ClientCredentialsOptions extends SourceOptions {
  /**
   * `onWarning` is told, once each time, when all sources of this client in this process have together bought more tokens
   * than that. Default: no budget; that a new source is made for every call is told in any case.
   */
  budget?: TokenBudget | undefined
}

/** What was spent and saved since the start, of tokens that providers meter and bill. */
export interface ClientCredentialsStats extends Stats {
  /** Tokens that the server issued. */
  readonly tokensBought: number
  /** Calls that each of them has served from memory, on average; 0 where others bought them. */
  readonly callsPerToken: number
}

/** The manager of machine tokens. */
export class ClientCredentialsManager extends TokenManager {
  readonly #spending: Spending

  constructor({ budget, ...options }: ClientCredentialsOptions) {
    const spending = new Spending(options, budget)
    super(
      async (client, request) => {
        const tokenSet = await client.tokenRequest('client_credentials', tokenParameters(request))
        spending.add(request, tokenSet)
        return tokenSet
      },
      confidential(withOutbox(options)),
      { name: 'client_credentials', oneSession: false, asksAgain: true },
    )
    this.#spending = spending
  }

  override stats(): ClientCredentialsStats {
    const stats = super.stats()
    const { tokens } = this.#spending
    return { ...stats, tokensBought: tokens, callsPerToken: tokens && stats.tokensServedFromMemory / tokens }
  }
}

/** Machine tokens: the client asks for itself (RFC 6749 section 4.4). Throws an `OAuthError` for options that cannot work. */
export function clientCredentials(options: ClientCredentialsOptions): ClientCredentialsManager {
  return new ClientCredentialsManager(options)
}
