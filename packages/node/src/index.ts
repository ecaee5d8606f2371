export * from '@keyturn/core'
export type {
  AuditEventName,
  AuditEvents,
  SessionEndEvent,
  SessionEvent,
  TokenEvent,
  TokenFailureEvent,
  VerificationEvent,
} from './audit-events.ts'
export { auditedStore } from './audited-store.ts'
export { auditedVerifier } from './audited-verifier.ts'
export { type BackChannelLogoutOptions, backChannelLogout } from './back-channel-logout.ts'
export { type DeviceLoginOptions, deviceLogin } from './device-login.ts'
export { type DevicePromptOptions, devicePrompt, type PromptOutput } from './device-prompt.ts'
export { type FileStoreOptions, fileStore } from './file-store.ts'
export { type LoopbackLoginOptions, loopbackLogin } from './loopback-login.ts'
export type { FileKey } from './record-cipher.ts'
export type { CallingClient, EvaluatingClient, RedisClient } from './redis-connection.ts'
export { type RedisStoreOptions, redisStore } from './redis-store.ts'
export type { CookieKey } from './sealed-cookies.ts'
export { secretFile, secretVariable } from './secrets.ts'
export { type KeyList, type Unencrypted, unencrypted } from './store-keys.ts'
export { type SystemKeyringOptions, systemKeyring } from './system-keyring.ts'
export type { AccessRules, AccessTokenClaims } from './verifier/access-rules.ts'
export type { AccessTokenProfile } from './verifier/access-token-profile.ts'
export {
  type AccessTokenVerifier,
  type AccessTokenVerifierOptions,
  accessTokenVerifier,
} from './verifier/access-token-verifier.ts'
export type { ApiRequest } from './verifier/api-request.ts'
export type { ClientCertificate } from './verifier/client-certificate.ts'
export { type DPoPNonces, type DPoPNoncesOptions, dpopNonces } from './verifier/dpop-nonces.ts'
export { auth0, cognito, entraId, keycloak, okta } from './verifier/profiles.ts'
export {
  type ProtectedResourceMetadata,
  type ProtectedResourceOptions,
  type PublishedMetadata,
  protectedResourceMetadata,
} from './verifier/protected-resource-metadata.ts'
export type { TrustedServerOptions } from './verifier/trusted-server.ts'
export type { TrustedIssuer } from './verifier/trusted-servers.ts'
export type { WebRequest } from './web-request.ts'
export type { WebCallback, WebSessions, WebSessionsOptions } from './web-session-options.ts'
export { webSessions } from './web-sessions.ts'
