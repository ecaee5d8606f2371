const encoder = new TextEncoder()

/** One connection, as the server has it. */
export class ServerStream {
  readonly request: Request
  /** Whether the client has gone. */
  isClosed = false
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined

  constructor(request: Request) {
    this.request = request
    request.signal.addEventListener('abort', () => {
      this.isClosed = true
    })
  }

  get token(): string | undefined {
    return this.request.headers.get('authorization')?.replace('Bearer ', '')
  }

  get lastEventId(): string | null {
    return this.request.headers.get('last-event-id')
  }

  response(): Response {
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#controller = controller
      },
      cancel: () => {
        this.isClosed = true
      },
    })
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
  }

  send(text: string | Uint8Array): void {
    if (!this.isClosed) this.#controller?.enqueue(typeof text === 'string' ? encoder.encode(text) : text)
  }

  end(): void {
    if (!this.isClosed) this.#controller?.close()
  }

  /** As a connection that breaks. */
  fail(): void {
    if (!this.isClosed) this.#controller?.error(new TypeError('terminated'))
  }
}

/** The server of an event stream in this process. */
export class EventServer {
  readonly streams: ServerStream[] = []
  /** Answers instead of a stream, by turns; `undefined` is a stream. */
  readonly answers: ((stream: ServerStream) => Response | Promise<Response> | undefined)[] = []

  readonly fetch: typeof fetch = async (input, init) => {
    const request = new Request(input, init)
    request.signal.throwIfAborted()
    const stream = new ServerStream(request)
    this.streams.push(stream)
    return (await this.answers.shift()?.(stream)) ?? stream.response()
  }

  get last(): ServerStream {
    const stream = this.streams.at(-1)
    if (!stream) throw new Error('nobody has connected')
    return stream
  }

  get tokens(): (string | undefined)[] {
    return this.streams.map(({ token }) => token)
  }
}
