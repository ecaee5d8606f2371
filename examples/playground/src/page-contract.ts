import type { SceneEvent } from './scene.ts'

/** What the page needs to know in order to start. */
export interface PageSettings {
  issuer: string
  clientId: string
  scope: string
  /** Milliseconds for one request to the authorization server. */
  timeout: number
  /** Seconds that an access token lives. */
  lifetime: number
  /** Token requests that every fault hits. */
  times: number
  /** The first is what a token is for where nothing else is said. */
  apis: { name: string; url: string; resource?: string }[]
  /** Takes the tokens of the first, and wants more of some. */
  payments: { url: string }
  /** Takes tokens of this client that are bound to a key, and no others. */
  vault: { url: string; resource: string; clientId: string }
}

/** What the page is told of those who live on the server, without their tokens. */
export interface PageState {
  trouble?: string | undefined
  away: boolean
  /** Spent refresh tokens that were presented again. */
  reuses: number
  actors: ActorState[]
  /** Oldest first. */
  events: SceneEvent[]
}

export interface ActorState {
  name: string
  title: string
  token?: { issuedAt: number; expiresAt: number } | undefined
  stale: boolean
  retryAt?: number | undefined
  /** When its last call ended. */
  calledAt?: number | undefined
  served: number
  refused: number
  heldBack: number
}

/** What the page can do to the server. */
export type Trouble = '503' | '429' | 'hang' | 'away' | 'back' | 'revoke' | 'ok'
