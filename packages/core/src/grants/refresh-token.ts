import { calculatePKCECodeChallenge as sha256 } from 'oauth4webapi'
import { confidential } from '../client-authentication.ts'
import { LoginRequiredError, OAuthError } from '../errors.ts'
import { withOutbox } from '../revocation-outbox.ts'
import { emptyRecord } from '../session-record.ts'
import type { SourceOptions } from '../source-options.ts'
import { TokenManager } from '../token-manager.ts'

/** What `refreshToken` takes besides what all sources do. */
export interface RefreshTokenOptions extends SourceOptions {
  /** Obtained elsewhere. The same one finds its stored successor; another one replaces the stored session. */
  refreshToken: string
}

/** A session that starts from a refresh token (RFC 6749 section 6). */
export function refreshToken(options: RefreshTokenOptions): TokenManager {
  const { refreshToken: seed } = options
  if (typeof seed !== 'string' || seed === '') {
    throw new OAuthError('invalid-options', 'refreshToken is missing', { fix: 'Set refreshToken.' })
  }
  const grant = async () => {
    throw new LoginRequiredError('login-required', 'There is no refresh token to use', {
      fix: 'Give a new refreshToken.',
    })
  }
  const initial = async () => ({ ...emptyRecord(), refreshToken: seed, seed: await sha256(seed) })
  return new TokenManager(grant, confidential(withOutbox(options)), {
    name: 'refresh_token',
    oneSession: true,
    asksAgain: false,
    initial,
  })
}
