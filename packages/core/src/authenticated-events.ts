import { coveredUrl } from './api-routes.ts'
import { type ConnectionSource, whenSessionEnds } from './connection-token.ts'
import { within } from './deadline.ts'
import { LoginRequiredError, OAuthError } from './errors.ts'
import { type EventConnection, type EventRequest, openEvents } from './event-connection.ts'
import { EventStreamParser, type ServerSentEvent } from './event-stream.ts'
import { ACCEPTED_AFTER, type Disconnection, mayPass, pause, reconnectionDelay } from './reconnection.ts'

/** What `authenticatedEvents` takes. */
export interface AuthenticatedEventsOptions extends EventRequest {
  /** Where to begin: the `lastEventId` of an event that came earlier. Default: where the server does. */
  lastEventId?: string | undefined
  /** How long an event may be, in characters; one that is longer ends the stream. Default 1,000,000. */
  maxEventLength?: number | undefined
  /** Called when a connection is open, at first and after a disconnection; not for one that takes the place of another. */
  onOpen?: (() => void) | undefined
  /** Called where a connection is gone, or could not be had, and another one is tried. */
  onDisconnect?: ((disconnection: Disconnection) => void) | undefined
  /** Ends the stream; it rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** The standard leaves it open: "in the region of a few seconds". */
const RETRY = 3000
/** The least that a server can ask for, milliseconds. */
const SHORTEST_RETRY = 100
/** How long events wait for the connection that takes the place of theirs, milliseconds. */
const MOVE_TIMEOUT = 10_000

/** Why a stream ends whose reader has gone. */
const LEFT = Symbol('left')

/**
 * Server-sent events (HTML standard) of an API that wants a token: what `EventSource` does, over the authenticated fetch.
 * Every loop over it is a stream of its own; leaving the loop closes it.
 *
 * Each connection has a token, and a proof, of its own. One that is lost is made anew with `Last-Event-ID`, after the
 * server's `retry` or 3 s, longer with every failure in a row; before its token ends another one takes its place, and no
 * event is lost to that where events have ids. The loop ends with a 204. It rejects with an `OAuthError` for any other
 * answer that is no event stream (`connection-failed`; `token-rejected` for a second 401), and when the session is over
 * (`session-ended`, `login-required`).
 *
 * In a page the API has to allow the headers `authorization` and `last-event-id`, and with `dpop()` also `dpop` (CORS).
 */
export function authenticatedEvents(
  source: ConnectionSource,
  options: AuthenticatedEventsOptions,
): AsyncIterable<ServerSentEvent> {
  const { href } = coveredUrl(options.url, options.apis).url
  return {
    [Symbol.asyncIterator]() {
      const stream = new EventStream(source, { ...options, url: href })
      const events = stream.events()
      const next = () =>
        events.next().catch((error: unknown) => {
          if (error !== LEFT) throw error
          return { done: true as const, value: undefined }
        })
      const leave = () => {
        stream.close(LEFT)
        return events.return()
      }
      return { next, return: leave }
    },
  }
}

class EventStream {
  readonly #source: ConnectionSource
  readonly #options: AuthenticatedEventsOptions
  readonly #parser: EventStreamParser
  readonly #closing = new AbortController()
  readonly #connecting = new Set<AbortController>()
  #open: EventConnection | undefined
  /** What is to take the place of the open connection; no connection: the server wants none. */
  #next: { connection: EventConnection | undefined } | undefined
  #isDue = false
  #isMoving = false
  #failedMoves = 0
  /** A race over promises that live as long as a connection would keep every loser of it. */
  #wake = () => {}

  constructor(source: ConnectionSource, options: AuthenticatedEventsOptions) {
    this.#source = source
    this.#options = options
    this.#parser = new EventStreamParser(options.lastEventId ?? '', options.maxEventLength ?? 1_000_000)
  }

