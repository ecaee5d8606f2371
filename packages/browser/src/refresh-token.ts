import {
  OAuthError,
  type RefreshTokenOptions,
  refreshToken as refreshTokenAnywhere,
  type TokenManager,
} from '@keyturn/core'
import { indexedDBStore } from './indexed-db-store.ts'

/** A session that starts from a refresh token (RFC 6749 section 6), kept in IndexedDB unless told otherwise. */
export function refreshToken(options: RefreshTokenOptions): TokenManager {
  const { clientSecret, clientAuthentication } = options
  if (clientSecret !== undefined && typeof clientAuthentication !== 'function') {
    throw new OAuthError('invalid-options', 'A page can keep no secret', {
      fix: 'Register a public client, or pass clientAuthentication: clientSecretPost().',
    })
  }
  return refreshTokenAnywhere({ ...options, store: options.store ?? indexedDBStore() })
}
