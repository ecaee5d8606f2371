import type { Client } from './client.ts'
import type { Grant, TokenRequest } from './grant.ts'
import type { SessionRecord } from './session-record.ts'
import type { TokenStore } from './token-store.ts'

/** Where a session is kept, and what it starts from where nothing is stored: a refresh token obtained elsewhere. */
export interface Identity {
  readonly key: string
  readonly initial?: SessionRecord | undefined
}

/** What a session is made of. */
export interface SessionOptions {
  readonly client: Client
  readonly grant: Grant
  readonly identity: () => Promise<Identity>
  readonly store: TokenStore | undefined
  /** Drawn once per manager (R2). */
  readonly factor: number
  /** Whether the grant can ask again by itself: then a record that is gone ends nothing. */
  readonly asksAgain: boolean
  /** The token that the session is about, where a request names no other. */
  readonly own: Wanted
  readonly counts: { renewals: number; failures: number }
  /** Called after every change, never under the lock. */
  readonly changed: () => void
  /** Has the tokens of a record that is not to be kept revoked. */
  readonly revoke: (record: SessionRecord) => Promise<void>
  /** Called before anything is sent by itself; may end the session. */
  readonly guard: () => void
  readonly warn: (message: string) => void
  /** Told what went wrong with the storage, without the app noticing otherwise. */
  readonly degraded: (what: string, cause?: unknown) => void
  /** Whether somebody looks at the session, so that it is renewed though nobody asks for a token. */
  readonly watched: () => boolean
}

/** Which token is wanted: how it is kept, and how it is asked for. */
export interface Wanted {
  readonly tokenKey: string
  readonly request: TokenRequest
}