  async *events(): AsyncGenerator<ServerSentEvent, void, undefined> {
    const { onOpen, onDisconnect, signal } = this.#options
    const closing = this.#closing.signal
    const abort = () => this.close(signal?.reason)
    signal?.addEventListener('abort', abort)
    if (signal?.aborted) abort()
    const stopWatching = whenSessionEnds(this.#source, (error) => this.close(error))
    let failures = 0
    try {
      for (;;) {
        closing.throwIfAborted()
        let error = await this.#begin()
        const opened = this.#open
        if (!error && !opened) return
        if (opened) {
          onOpen?.()
          for (let chunk = await this.#chunk(); chunk; chunk = await this.#chunk()) {
            for (const event of this.#parser.read(chunk)) {
              closing.throwIfAborted()
              failures = 0
              yield event
            }
          }
          if (!this.#open) return
          if (performance.now() - this.#open.openedAt > ACCEPTED_AFTER) failures = 0
          error = this.#open.arrived?.error
          this.#leave(this.#open)
        }
        const retry = Math.max(this.#parser.retry ?? RETRY, SHORTEST_RETRY)
        const delay = reconnectionDelay(retry, failures++, error)
        onDisconnect?.({ delay, error })
        await pause(delay, closing, true)
      }
    } finally {
      this.close(LEFT)
      stopWatching()
      signal?.removeEventListener('abort', abort)
    }
  }

  close(reason: unknown): void {
    if (!this.#closing.signal.aborted) this.#closing.abort(reason)
    for (const controller of this.#connecting) controller.abort(reason)
    for (const connection of [this.#open, this.#next?.connection]) connection?.close()
    this.#wake()
  }

  /** Connects, or gives what failed and may pass. */
  async #begin(): Promise<unknown> {
    try {
      this.#moveTo(await this.#connect())
      return undefined
    } catch (error) {
      this.#closing.signal.throwIfAborted()
      if (!mayPass(error)) throw error
      return error ?? new OAuthError('network', 'No answer')
    }
  }

  async #connect(limit?: AbortSignal): Promise<EventConnection | undefined> {
    const controller = new AbortController()
    limit?.addEventListener('abort', () => controller.abort(limit.reason))
    this.#connecting.add(controller)
    try {
      return await openEvents(this.#source, this.#options, this.#parser.lastEventId, controller)
    } finally {
      this.#connecting.delete(controller)
    }
  }

  /** What the open connection brings next; undefined where it is lost, or where no connection is wanted any more. */
  async #chunk(): Promise<Uint8Array | undefined> {
    for (;;) {
      this.#closing.signal.throwIfAborted()
      if (this.#next) this.#moveTo(this.#next.connection)
      const open = this.#open
      if (!open) return undefined
      if (this.#isDue) this.#move(open)
      const { arrived } = open
      // While another connection is asked for what follows an event, that is not read here as well.
      const waits = this.#isMoving && (this.#parser.lastEventId || !arrived?.chunk)
      if (arrived && !waits) {
        if (arrived.chunk) open.arrived = undefined
        return arrived.chunk
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve
        open.pull(() => this.#wake())
      })
    }
  }

  #moveTo(connection: EventConnection | undefined): void {
    if (this.#open) this.#leave(this.#open)
    this.#open = connection
    this.#next = undefined
    this.#isDue = false
    this.#failedMoves = 0
    this.#parser.begin()
    connection?.token.renewed(connection.signal).then(this.#due, (error) => {
      if (error instanceof LoginRequiredError) this.close(error)
    })
  }

  #leave(connection: EventConnection): void {
    this.#open = undefined
    connection.close()
  }

  readonly #due = () => {
    this.#isDue = true
    this.#wake()
  }

  /** Has another connection, with another token, take the place of this one, which goes on where there is none to be had. */
  #move(from: EventConnection): void {
    this.#isDue = false
    this.#isMoving = true
    const late = () => new OAuthError('timeout', 'No answer')
    within(MOVE_TIMEOUT, late, (limit) => this.#connect(limit))
      .then(
        (connection) => {
          if (this.#closing.signal.aborted) connection?.close()
          else this.#next = { connection }
        },
        (error) => {
          const delay = reconnectionDelay(1000, this.#failedMoves++, error)
          pause(delay, from.signal, false).then(this.#due, () => {}) // closed
        },
      )
      .finally(() => {
        this.#isMoving = false
        this.#wake()
      })
  }
}
