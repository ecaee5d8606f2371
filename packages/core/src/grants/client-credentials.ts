import { confidential } from '../client-authentication.ts'
import type { Grant } from '../grant.ts'
import { withOutbox } from '../revocation-outbox.ts'
import type { SourceOptions } from '../source-options.ts'
import { spending, type TokenBudget } from '../spending.ts'
import { TokenManager } from '../token-manager.ts'
import { tokenParameters } from '../token-parameters.ts'

/** What `clientCredentials` takes besides what all sources take. */
export interface ClientCredentialsOptions extends SourceOptions {
  /**
   * Warns, once each time, when all sources of this client in this process have together bought more tokens than that.
   * Default: none; that many sources buy the same token is told in any case.
   */
  budget?: TokenBudget | undefined
}

/** Machine tokens: the client asks for itself (RFC 6749 section 4.4). Throws an `OAuthError` for options that cannot work. */
export function clientCredentials(options: ClientCredentialsOptions): TokenManager {
  const spend = spending(options)
  const grant: Grant = async (client, request) => {
    const tokenSet = await client.tokenRequest('client_credentials', tokenParameters(request))
    spend(request, tokenSet)
    return tokenSet
  }
  return new TokenManager(grant, confidential(withOutbox(options)), {
    name: 'client_credentials',
    oneSession: false,
    asksAgain: true,
  })
}
