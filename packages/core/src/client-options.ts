import type { ClientAuthentication } from './client-authentication.ts'
import type { AuthorizationServer } from './discovery.ts'
import type { IdTokenSignature } from './id-token-signature.ts'
import type { StandardSchemaV1 } from './standard-schema.ts'

/** Who the client is and whom it talks to. */
export interface ClientOptions {
  /** The authorization server's issuer identifier (RFC 8414 section 2, OpenID Connect Discovery). */
  issuer: string
  /** Laid over what discovery finds. */
  metadata?: Partial<AuthorizationServer> | undefined
  /** `false`: `metadata` alone is used, nothing is fetched. */
  discovery?: false | undefined
  /** Who the client is at the authorization server (RFC 6749 section 2.2). */
  clientId: string
  /** Asked for at every request where it is a function, so that it can change while the program runs. */
  clientSecret?: string | (() => string | Promise<string>) | undefined
  /** Default: `none` without a secret, else what the server supports, `client_secret_basic` first. */
  clientAuthentication?: 'client_secret_basic' | 'client_secret_post' | 'none' | ClientAuthentication | undefined
  /** Honoured by every request. Default: the platform's `fetch`. */
  fetch?: typeof fetch | undefined
  /** Milliseconds for one request to the authorization server, a day at most. Default: 10 000. */
  timeout?: number | undefined
  /** `idTokenSignature()`: also checks the ID token's signature. Default: TLS stands for it. */
  idTokenSignature?: IdTokenSignature | undefined
  /**
   * Validates the ID token's claims at sign-in and at refresh; what it gives is laid over them, but for `sub`, and stored,
   * so that it has to be plain data. Default: only what OpenID Connect Core section 3.1.3.7 asks for is checked.
   */
  claims?: StandardSchemaV1<unknown, object> | undefined
  /** Lets http URLs of other hosts than this machine pass. Only for development. */
  allowInsecureRequests?: boolean | undefined
}
