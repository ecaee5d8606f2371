import { AuthorizationServerError, TokenUnavailableError } from './errors.ts'
import { jwtPart } from './jwt-part.ts'

/** The answer of an endpoint, read whole and believed in nothing yet. */
export interface EndpointAnswer {
  response: Response
  /** Its JSON; undefined where the body is something else. */
  json?: Record<string, unknown> | null | undefined
}

const MAX_BYTES = 1_000_000
/** The longest that a server's `Retry-After` is obeyed, milliseconds. */
export const LONGEST_WAIT = 3_600_000

/** Sends a request and reads its answer; an outage is thrown as a `TokenUnavailableError`. */
export async function answerOf(send: typeof fetch, { href, origin }: URL, init: RequestInit): Promise<EndpointAnswer> {
  let response: Response
  let text: string
  try {
    response = await send(href, init)
    text = await bodyOf(response)
  } catch (thrown) {
    // The message of a fetch may hold the request: a code, such as ECONNREFUSED, does not.
    const cause = new Error('fetch failed', { cause: Object(thrown).cause ?? thrown })
    const fix = 'Check address, network and, in a browser, CORS.'
    throw new TokenUnavailableError('network', `No answer from ${origin}`, { cause, fix })
  }
  const { status, headers } = response
  if (status === 429 || status === 408 || status >= 500) {
    const wait = headers.get('retry-after') // seconds, or a date (RFC 9110 section 10.2.3)
    const now = Date.now()
    const retryAt = Math.min(now + Number(wait) * 1000 || Date.parse(`${wait}`) || now, now + LONGEST_WAIT)
    const code = status === 429 ? 'throttled' : 'server-error'
    throw new TokenUnavailableError(code, `${origin} answered ${status}`, { retryAt })
  }
  try {
    return { response, json: JSON.parse(text) }
  } catch {
    return { response }
  }
}

/** At most a megabyte of it. */
function bodyOf({ body }: Response): Promise<string> {
  let size = 0
  const limit = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      size += chunk.length
      if (size > MAX_BYTES) controller.terminate()
      else controller.enqueue(chunk)
    },
  })
  return new Response(body?.pipeThrough(limit)).text()
}

/**
 * Seconds that the server's clock is ahead of this one, as far as it can be known: by its `Date` header or, where CORS
 * hides that, by the `iat` of the ID token that it has just issued.
 */
export function clockSkew(headers: Headers, idToken: unknown): number {
  let time = Date.parse(`${headers.get('date')}`) / 1000
  try {
    time ||= Number(jwtPart(idToken, 1).iat)
  } catch {
    // whoever validates the ID token says what is wrong with it
  }
  const skew = Math.round(time - Date.now() / 1000)
  return Math.abs(skew) < 86_400 ? skew : 0
}

/** Request parameters that an error may show. */
const PLAIN = /^(grant_type|client_id|scope|resource|redirect_uri|audience)$/

/** What of a request must not be shown. */
export function secretsOf(body: URLSearchParams, headers: Headers, secret = ''): string[] {
  const credentials = `${headers.get('authorization')}`.replace(/.* /, '')
  const values = [...body].map(([name, value]) => (PLAIN.test(name) ? '' : value))
  return [secret, credentials, ...values].filter(({ length }) => length > 3)
}

/** As much of a text from outside as a message shows, in one line, without characters that turn it around. */
export function printable(text: string): string {
  return text.slice(0, 300).replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_C}]/gu, ' ')
}

/** An error response (RFC 6749 section 5.2), without texts that hold a secret, be it encoded. */
export function refusal(
  error: string,
  description: unknown,
  status: number,
  secrets: string[],
): AuthorizationServerError {
  const shown = (text: string) => {
    const seen = text + new URLSearchParams(`=${text.replaceAll('&', '%26')}`).get('')
    return secrets.some((secret) => seen.includes(secret)) ? undefined : printable(text)
  }
  const isOfClient = error === 'invalid_client'
  const isOfGrant = error === 'invalid_grant'
  const answer = {
    error: isOfClient || isOfGrant ? error : (shown(error) ?? '(not shown)'),
    errorDescription: typeof description === 'string' ? shown(description) : undefined,
    status,
  }
  const fix = isOfGrant ? undefined : 'Check clientId, clientSecret, scope and what the server allows.'
  return new AuthorizationServerError(isOfClient ? 'client-refused' : 'request-refused', answer, { fix })
}
