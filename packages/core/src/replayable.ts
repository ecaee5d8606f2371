type Attempt = [input: RequestInfo | URL, init: RequestInit | undefined, headers: Headers]

/** One request that may be sent twice with the same bytes. */
export interface Replayable {
  /** Whether its body can be sent again; a stream that is read once cannot. */
  readonly again: boolean
  /** What to give to fetch for the next attempt, and the headers of that, to be added to. */
  next(own: Headers): Attempt
}

/** Prepares a request for a second attempt. A body is fixed once, so that both have the same bytes and boundary. */
export function replayable(input: RequestInfo | URL, init: RequestInit | undefined): Replayable {
  const given = input instanceof Request ? input : undefined
  const body = init?.body ?? given?.body
  const asGiven = (own: Headers): Attempt => {
    const headers = new Headers(own)
    return [input, { ...init, headers }, headers]
  }
  if (!body) return { again: true, next: asGiven }
  if (body === init?.body && isReadOnce(body)) return { again: false, next: asGiven }

  const request = new Request(input, init)
  const { body: _, headers: __, ...rest } = init ?? {}
  let spare: Request | undefined = request.clone()
  return {
    again: true,
    next() {
      const target = spare ?? request
      spare = undefined
      return [target, rest, target.headers]
    },
  }
}

/** Streams and, in Node, async iterables; FormData and the like are not. */
function isReadOnce(body: object | string): boolean {
  return body instanceof ReadableStream || (typeof body === 'object' && Symbol.asyncIterator in body)
}
