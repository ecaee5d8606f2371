export type { Api, ApiRoute, Apis } from './api-routes.ts'
export { authenticatedFetch } from './authenticated-fetch.ts'
export { type Challenge, challengeOf } from './challenge.ts'
export type { Client, ClientOptions, TokenRequestChecks } from './client.ts'
export { type ClientAuthentication, clientSecretBasic, clientSecretPost, none } from './client-authentication.ts'
export { ConfidentialTokenManager as TokenManager } from './confidential-token-manager.ts'
export type { AuthorizationServer } from './discovery.ts'
export {
  AuthorizationServerError,
  ChallengeError,
  InvalidCallbackError,
  LoginRequiredError,
  OAuthError,
  type OAuthErrorCode,
  type ServerAnswer,
  StoreError,
  TokenUnavailableError,
} from './errors.ts'
export type { Grant, TokenRequest } from './grant.ts'
export {
  AuthorizationCodeFlow,
  type AuthorizationCodeOptions,
  authorizationCode,
  type LoginOptions,
  type LoginResult,
  type LoginRoute,
  type LogoutOptions,
} from './grants/authorization-code.ts'
export { clientCredentials } from './grants/client-credentials.ts'
export { type PasswordOptions, password } from './grants/password.ts'
export { type RefreshTokenOptions, refreshToken } from './grants/refresh-token.ts'
export type { UserAgent } from './grants/user-agent.ts'
export { LocalLocks } from './lock.ts'
export { memoryStore } from './memory-store.ts'
export type { Failure, SessionEnd, SessionRecord, StoredToken, TimelineEvent } from './session-record.ts'
export type { SessionSnapshot } from './session-snapshot.ts'
export type { GrantKind, SourceOptions, Stats } from './source-options.ts'
export { type StepUpLogin, type StepUpOptions, type StepUpRequest, stepUp } from './step-up.ts'
export { type Answered, type AuthenticatedFetchOptions, type Follow, type StepUp, tokenFetch } from './token-fetch.ts'
export { tokenParameters } from './token-parameters.ts'
export type { Claims, Issued, IssuedTokenSet, TokenSet } from './token-set.ts'
export type { AccessTokenRequest, TokenSource } from './token-source.ts'
export type { Lease, StoredRecord, TokenStore } from './token-store.ts'
export { isUnderWay, memoryTransactions, type Transaction, type TransactionStore } from './transaction-store.ts'
export { fetchUserInfo } from './user-info.ts'
