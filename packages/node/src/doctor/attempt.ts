import { AuthorizationServerError, clientCredentials, OAuthError, type SourceOptions } from '@keyturn/core'
import type { Credentials, Examination } from './examination.ts'

/** How a token request about a code that nobody has ended. */
export interface Attempt {
  /** `known`: the client is who it says, and the code is none, as it should be. */
  readonly outcome: 'known' | 'refused' | 'other'
  readonly error: OAuthError | undefined
}

/**
 * Asks for tokens for a code that nobody has: who the client is has to be clear before the code is looked at (RFC 6749
 * section 4.1.3), so that the refusal tells whether its credentials are good.
 */
export async function attempt(
  { options, source }: Examination,
  credentials: Credentials & Partial<Pick<SourceOptions, 'clientId' | 'dpop' | 'fetch'>>,
): Promise<Attempt> {
  const { client } = clientCredentials({ ...source, ...credentials })
  const request = new URLSearchParams({
    code: 'keyturn-doctor',
    redirect_uri: options.redirectUri ?? 'http://127.0.0.1/callback',
    code_verifier: 'keyturn-doctor-has-no-code-to-verify-anything-with',
  })
  try {
    await client.tokenRequest('authorization_code', request)
    return { outcome: 'other', error: undefined }
  } catch (error) {
    if (!(error instanceof OAuthError)) throw error
    if (error.code === 'client-refused') return { outcome: 'refused', error }
    const said = error instanceof AuthorizationServerError ? error.error : undefined
    const isKnown = said === 'invalid_grant' || said === 'unauthorized_client' || said === 'unsupported_grant_type'
    return { outcome: isKnown ? 'known' : 'other', error }
  }
}
