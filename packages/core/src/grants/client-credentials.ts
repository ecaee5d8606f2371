import { confidential } from '../client-authentication.ts'
import type { Grant } from '../grant.ts'
import { withOutbox } from '../revocation-outbox.ts'
import type { SourceOptions } from '../source-options.ts'
import { TokenManager } from '../token-manager.ts'
import { tokenParameters } from '../token-parameters.ts'

/** Machine tokens: the client asks for itself (RFC 6749 section 4.4). Throws an `OAuthError` for options that cannot work. */
export function clientCredentials(options: SourceOptions): TokenManager {
  const grant: Grant = (client, request) => client.tokenRequest('client_credentials', tokenParameters(request))
  return new TokenManager(grant, confidential(withOutbox(options)), {
    name: 'client_credentials',
    oneSession: false,
    asksAgain: true,
  })
}
