import { type ConnectionSource, ConnectionToken } from './connection-token.ts'
import { unlessAborted, within } from './deadline.ts'
import { OAuthError } from './errors.ts'
import { headersOf } from './token-fetch.ts'
import type { AccessTokenRequest } from './token-source.ts'
import type { AuthenticatedWebSocketOptions, WebSocketLike, WebSocketRoute } from './web-socket-options.ts'

/** Milliseconds before a handshake is given up. */
const HANDSHAKE_TIMEOUT = 30_000

/** How a connection was closed. */
export interface Closed {
  readonly code: number
  readonly reason: string
}

/** One connection that is or was open. */
export interface WebSocketConnection {
  readonly socket: WebSocketLike
  /** Which it has now. */
  token: ConnectionToken
  /** Performance time. */
  readonly openedAt: number
  /** Whether its token took the place of one that was refused. */
  readonly isByRefusal: boolean
  readonly closed: Promise<Closed>
  /** Aborts when it is closed. */
  readonly signal: AbortSignal
}

/** What hears of a socket. */
export interface WebSocketOwner {
  /** Gives up. */
  readonly signal: AbortSignal
  /** Called at once for a new socket, whether it will be open or not. */
  made(socket: WebSocketLike): void
  /** Called in the moment that it opens, before any message. What it throws is why there is no connection. */
  opened(connection: WebSocketConnection): void
  message(data: unknown): void
  closed(socket: WebSocketLike): void
}

/** Opens one connection, with another token than `rejectedToken`. Rejects with an `OAuthError`. */
export async function openWebSocket(
  source: ConnectionSource,
  options: AuthenticatedWebSocketOptions,
  route: WebSocketRoute,
  owner: WebSocketOwner,
  rejectedToken: string | undefined,
): Promise<WebSocketConnection> {
  const token = new ConnectionToken(source)
  const given = await tokenFor(token, route, { ...route.wanted, rejectedToken }, owner.signal)
  if (given.accessToken === rejectedToken) throw tokenRejected()
  owner.signal.throwIfAborted()
  const socket = construct(options, route, given)
  owner.made(socket)
  const over = new AbortController()
  let isGivenUp = false
  let connection: WebSocketConnection | undefined
  const closed = new Promise<Closed>((resolve) => {
    socket.addEventListener('close', (event) => {
      const { code, reason } = Object(event)
      owner.closed(socket)
      // Servers say what was wrong, and some say with what.
      const told = [token, connection?.token ?? token].some(({ accessToken }) => `${reason}`.includes(accessToken))
      resolve({ code, reason: told ? '' : `${reason}` })
      over.abort()
    })
  })
  socket.addEventListener('error', () => {}) // a close follows, and says as much
  socket.addEventListener('message', (event) => owner.message(Object(event).data))
  const opening = new Promise<WebSocketConnection>((resolve, reject) => {
    socket.addEventListener('open', () => {
      // Not every implementation keeps one from opening that was closed before (React Native's).
      if (isGivenUp || owner.signal.aborted) return socket.close()
      const openedAt = performance.now()
      const isByRefusal = rejectedToken !== undefined
      connection = { socket, token, openedAt, isByRefusal, closed, signal: over.signal }
      try {
        owner.opened(connection)
        resolve(connection)
      } catch (error) {
        reject(error)
      }
    })
    const unopened = new OAuthError('not-connected', 'No WebSocket could be opened', { retryable: true })
    void closed.then(() => reject(unopened))
  })
  const late = () => new OAuthError('timeout', 'No WebSocket was opened in time', { retryable: true })
  try {
    return await within(HANDSHAKE_TIMEOUT, late, () => opening)
  } catch (error) {
    isGivenUp = true
    socket.close()
    throw error
  }
}

type Given = Awaited<ReturnType<NonNullable<ConnectionToken['authorize']>>>

/** Asks for a token, and for the headers that prove it; throws where they would be needed and cannot be sent. */
export async function tokenFor(
  token: ConnectionToken,
  { handshake, isByHeader }: WebSocketRoute,
  wanted: AccessTokenRequest,
  signal: AbortSignal,
): Promise<Given> {
  const plain = async (): Promise<Given> => ({ accessToken: await token.getAccessToken(wanted), headers: {} })
  const asked = token.authorize?.({ ...wanted, method: 'GET', url: handshake }) ?? plain()
  const given = await unlessAborted(asked, signal)
  if (isByHeader || !Object.keys(given.headers).length) return given
  throw new OAuthError('invalid-options', 'The token is bound to a key, and would have to go by header', {
    fix: 'Use a source without dpop(), or a WebSocket that takes headers.',
  })
}

function construct(
  { protocols = [], tokenInQuery, binaryType }: AuthenticatedWebSocketOptions,
  { WebSocket, url, isByHeader }: WebSocketRoute,
  { accessToken, headers }: Given,
): WebSocketLike {
  const address = new URL(url)
  if (tokenInQuery) address.searchParams.set(tokenInQuery, accessToken)
  const own = [...(typeof protocols === 'function' ? made(protocols, accessToken) : protocols)]
  const how = isByHeader ? { protocols: own, headers: Object.fromEntries(headersOf(accessToken, headers)) } : own
  try {
    const socket: WebSocketLike = Reflect.construct(WebSocket, [address.href, how])
    if (binaryType) socket.binaryType = binaryType
    return socket
  } catch (error) {
    // What it says may hold the token.
    throw new OAuthError('invalid-options', `The platform opens no such WebSocket (${Object(error).name})`, {
      fix: 'Check url and protocols: a subprotocol is a word without spaces and commas.',
    })
  }
}

/** What a function of the app makes of a token. */
export function made<T>(make: (accessToken: string) => T, accessToken: string): T {
  try {
    return make(accessToken)
  } catch (error) {
    const cause = `${Object(error).message}`.includes(accessToken) ? undefined : error
    throw new OAuthError('callback-failed', 'A function given in the options failed', { cause })
  }
}

export function tokenRejected(): OAuthError {
  return new OAuthError('token-rejected', 'The API refuses every token', {
    fix: 'Check that the API takes tokens of this issuer, with this audience and scope.',
  })
}
