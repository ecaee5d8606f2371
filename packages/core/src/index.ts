export type { Api, ApiRoute, Apis } from './api-routes.ts'
export { authenticatedFetch } from './authenticated-fetch.ts'
export { type AuthorizationDetail, authorizationDetails } from './authorization-details.ts'
export { type Challenge, challengeOf } from './challenge.ts'
export { Client, type TokenRequestChecks } from './client.ts'
export {
  type AssertionKey,
  type AssertionSigner,
  type ClientAssertionOptions,
  clientAssertion,
  clientSecretJwt,
  type PrivateKeyJwtOptions,
  privateKeyJwt,
} from './client-assertion.ts'
export {
  type ClientAuthentication,
  clientSecretBasic,
  clientSecretPost,
  confidential,
  none,
  tlsClientAuth,
} from './client-authentication.ts'
export type { ClientOptions } from './client-options.ts'
export { ConfidentialTokenManager as TokenManager } from './confidential-token-manager.ts'
export type { AuthorizationServer } from './discovery.ts'
export { dpop } from './dpop.ts'
export {
  AuthorizationServerError,
  ChallengeError,
  InvalidCallbackError,
  LoginRequiredError,
  OAuthError,
  type OAuthErrorCode,
  type OAuthErrorDetails,
  type ServerAnswer,
  StoreError,
  TokenUnavailableError,
} from './errors.ts'
export type { Grant, TokenRequest } from './grant.ts'
export { AuthorizationCodeFlow, authorizationCode } from './grants/authorization-code.ts'
export type { AuthorizationCodeOptions, LoginRoute } from './grants/authorization-code-options.ts'
export {
  type ClientCredentialsManager,
  type ClientCredentialsOptions,
  type ClientCredentialsStats,
  clientCredentials,
} from './grants/client-credentials.ts'
export { DeviceCodeFlow, type DeviceLogin, type DevicePrompt, deviceCode } from './grants/device-code.ts'
export { type Jarm, jarm } from './grants/jarm.ts'
export {
  type AssertionRequest,
  type BearerAssertion,
  type JwtAssertionOptions,
  type JwtBearerOptions,
  jwtAssertion,
  jwtBearer,
} from './grants/jwt-bearer.ts'
export type { LoginOptions, LoginResult, LogoutOptions } from './grants/login-options.ts'
export { type PasswordOptions, password } from './grants/password.ts'
export {
  type AuthorizationRequestStep,
  type PushedAuthorizationRequests,
  pushedAuthorizationRequests,
} from './grants/pushed-authorization-requests.ts'
export { type RefreshTokenOptions, refreshToken } from './grants/refresh-token.ts'
export { type RequestObject, requestObject } from './grants/request-object.ts'
export {
  type ExchangedTokens,
  type ExchangeOptions,
  type TokenExchangeOptions,
  type TokenType,
  tokenExchange,
} from './grants/token-exchange.ts'
export { type TokenExchanges, type TokenExchangesOptions, tokenExchanges } from './grants/token-exchanges.ts'
export type { UserAgent } from './grants/user-agent.ts'
export { type IdTokenSignature, idTokenSignature } from './id-token-signature.ts'
export { introspect } from './introspection.ts'
export { LocalLocks } from './lock.ts'
export { type LoggedOut, type LogoutTokenVerifier, logoutTokenVerifier } from './logout-token.ts'
export { memoryStore } from './memory-store.ts'
export type { DPoP, ProofOfPossession } from './proof-of-possession.ts'
export { Remembered } from './remembered.ts'
export type { Revocation, RevocationContext, RevocationOutbox, Revocations } from './revocation.ts'
export { revocationOutbox } from './revocation-outbox.ts'
export { secureUrl } from './secure-url.ts'
export { type FetchedKeySet, type KeyUse, ServerKeys } from './server-keys.ts'
export {
  type Failure,
  nextVersion,
  type SessionEnd,
  type SessionRecord,
  type SignOut,
  type StoredKey,
  type StoredToken,
  type TimelineEvent,
} from './session-record.ts'
export type { SessionSnapshot } from './session-snapshot.ts'
export type { PrivateJwk, SigningAlgorithm, SigningKeyMaterial } from './signing-key.ts'
export type { GrantKind, SourceOptions, Stats } from './source-options.ts'
export type { TokenBudget } from './spending.ts'
export type { StandardSchemaV1 } from './standard-schema.ts'
export { type StepUpLogin, type StepUpOptions, type StepUpRequest, stepUp } from './step-up.ts'
export {
  type Answered,
  type AuthenticatedFetchOptions,
  type Redirects,
  type StepUp,
  tokenFetch,
} from './token-fetch.ts'
export { tokenParameters } from './token-parameters.ts'
export type { Claims, Issued, IssuedTokenSet, TokenSet } from './token-set.ts'
export type { AccessTokenRequest, TokenSource } from './token-source.ts'
export { type Lease, type StoredRecord, type TokenStore, versionOf } from './token-store.ts'
export { isUnderWay, memoryTransactions, type Transaction, type TransactionStore } from './transaction-store.ts'
export { fetchUserInfo } from './user-info.ts'
export { type VerificationAnswer, VerificationError } from './verification-error.ts'

// Long-lived connections, after everything else: whoever has none loads the rest as if they were not there.

export { type AuthenticatedEventsOptions, authenticatedEvents } from './authenticated-events.ts'
export {
  type AuthenticatedWebSocket,
  type AuthenticatedWebSocketEvents,
  authenticatedWebSocket,
} from './authenticated-web-socket.ts'
export type { ConnectionSource } from './connection-token.ts'
export type { EventRequest } from './event-connection.ts'
export type { ServerSentEvent } from './event-stream.ts'
export type { Disconnection } from './reconnection.ts'
export type {
  AuthenticatedWebSocketOptions,
  WebSocketConstructor,
  WebSocketMessage,
} from './web-socket-options.ts'
