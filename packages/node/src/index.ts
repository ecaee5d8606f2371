export * from '@keyturn/core'
export { type ApiRequest, accessTokenVerifier } from './access-token-verifier.ts'
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
export type { WebRequest } from './web-request.ts'
export { type WebCallback, type WebSessions, type WebSessionsOptions, webSessions } from './web-sessions.ts'
