import { type AuthenticatedWebSocketOptions, authenticatedWebSocket, type ConnectionSource } from '@keyturn/core'

/** A WebSocket of this process, and the server at its other end. */
export class TestWebSocket extends EventTarget {
  readonly url: string
  readonly how: unknown
  readyState = 0
  binaryType = 'blob'
  /** What the server has been sent. */
  readonly sent: unknown[] = []
  /** How the client closed it. */
  closedWith: { code: number | undefined; reason: string | undefined } | undefined

  constructor(url: string, how?: unknown) {
    super()
    this.url = url
    this.how = how
  }

  send(data: unknown): void {
    if (this.readyState !== 1) throw new Error('not open')
    this.sent.push(data)
  }

  close(code?: number, reason?: string): void {
    if (code !== undefined && code !== 1000 && !(code >= 3000 && code <= 4999)) throw new RangeError('no such code')
    if (this.readyState > 1) return
    const wasOpen = this.readyState === 1
    this.readyState = 2
    this.closedWith = { code, reason }
    queueMicrotask(() => this.#closed(wasOpen ? (code ?? 1005) : 1006, reason ?? ''))
  }

  /** What the server does. */
  accept(): void {
    if (this.readyState !== 0) throw new Error('nobody is waiting')
    this.readyState = 1
    this.dispatchEvent(new Event('open'))
  }

  /** After `close()` the platform drops it (WebSockets standard, section 4). */
  message(data: unknown): void {
    if (this.readyState === 1) this.dispatchEvent(new MessageEvent('message', { data }))
  }

  drop(code = 1006, reason = ''): void {
    if (this.readyState < 2) this.#closed(code, reason)
  }

  #closed(code: number, reason: string): void {
    this.readyState = 3
    if (code === 1006) this.dispatchEvent(new Event('error'))
    this.dispatchEvent(Object.assign(new Event('close'), { code, reason, wasClean: code !== 1006 }))
  }
}

/** An authenticated WebSocket, whatever it told, and the sockets beneath it. */
export function connected(source: ConnectionSource, more: Partial<AuthenticatedWebSocketOptions> = {}) {
  const sockets: TestWebSocket[] = []
  class Here extends TestWebSocket {
    constructor(url: string, how?: unknown) {
      super(url, how)
      sockets.push(this)
    }
  }
  const socket = authenticatedWebSocket(source, {
    url: 'wss://api.example/v1/live',
    apis: 'https://api.example/v1/',
    authenticate: (accessToken) => `auth ${accessToken}`,
    WebSocket: Here,
    ...more,
  })
  const told: string[] = []
  const disconnects: { delay: number; code?: number; reason?: string; error?: unknown }[] = []
  const ends: unknown[] = []
  socket.addEventListener('open', () => void told.push('open'))
  socket.addEventListener('message', ({ data }) => void told.push(`message ${data}`))
  socket.addEventListener('disconnect', ({ delay, code, reason, error }) => {
    told.push('disconnect')
    disconnects.push({ delay, error, ...(code !== undefined && { code }), ...(reason !== undefined && { reason }) })
  })
  socket.addEventListener('close', ({ error }) => {
    told.push('close')
    ends.push(error)
  })
  const last = () => {
    const socket = sockets.at(-1)
    if (!socket) throw new Error('nobody has connected')
    return socket
  }
  return { socket, sockets, told, disconnects, ends, last }
}
