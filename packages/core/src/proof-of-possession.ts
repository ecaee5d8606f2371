import type { EndpointAnswer } from './server-answers.ts'
import type { SessionRecord, StoredKey, StoredToken } from './session-record.ts'
import type { AccessTokenRequest, TokenSource } from './token-source.ts'
import type { TokenStore } from './token-store.ts'

/** Binds the tokens of a source to a key that only it has (RFC 9449): `dpop()` gives one. */
export type DPoP = (source: BoundSource) => ProofOfPossession

/** The source whose tokens are bound. */
export interface BoundSource {
  readonly options: {
    readonly issuer: string
    readonly clientId: string
    readonly sessionKey?: string | undefined
    readonly store?: TokenStore | undefined
  }
  readonly kind: {
    readonly name: string
    readonly principal?: (() => string | Promise<string>) | undefined
    /** Whether it yields a token without a person. */
    readonly asksAgain: boolean
  }
  readonly tokenFor: TokenFor
  readonly warnings: {
    warn(message: string): void
    /** What went wrong with the storage. */
    degraded(what: string, cause?: unknown): void
  }
}

/** Gives a token for what is wanted, and the record of the session that it is of. */
export type TokenFor = (wanted: AccessTokenRequest) => Promise<[{ stored: StoredToken }, { base: SessionRecord }]>

/** Shows one authorization server, and the APIs, that a source has the key that its tokens are bound to (RFC 9449). */
export interface ProofOfPossession {
  /** Where the source's sessions are kept. */
  readonly store: TokenStore | undefined
  /**
   * Names the key to an authorization request (RFC 9449 section 10); `undefined` where a login may come back without it.
   * `isHere`: it comes back to this process or page.
   */
  thumbprint(isHere: boolean): Promise<string | undefined>
  /** Adds the proof to a token request (RFC 9449 section 5). Default: with the key for the next session. */
  prove(url: URL, headers: Headers, key: StoredKey | undefined): Promise<StoredKey>
  /** Learns from the answer; gives whether it was the proof that was refused, and another one may pass (RFC 9449 section 8). */
  learn(answer: EndpointAnswer): boolean
  /** What makes a source sign its API requests (RFC 9449 section 7). */
  readonly signing: Required<Pick<TokenSource, 'authorize' | 'observe'>>
}
