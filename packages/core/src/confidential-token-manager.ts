import { confidential } from './client-authentication.ts'
import { TokenUnavailableError } from './errors.ts'
import type { Grant } from './grant.ts'
import { withOutbox } from './revocation-outbox.ts'
import type { GrantKind, SourceOptions } from './source-options.ts'
import { TokenManager } from './token-manager.ts'

/** The manager of a client that may have a secret (RFC 6749 section 2.1). A page has none, and does not load this. */
export class ConfidentialTokenManager extends TokenManager {
  constructor(grant: Grant, options: SourceOptions, kind?: GrantKind) {
    const provable: Grant = async (client, request) => {
      const tokenSet = await grant(client, request)
      if (tokenSet?.tokenType !== 'DPoP' || client.possession) return tokenSet
      throw new TokenUnavailableError(
        'invalid-response',
        'The grant yielded a DPoP token, which nobody here can prove',
        {
          fix: 'Set dpop: dpop(), and ask with client.tokenRequest().',
        },
      )
    }
    super(provable, confidential(withOutbox(options)), kind)
  }

  /** Every source is a token manager, whether it may have a secret or not. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return value instanceof TokenManager
  }
}
