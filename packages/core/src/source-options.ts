// Every source has Symbol.asyncDispose, which a program's own `lib` may not name.
/// <reference lib="esnext.disposable" preserve="true" />
import type { Client } from './client.ts'
import type { ClientOptions } from './client-options.ts'
import { OAuthError } from './errors.ts'
import type { DPoP } from './proof-of-possession.ts'
import type { RevocationOutbox } from './revocation.ts'
import type { SessionRecord } from './session-record.ts'
import type { TokenStore } from './token-store.ts'

/** What all sources share. */
export interface SourceOptions extends ClientOptions {
  /** RFC 6749 section 3.3. Default: whatever the server grants. */
  scope?: string | undefined
  /** RFC 8707. Default: none. */
  resource?: string | string[] | undefined
  /** Extra token-request parameters. They never replace the protocol's own. */
  parameters?: Record<string, string> | undefined
  /** `dpop()`: tokens are bound to a key pair (RFC 9449). Default: they are good for whoever has them. */
  dpop?: DPoP | undefined
  /** Default: `memoryStore()`. */
  store?: TokenStore | undefined
  /** Tells the sessions of several users in one store apart. Default: `default`. */
  sessionKey?: string | undefined
  /**
   * The `client` of another source that has the same issuer, client and authentication: metadata, keys and what the server
   * refused are then known to both, and their token requests are counted together. Not with `dpop`; `claims` and
   * `idTokenSignature` are the other source's, and have to be there where they are wanted here. Default: its own.
   */
  client?: Client | undefined
  /**
   * `revocationOutbox()`: a sign-out that the server cannot be told of is finished later. Default: it is, but for
   * `authorizationCode` in a page, where the server is told once.
   */
  outbox?: RevocationOutbox | undefined
  /** Told, once each, what does not break anything yet and should be known. Default: `console.warn`. */
  onWarning?: ((message: string) => void) | undefined
}

/** Throws an `OAuthError` for a store that is none, and for a client that cannot be shared. */
export function assertUsable(options: SourceOptions): void {
  const { store, client, dpop } = options
  if (store && [store.get, store.replace, store.lock].some((method) => typeof method !== 'function')) {
    throw new OAuthError('invalid-options', 'store is no TokenStore', { fix: 'Give store get, replace and lock.' })
  }
  if (client && (dpop || client.possession || !client.fits(options))) {
    throw new OAuthError('invalid-options', 'client cannot be shared', { fix: 'Leave out client.' })
  }
}

/** What a manager has to know of its grant. */
export interface GrantKind {
  /** Part of the session key. */
  name: string
  /** Whose session it is. Default: `sessionKey`. */
  principal?: (() => string | Promise<string>) | undefined
  /** One session holds all tokens; otherwise every token is on its own. */
  oneSession: boolean
  /** Whether it yields a token without a person. */
  asksAgain: boolean
  /** What the session starts from where nothing is stored. */
  initial?: (() => Promise<SessionRecord>) | undefined
}

/** What was spent and saved since the start. */
export interface Stats {
  /** Requests sent to the token endpoint. */
  readonly tokenRequests: number
  /** Calls that got their token without waiting for a request. */
  readonly tokensServedFromMemory: number
  /** Tokens that took the place of another. */
  readonly renewals: number
  /** Token requests that failed. */
  readonly failures: number
  /** Times that the token store failed. */
  readonly degradations: number
}
