import { OAuthError } from './errors.ts'

/** One event of a stream (HTML standard, "Server-sent events"). */
export interface ServerSentEvent {
  /** `message` where the server names none. */
  readonly type: string
  readonly data: string
  /** The id that was told last: what comes after it is asked for when the connection is made anew. */
  readonly lastEventId: string
}

/** The longest `retry` that is obeyed, milliseconds. */
const LONGEST_RETRY = 3_600_000

/** Interprets an event stream, chunk by chunk (HTML standard, "Server-sent events", section 9.2.6). */
export class EventStreamParser {
  /** That of the last event that was complete, with data or without; it outlives a connection, as it does in browsers. */
  lastEventId: string
  /** Milliseconds; undefined: the server has said nothing. */
  retry: number | undefined
  readonly #maxLength: number
  #decoder = new TextDecoder()
  #endedInReturn = false
  /** What has come of the line, and of the event, that is not complete. */
  #line = ''
  #type = ''
  #data = ''
  #id: string

  constructor(lastEventId: string, maxLength: number) {
    this.lastEventId = lastEventId
    this.#id = lastEventId
    this.#maxLength = maxLength
  }

  /** Another connection begins: what is not complete is dropped. */
  begin(): void {
    this.#decoder = new TextDecoder()
    this.#endedInReturn = false
    this.#line = this.#type = this.#data = ''
    this.#id = this.lastEventId
  }

  /** The events that a chunk completes. Throws an `OAuthError` for one that is too long. */
  *read(chunk: Uint8Array): Generator<ServerSentEvent, void> {
    let text = this.#decoder.decode(chunk, { stream: true })
    if (!text) return
    // Lines end with CR, LF or both; a line that ends with CR is complete, whatever the next chunk begins with.
    if (this.#endedInReturn && text.startsWith('\n')) text = text.slice(1)
    this.#endedInReturn = text.endsWith('\r')
    let start = 0
    for (const { 0: end, index } of text.matchAll(/\r\n?|\n/g)) {
      const line = this.#line + text.slice(start, index)
      this.#line = ''
      start = index + end.length
      const event = this.#take(line)
      if (event) yield event
    }
    this.#line += text.slice(start)
    this.#assertShort(this.#line)
  }

  #take(line: string): ServerSentEvent | undefined {
    if (!line) return this.#complete()
    this.#assertShort(line)
    const [, field, value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? []
    if (field === 'data') this.#data += `${value}\n`
    else if (field === 'event') this.#type = value
    else if (field === 'id' && !value.includes('\0')) this.#id = value
    else if (field === 'retry' && /^\d+$/.test(value)) this.retry = Math.min(Number(value), LONGEST_RETRY)
    return undefined
  }

  #complete(): ServerSentEvent | undefined {
    const type = this.#type || 'message'
    const data = this.#data
    this.#type = this.#data = ''
    this.lastEventId = this.#id
    return data ? { type, data: data.slice(0, -1), lastEventId: this.#id } : undefined
  }

  #assertShort(line: string): void {
    if (line.length + this.#data.length <= this.#maxLength) return
    throw new OAuthError('connection-failed', `An event is longer than ${this.#maxLength} characters`, {
      fix: 'Raise maxEventLength, where the server may send that much.',
    })
  }
}
