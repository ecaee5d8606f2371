import { confidential } from '../client-authentication.ts'
import { AuthorizationServerError, isInvalidGrant, OAuthError } from '../errors.ts'
import type { Grant } from '../grant.ts'
import { withOutbox } from '../revocation-outbox.ts'
import type { SourceOptions } from '../source-options.ts'
import { TokenManager } from '../token-manager.ts'
import { tokenParameters } from '../token-parameters.ts'

/** What `password` takes besides what all sources do. */
export interface PasswordOptions extends SourceOptions {
  /** Asked for once per source where it is a function: it names the session. */
  username: string | (() => string | Promise<string>)
  /** Asked for only when there is nothing to refresh. */
  password: string | (() => string | Promise<string>)
}

/**
 * The resource owner's password (RFC 6749 section 4.3), for first-party tools and old servers; RFC 9700 section 2.4
 * tells everybody else not to. A password that the server refused is not sent again until it changes.
 */
export function password(options: PasswordOptions): TokenManager {
  let username: string | undefined
  let refused: { password: string; error: AuthorizationServerError } | undefined
  const principal = async () => {
    username ??= await current(options, 'username')
    return username
  }
  const grant: Grant = async (client, request) => {
    const secret = await current(options, 'password')
    if (refused?.password === secret) throw refused.error
    const parameters = tokenParameters(request)
    parameters.set('username', await principal())
    parameters.set('password', secret)
    try {
      return await client.tokenRequest('password', parameters)
    } catch (error) {
      if (isInvalidGrant(error)) {
        refused = {
          password: secret,
          error: new AuthorizationServerError('credentials-refused', error, {
            fix: 'Check username and password. The same password is not tried again.',
          }),
        }
        throw refused.error
      }
      throw error
    }
  }
  return new TokenManager(grant, confidential(withOutbox(options)), {
    name: 'password',
    principal,
    oneSession: true,
    asksAgain: true,
  })
}

async function current(options: PasswordOptions, name: 'username' | 'password'): Promise<string> {
  const value = options[name]
  const text: unknown = typeof value === 'function' ? await value() : value
  if (typeof text === 'string' && text !== '') return text
  throw new OAuthError('invalid-options', `${name} is missing`, { fix: `Set ${name}.` })
}
