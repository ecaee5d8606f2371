import type { Client } from './client.ts'
import type { Grant, TokenRequest } from './grant.ts'
import type { CopyOptions } from './session-copy.ts'

/** What a session is made of. */
export interface SessionOptions extends CopyOptions {
  readonly client: Client
  readonly grant: Grant
  /** The token that the session is about, where a request names no other. */
  readonly own: Wanted
  /** Called after every change, never under the lock. */
  readonly changed: () => void
  readonly warn: (message: string) => void
  /** Whether somebody looks at the session, so that it is renewed though nobody asks for a token. */
  readonly watched: () => boolean
}

/** Which token is wanted: how it is kept, and how it is asked for. */
export interface Wanted {
  readonly tokenKey: string
  readonly request: TokenRequest
}
