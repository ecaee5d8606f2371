import { type IssuedTokenSet, type TimelineEvent, type TokenManager, TokenUnavailableError } from '@keyturn/node'
import { work } from '../../worker/src/worker.ts'
import type { AuthorizationServer } from './authorization-server.ts'

export interface ActorOptions {
  name: string
  /** A few words about it. */
  title: string
  /** As the authorization server knows it. */
  clientId: string
  source: TokenManager
  /** What is called. */
  api: { url: string }
  server: AuthorizationServer
}

/** What can be seen of an actor. */
export interface ActorView {
  name: string
  title: string
  token?: Pick<IssuedTokenSet, 'issuedAt' | 'expiresAt'> | undefined
  /** The last renewal failed. */
  stale: boolean
  /** When the next one is tried, where no token is left. */
  retryAt?: number | undefined
  /** Calls that the API answered with 200. */
  served: number
  /** Calls that it answered otherwise. */
  refused: number
  /** When the last call ended. */
  calledAt?: number | undefined
  /** Calls that were not made, because no token was to be had. */
  heldBack: number
  /** Counted by the authorization server: token requests that it answered with a token, and with an error or never. */
  bought: number
  failed: number
}

/** Somebody who calls an API every second, and what comes of it. */
export class Actor {
  readonly name: string
  readonly #options: ActorOptions
  readonly #stop = new AbortController()
  readonly #work: Promise<void>
  #token: ActorView['token']
  #retryAt: number | undefined
  #looking = false
  #calledAt: number | undefined
  #served = 0
  #refused = 0
  #heldBack = 0

  constructor(options: ActorOptions) {
    this.name = options.name
    this.#options = options
    const { source, api } = options
    const report = (outcome: number | Error) => {
      this.#calledAt = Date.now()
      if (outcome instanceof Error) this.#heldBack += 1
      else if (outcome === 200) this.#served += 1
      else this.#refused += 1
    }
    this.#work = work({ source, url: api.url, signal: this.#stop.signal, report })
  }

  /** Its story, oldest first. */
  get events(): TimelineEvent[] {
    return this.#options.source.explain()
  }

  /** Looks at its token, which as a rule costs nothing: it comes from memory. */
  async look(): Promise<void> {
    if (this.#looking) return
    this.#looking = true
    try {
      this.#token = await this.#options.source.getTokenSet({ signal: this.#stop.signal })
      this.#retryAt = undefined
    } catch (error) {
      if (error instanceof TokenUnavailableError) this.#retryAt = error.retryAt
    } finally {
      this.#looking = false
    }
  }

  view(): ActorView {
    const { name, title, clientId, source, server } = this.#options
    const { session } = source
    // That a proof needs a nonce is a question, and no failure.
    const failed = server.log.filter(
      ({ clientId: of, fault, status = 0, error }) =>
        of === clientId && (fault || (status >= 400 && error !== 'use_dpop_nonce')),
    )
    return {
      name,
      title,
      token: this.#token,
      stale: session.status === 'signedIn' && session.freshness === 'stale',
      retryAt: this.#retryAt,
      calledAt: this.#calledAt,
      served: this.#served,
      refused: this.#refused,
      heldBack: this.#heldBack,
      bought: server.tokenRequests({ clientId, status: 200 }),
      failed: failed.length,
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#work
    await this.#options.source[Symbol.asyncDispose]()
  }
}
