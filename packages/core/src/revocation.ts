import type { Client } from './client.ts'
import type { SessionRecord } from './session-record.ts'
import type { TokenStore } from './token-store.ts'

/** A token that the server is to be told of (RFC 7009 section 2.1). */
export interface Revocation {
  readonly token: string
  readonly kind: 'refresh_token' | 'access_token'
  /** Of an access token, epoch milliseconds. */
  readonly expiresAt?: number
}

/** What revoking tokens has to know. */
export interface RevocationContext {
  readonly client: Client
  readonly store: TokenStore | undefined
  /** The sessions as they are now. */
  readonly sessions: () => SessionRecord[]
  readonly warn: (message: string) => void
  /** Told that the store failed. */
  readonly degraded: (what: string, cause?: unknown) => void
}

/** How the tokens of sessions that ended are revoked. */
export interface Revocations {
  /** Resolves when the server is told, or could not be now. Never rejects. */
  revoke(records: SessionRecord[]): Promise<void>
  /** Sends what waits; `probe`: the network has just come back. Never rejects. */
  flush?(probe?: boolean): Promise<void>
  dispose?(): void
}

/** What does it instead of telling the server once. */
export type RevocationOutbox = (context: RevocationContext) => Revocations

/** Tells the server once; where that fails, a warning does. */
export function revocations({ client, sessions, warn }: RevocationContext): Revocations {
  return {
    async revoke(records) {
      const failed = ({ message }: Error) => warn(`A token could not be revoked: ${message}`)
      const told = dead(records, sessions()).map(({ token, kind }) => client.revoke(token, kind).catch(failed))
      await Promise.all(told)
    },
  }
}

/** What to revoke of sessions that ended, but for what lives on: a sign-in may have overtaken the sign-out. */
export function dead(ended: SessionRecord[], living: SessionRecord[]): Revocation[] {
  const tokens = new Map(ended.flatMap(revocable).map((one) => [one.token, one]))
  for (const { token } of living.flatMap(revocable)) tokens.delete(token)
  return [...tokens.values()]
}

/** A refresh token takes its access tokens with it (RFC 7009 section 2.1). */
function revocable({ refreshToken, tokens }: SessionRecord): Revocation[] {
  if (refreshToken !== undefined) return [{ token: refreshToken, kind: 'refresh_token' }]
  return Object.values(tokens).map(({ accessToken, expiresAt }) => ({
    token: accessToken,
    kind: 'access_token',
    expiresAt,
  }))
}
