export { OAuthError, type OAuthErrorCode, type VerificationAnswer, VerificationError } from '@keyturn/core'
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
