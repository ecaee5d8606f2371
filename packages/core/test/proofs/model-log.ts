import type { OAuthError, StoredRecord, TokenManager } from '@keyturn/core'
import { type Fault, testAuthorizationServer } from '../authorization-server.ts'
import { SECOND } from '../renewal-harness.ts'

export const LIFETIME: number = 60 * SECOND
export const TIMEOUT: number = 10 * SECOND
export const RETRY_AFTER = 7

/** What may go wrong with a token request: before the server acted, or after it rotated. */
export const faults = {
  'server trouble': { status: 503 },
  throttled: { status: 429, headers: { 'retry-after': String(RETRY_AFTER) } },
  'captive portal': { status: 200, body: '<html>Welcome</html>', headers: { 'content-type': 'text/html' } },
  'lost before': { lost: 'request' },
  'lost after': { lost: 'answer' },
  cut: { lost: 'rest' },
  garbled: { change: () => ({}) },
  'hangs before': { hang: 'request' },
  'hangs after': { hang: 'answer' },
  slow: { delay: 3 * SECOND },
} as const satisfies Record<string, Fault>

/** A tab or process that shares the store with others. */
export interface Tab {
  readonly source: TokenManager
  readonly signIn: () => Promise<unknown>
  /** The page is shown again, or the network is back. */
  readonly wake: () => void
  /** Tokens that it was handed, oldest first. */
  readonly got: string[]
  /** Those of them that came before somebody signed out here. */
  forgotten: readonly string[]
  crashed: boolean
}

/** One request with a refresh token, and what came of it. */
export interface Sent {
  readonly tab: Tab
  readonly refreshToken: string
  readonly at: number
  endedAt?: number
  /** The status of an answer that arrived. */
  status?: number
  /** The refresh token that takes its place, where that arrived. */
  successor?: string
  refused?: boolean
}

/** One call of a tab, and how it settled; `at` is monotonic time, `turn` counts those of the event loop. */
export interface Call {
  readonly tab: Tab
  readonly at: number
  readonly turn: number
  readonly forgotten: readonly string[]
  settled?: { at: number; wall: number; turn: number; token?: string | undefined; error?: OAuthError }
}

/** When an access token was asked for and by whom, on both clocks, and whose session it belongs to. */
export interface Minted {
  readonly tab: Tab
  readonly at: number
  readonly wall: number
  readonly turn: number
  readonly family: number
  /** What it is bound to. */
  readonly key: string | undefined
}

/** What the store held from this turn on. */
export interface Stored {
  readonly tab: Tab
  readonly turn: number
  readonly at: number
  readonly record: StoredRecord | undefined
}

/** Everything that happened, for the invariants to judge when it is over. */
export class Log {
  turn = 0
  readonly sent: Sent[] = []
  readonly calls: Call[] = []
  readonly stored: Stored[] = []
  /** Whom the store failed to give anything. */
  readonly unread: { tab: Tab; at: number }[] = []
  /** What the store failed to take. */
  readonly unwritten: { tab: Tab; turn: number; at: number; refreshToken: string | undefined }[] = []
  readonly minted: Map<string, Minted> = new Map()
  /** Refresh tokens that were sent with another key than theirs. */
  readonly wrongKeys: string[] = []
  readonly #keys: Map<string, string | undefined> = new Map()
  /** Which sign-in a refresh token comes from. */
  readonly families: Map<string, number> = new Map()
  readonly revokedByServer: Set<number> = new Set()
  /** When a clock was set (monotonic time) and by how much. */
  readonly jumps: { at: number; turn: number; by: number }[] = []
  readonly wakes: number[] = []
  /** Sign-ins and sign-outs. */
  readonly changes: { tab: Tab; at: number; turn: number }[] = []
  #families = 0
  seed = ''

  get record(): StoredRecord | undefined {
    return this.stored.at(-1)?.record
  }

  /** Whether anything in this record belongs to that sign-in. */
  isOf(record: StoredRecord | undefined, family: number): boolean {
    if (record?.refreshToken !== undefined && this.families.get(record.refreshToken) === family) return true
    return Object.values(record?.tokens ?? {}).some((one) => this.minted.get(one.accessToken)?.family === family)
  }

  /** What those who are seeded begin with. */
  seededWith(refreshToken: string): void {
    this.seed = refreshToken
    this.families.set(refreshToken, ++this.#families)
  }

  /** A refresh token is sent, with a proof of this key. */
  proved({ refreshToken }: Sent, key: string | undefined): void {
    if (this.#keys.has(refreshToken) && this.#keys.get(refreshToken) !== key) this.wrongKeys.push(refreshToken)
  }

  /** The body of an answer of the token endpoint that arrived. */
  answered(text: string, sent: Sent | undefined, asked: Omit<Minted, 'family'>): void {
    const body = text.startsWith('{') ? JSON.parse(text) : {}
    if (sent && body.error === 'invalid_grant') sent.refused = true
    if (typeof body.access_token !== 'string') return
    const family = (sent && this.families.get(sent.refreshToken)) ?? ++this.#families
    this.families.set(body.refresh_token, family)
    this.#keys.set(body.refresh_token, asked.key)
    this.minted.set(body.access_token, { ...asked, family })
    if (sent) sent.successor = body.refresh_token
  }
}

export type Server = ReturnType<typeof testAuthorizationServer>
/** Strict rotation; a public client. */
export const strictServer = (grace: number): Server =>
  testAuthorizationServer({ lifetime: LIFETIME / SECOND, grace, secret: undefined })
