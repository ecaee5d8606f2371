import type { ConnectionSource } from './connection-token.ts'
import type { OAuthError } from './errors.ts'
import type { Disconnection } from './reconnection.ts'
import { WebSocketConnections } from './web-socket-connections.ts'
import type { AuthenticatedWebSocketOptions, WebSocketMessage } from './web-socket-options.ts'

/** What an authenticated WebSocket tells. */
export interface AuthenticatedWebSocketEvents {
  /** A connection is open and has its token. Whatever the last one was told, such as subscriptions, this one has to be. */
  open: Event
  message: MessageEvent
  /** No connection is open, and another one is tried. `code` and `reason` are there where one was open. */
  disconnect: Event & Disconnection & { readonly code?: number; readonly reason?: string }
  /** It is over, told once: by `close()`, `signal` or the server's 1000, else with an error. */
  close: Event & { readonly error: OAuthError | undefined }
}

/** A WebSocket (RFC 6455) that goes on through reconnections, each with a token of its own. */
export interface AuthenticatedWebSocket {
  /** Without a token. */
  readonly url: string
  /** Sends on the connection that is open. Throws an `OAuthError` (`not-connected`) where none is: nothing is kept. */
  send(data: WebSocketMessage): void
  /** Ends it, as `WebSocket.close` does. Default code: 1000. */
  close(code?: number, reason?: string): void
  addEventListener<T extends keyof AuthenticatedWebSocketEvents>(
    type: T,
    listener: (event: AuthenticatedWebSocketEvents[T]) => void,
    options?: { once?: boolean; signal?: AbortSignal },
  ): void
  removeEventListener<T extends keyof AuthenticatedWebSocketEvents>(
    type: T,
    listener: (event: AuthenticatedWebSocketEvents[T]) => void,
  ): void
}

/**
 * A WebSocket (RFC 6455) to an API that wants a token: one connection after another, each with a token of its own.
 *
 * One that is lost is made anew after a second, longer with every failure in a row; before its token ends another one
 * takes its place, or it is given the next token (`reauthenticate`). While two overlap a server may send something twice;
 * `disconnect` tells that something may have been missed. A close code that says that the token was refused has it renewed
 * once; where the next one is refused as well it is over (`token-rejected`), and so it is with the session
 * (`session-ended`, `login-required`). A refusal in the handshake shows no reason, and is tried again.
 *
 * Throws an `OAuthError` (`invalid-options`) for what cannot work. Tokens that are bound to a key (DPoP) go by header only.
 */
export function authenticatedWebSocket(
  source: ConnectionSource,
  options: AuthenticatedWebSocketOptions,
): AuthenticatedWebSocket {
  const target = new EventTarget()
  const connections = new WebSocketConnections(source, options, (event) => target.dispatchEvent(event))
  const socket = Object.assign(target, {
    url: connections.url,
    send: (data: WebSocketMessage) => connections.send(data),
    close: (code?: number, reason?: string) => connections.end(undefined, code, reason),
  })
  return socket as AuthenticatedWebSocket // its events are those, and who listens is told of no others
}
