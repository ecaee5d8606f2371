import { authenticatedFetch } from './authenticated-fetch.ts'
import { type ConnectionSource, ConnectionToken } from './connection-token.ts'
import { unlessAborted } from './deadline.ts'
import { OAuthError } from './errors.ts'
import type { AuthenticatedFetchOptions } from './token-fetch.ts'

/** What asks for an event stream. */
export interface EventRequest extends AuthenticatedFetchOptions {
  /** Where the stream is. `apis` has to cover it. */
  url: string
  /** Of every request for it. Default: none but those of the protocol. */
  headers?: RequestInit['headers']
  /** Whether cookies go along. Default: as fetch does, to the page's own origin. */
  credentials?: RequestInit['credentials']
}

/** What a connection brought: undefined at its end. */
interface Arrival {
  readonly chunk?: Uint8Array | undefined
  readonly error?: unknown
}

/** One connection to an event stream, by one token. */
export class EventConnection {
  readonly token: ConnectionToken
  /** Performance time. */
  readonly openedAt: number = performance.now()
  /** What has come and nobody has taken. */
  arrived: Arrival | undefined
  readonly #controller: AbortController
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | undefined
  #isReading = false

  constructor(token: ConnectionToken, controller: AbortController, { body }: Response) {
    this.token = token
    this.#controller = controller
    this.#reader = body?.getReader()
  }

  /** Aborts when it is closed. */
  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** Has the next chunk arrive, and then calls `wake`; not before the last one was taken. */
  pull(wake: () => void): void {
    if (this.#isReading || this.arrived) return
    this.#isReading = true
    const arrive = (arrival: Arrival) => {
      this.#isReading = false
      this.arrived = arrival
      wake()
    }
    if (!this.#reader) arrive({})
    this.#reader?.read().then(
      ({ value }) => arrive({ chunk: value }),
      (error: unknown) => arrive({ error }),
    )
  }

  close(): void {
    this.#controller.abort()
    this.#reader?.cancel().catch(() => {}) // a fetch that heeds no signal
  }
}

/**
 * Opens a connection; undefined where the server wants none (204). Rejects as the authenticated fetch does, and with an
 * `OAuthError` for every other answer that is no event stream (HTML standard, "Server-sent events", section 9.2.3).
 */
export async function openEvents(
  source: ConnectionSource,
  request: EventRequest,
  lastEventId: string,
  controller: AbortController,
): Promise<EventConnection | undefined> {
  const { url, credentials } = request
  const { signal } = controller
  const headers = new Headers(request.headers)
  headers.set('accept', 'text/event-stream')
  // As UTF-8; a control character, which no header can carry, would let no connection come about.
  const id = Array.from(new TextEncoder().encode(lastEventId), (byte) => String.fromCharCode(byte)).join('')
  if (id && !/[^\t\P{Cc}]/u.test(lastEventId)) headers.set('last-event-id', id)
  const token = new ConnectionToken(source)
  const init: RequestInit = { headers, cache: 'no-store', signal, ...(credentials && { credentials }) }
  const response = await unlessAborted(authenticatedFetch(token, request)(url, init), signal)
  const { status } = response
  const type = response.headers.get('content-type')?.split(';')[0]?.trim().toLowerCase()
  if (status === 200 && type === 'text/event-stream') return new EventConnection(token, controller, response)
  controller.abort()
  response.body?.cancel().catch(() => {}) // nobody reads it
  if (status === 204) return undefined
  const { origin } = new URL(url)
  if (status === 401) throw refusal(token, response, origin)
  const said = status === 200 ? 'no event stream' : String(status)
  throw new OAuthError('connection-failed', `${origin} answered ${said}`, {
    retryable: status === 408 || status === 429 || status >= 500,
  })
}

/** Why a 401 stayed: what may pass, or that token after token is refused. */
function refusal({ failure }: ConnectionToken, { headers }: Response, origin: string): unknown {
  // No other token could be had; where the source says that every new one is refused, this is the second.
  if (failure && Object(failure).code !== 'token-rejected') return failure
  // Nonces that end at once, such as those of several servers behind one address (RFC 9449 section 9), say nothing of it.
  if (headers.get('www-authenticate')?.includes('use_dpop_nonce')) {
    return new OAuthError('token-rejected', `${origin} wants another proof each time`, { retryable: true })
  }
  return new OAuthError('token-rejected', `${origin} refuses the token`, {
    fix: 'Check that the API takes tokens of this issuer, with this audience and scope.',
  })
}
