import { type ApiRoute, type Apis, coveredUrl } from './api-routes.ts'
import { OAuthError } from './errors.ts'

/** What a WebSocket can send. */
export type WebSocketMessage = string | ArrayBuffer | ArrayBufferView<ArrayBuffer> | Blob

/** As much of the platform's `WebSocket` as is needed. */
export interface WebSocketLike {
  binaryType: string
  readonly readyState: number
  send(data: WebSocketMessage): void
  close(code?: number, reason?: string): void
  addEventListener(type: 'open' | 'message' | 'close' | 'error', listener: (event: Event) => void): void
}

/**
 * Called as that of the platform: with an address and a list of subprotocols or, where the token goes by header, with an
 * address and `{ protocols, headers }`, which those of Node and of the package ws take. They differ in what they can send.
 */
export type WebSocketConstructor = new (url: string, protocols?: never) => Pick<WebSocketLike, 'readyState' | 'close'>

/**
 * How the token travels: in a first message (`authenticate`), as a subprotocol (`protocols`), in the address
 * (`tokenInQuery`), else as the `Authorization` header, which browsers let no script set.
 */
export interface AuthenticatedWebSocketOptions {
  /** `wss:`, or `ws:` to a loopback host. */
  url: string
  /** Has to cover `url`, with `https:` in the place of `wss:`; the route says which token is wanted. */
  apis: Apis
  /** Makes the first message of every connection, sent before the app hears of it. */
  authenticate?: ((accessToken: string) => WebSocketMessage) | undefined
  /**
   * Makes the message that gives an open connection its next token, before the last one ends. Default: another connection
   * takes its place.
   */
  reauthenticate?: ((accessToken: string) => WebSocketMessage) | undefined
  /** The subprotocols (RFC 6455 section 1.9), or what makes them of the token. Default: none. */
  protocols?: readonly string[] | ((accessToken: string) => readonly string[]) | undefined
  /** The query parameter that holds the token. It is seen by whatever sees the address: logs, proxies, the console. */
  tokenInQuery?: string | undefined
  /** Close codes that mean that the token was refused. Default: 1008, 3000 and 4401. */
  refusalCodes?: readonly number[] | undefined
  /** Default: that of the platform, `blob`. */
  binaryType?: 'blob' | 'arraybuffer' | undefined
  /** The constructor. Default: the platform's. */
  WebSocket?: WebSocketConstructor | undefined
  /** Closes it. */
  signal?: AbortSignal | undefined
}

/** Where a connection goes, and how its token does. */
export interface WebSocketRoute {
  readonly WebSocket: WebSocketConstructor
  readonly url: URL
  /** What a proof is for: the handshake is a GET (RFC 6455 section 4.1). */
  readonly handshake: string
  readonly wanted: ApiRoute['wanted']
  readonly isByHeader: boolean
}

/** Throws an `OAuthError` for options that cannot work. */
export function webSocketRoute(options: AuthenticatedWebSocketOptions): WebSocketRoute {
  const { authenticate, protocols, tokenInQuery, WebSocket = globalThis.WebSocket } = options
  const ways = [authenticate, typeof protocols === 'function' && protocols, tokenInQuery].filter(Boolean)
  if (ways.length > 1) {
    throw invalid('A token travels one way', 'Set one of authenticate, protocols (a function) and tokenInQuery.')
  }
  if (typeof WebSocket !== 'function') {
    throw invalid('The platform has no WebSocket', 'Set WebSocket to a constructor, such as that of the package ws.')
  }
  const isByHeader = !ways.length
  if (isByHeader && WebSocket === globalThis.WebSocket && !setsHeaders()) {
    throw invalid('A browser lets no WebSocket send headers', 'Set authenticate, or protocols to a function.')
  }
  const { url: covered, route } = coveredUrl(`${options.url}`.replace(/^\s*ws(s?):/i, 'http$1:'), options.apis)
  const url = new URL(covered)
  url.protocol = url.protocol.replace('http', 'ws')
  url.hash = ''
  return { WebSocket, url, handshake: covered.href, wanted: route.wanted, isByHeader }
}

/** Browsers forbid Host, and no other platform does. */
function setsHeaders(): boolean {
  return new Request('https://localhost/', { headers: { host: 'localhost' } }).headers.has('host')
}

function invalid(message: string, fix: string): OAuthError {
  return new OAuthError('invalid-options', message, { fix })
}
