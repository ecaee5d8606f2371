import { type ConnectionSource, ConnectionToken, whenSessionEnds } from './connection-token.ts'
import { OAuthError } from './errors.ts'
import { ACCEPTED_AFTER, mayPass, pause, reconnectionDelay } from './reconnection.ts'
import {
  type Closed,
  made,
  openWebSocket,
  tokenFor,
  tokenRejected,
  type WebSocketConnection,
  type WebSocketOwner,
} from './web-socket-connection.ts'
import {
  type AuthenticatedWebSocketOptions,
  type WebSocketLike,
  type WebSocketMessage,
  type WebSocketRoute,
  webSocketRoute,
} from './web-socket-options.ts'

/** Policy Violation (RFC 6455 section 7.4.1), Unauthorized (IANA), and what many servers made of HTTP's 401. */
const REFUSAL_CODES = [1008, 3000, 4401]
/** The server, or the app, wants no connection any more (RFC 6455 section 7.4.1). */
const NORMAL = 1000
/** `WebSocket.OPEN`. */
const OPEN = 1
/** Milliseconds before the next attempt. */
const RETRY = 1000
/** Milliseconds in which what the app says on a new connection gets to the server. */
const OVERLAP = 1000

/** Keeps one WebSocket connection open after another. */
export class WebSocketConnections {
  readonly #source: ConnectionSource
  readonly #options: AuthenticatedWebSocketOptions
  readonly #tell: (event: Event) => void
  readonly #route: WebSocketRoute
  readonly #owner: WebSocketOwner
  readonly #closing = new AbortController()
  readonly #sockets = new Set<WebSocketLike>()
  readonly #stop: () => void
  /** The one that is open. */
  #current: WebSocketConnection | undefined
  #connecting: Promise<WebSocketConnection> | undefined
  #rejectedToken: string | undefined

  constructor(source: ConnectionSource, options: AuthenticatedWebSocketOptions, tell: (event: Event) => void) {
    this.#source = source
    this.#options = options
    this.#tell = tell
    this.#route = webSocketRoute(options)
    this.#owner = {
      signal: this.#closing.signal,
      made: (socket) => void this.#sockets.add(socket),
      opened: (connection) => this.#opened(connection),
      message: (data) => {
        if (!this.#closing.signal.aborted) tell(new MessageEvent('message', { data }))
      },
      closed: (socket) => {
        this.#sockets.delete(socket)
        if (this.#current?.socket === socket) this.#current = undefined
      },
    }
    const { signal } = options
    const abort = () => this.end()
    signal?.addEventListener('abort', abort)
    const stopWatching = whenSessionEnds(source, (error) => this.end(error))
    this.#stop = () => {
      stopWatching()
      signal?.removeEventListener('abort', abort)
    }
    // Afterwards, so that nobody misses an event who listens at once.
    queueMicrotask(() => {
      if (signal?.aborted) this.end()
      this.#run().catch((error) => this.end(error))
    })
  }

  get url(): string {
    return this.#route.url.href
  }

  send(data: WebSocketMessage): void {
    const { socket } = this.#current ?? {}
    if (socket?.readyState !== OPEN) {
      throw new OAuthError('not-connected', 'No connection is open', {
        retryable: true,
        fix: 'Wait for the event open.',
      })
    }
    socket.send(data)
  }

  end(error?: OAuthError, code: number = NORMAL, reason = ''): void {
    if (this.#closing.signal.aborted) return
    for (const socket of this.#sockets) socket.close(code, reason) // throws for a code that nobody may send
    this.#closing.abort()
    this.#current = undefined
    this.#stop()
    this.#tell(Object.assign(new Event('close'), { error }))
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing
    for (let failures = 0; ; ) {
      signal.throwIfAborted()
      let closed: Closed | undefined
      let error: unknown
      try {
        const [last, how] = await this.#lost(await this.#connect())
        signal.throwIfAborted()
        if (how.code === NORMAL) return this.end()
        closed = how
        if (lasted(last)) failures = 0
        this.#judge(last, how.code)
      } catch (cause) {
        signal.throwIfAborted()
        if (!mayPass(cause)) throw cause
        error = cause
      }
      const delay = reconnectionDelay(RETRY, failures++, error)
      this.#tell(Object.assign(new Event('disconnect'), { ...closed, error, delay }))
      await pause(delay, signal, true)
    }
  }

  /** Resolves with the last connection when it is closed, and no other one has taken its place. */
  async #lost(connection: WebSocketConnection): Promise<[WebSocketConnection, Closed]> {
    for (;;) {
      const { closed, signal } = connection
      const successor = this.#successor(connection).catch((error) => {
        if (signal.aborted) return closed
        throw error
      })
      const next = await Promise.race([closed, successor])
      // It may have been closed because the next one was on its way.
      const other = 'socket' in next ? next : (this.#current ?? (await this.#connecting?.catch(() => undefined)))
      if (!other) return [connection, await closed]
      connection = other
    }
  }

  /** The connection that takes the place of this one before its token ends; none where the next token is given to this one. */
  async #successor(connection: WebSocketConnection): Promise<WebSocketConnection> {
    for (;;) {
      await connection.token.renewed(connection.signal)
      const next = await this.#renewed(connection)
      if (next !== connection) return next
    }
  }

  /** A connection with another token: this one, where the app says how. Tried until there is one. */
  async #renewed(connection: WebSocketConnection): Promise<WebSocketConnection> {
    const { reauthenticate } = this.#options
    for (let failures = 0; ; failures++) {
      try {
        if (!reauthenticate) return await this.#connect()
        const token = new ConnectionToken(this.#source)
        const { accessToken } = await tokenFor(token, this.#route, { ...this.#route.wanted }, connection.signal)
        connection.socket.send(made(reauthenticate, accessToken))
        connection.token = token
        return connection
      } catch (error) {
        await pause(reconnectionDelay(RETRY, failures, error), connection.signal, false)
      }
    }
  }

  /** A refused token is renewed once; throws where the one that took its place is refused at once. */
  #judge(last: WebSocketConnection, code: number): void {
    if (!(this.#options.refusalCodes ?? REFUSAL_CODES).includes(code)) return
    if (last.isByRefusal && !lasted(last)) throw tokenRejected()
    this.#rejectedToken = last.token.accessToken
  }

  #connect(): Promise<WebSocketConnection> {
    this.#connecting ??= openWebSocket(
      this.#source,
      this.#options,
      this.#route,
      this.#owner,
      this.#rejectedToken,
    ).finally(() => {
      this.#connecting = undefined
    })
    return this.#connecting
  }

  #opened(connection: WebSocketConnection): void {
    const { socket, token } = connection
    const { authenticate } = this.#options
    if (authenticate) socket.send(made(authenticate, token.accessToken))
    const before = this.#current
    this.#current = connection
    this.#rejectedToken = undefined
    this.#tell(new Event('open'))
    if (!before) return
    // Until the server has heard what the app says now, the last one has what it sends, and answers to what was asked there.
    const close = () => before.socket.close(NORMAL)
    pause(OVERLAP, before.signal, false).then(close, () => {}) // it is closed already
  }
}

function lasted({ openedAt }: WebSocketConnection): boolean {
  return performance.now() - openedAt > ACCEPTED_AFTER
}
