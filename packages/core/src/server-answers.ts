import { AuthorizationServerError, type OAuthErrorCode, TokenUnavailableError } from './errors.ts'

/** The answer of an endpoint, read whole and believed in nothing yet. */
export interface EndpointAnswer {
  status: number
  headers: Headers
  /** Its JSON; undefined where the body is something else. */
  json?: Record<string, unknown> | null | undefined
  /** Where a redirect that was followed arrived. */
  finalUrl: string
}

const MAX_BYTES = 1_000_000

/** Sends a request and reads its answer; an outage is thrown as a `TokenUnavailableError`. */
export async function answerOf(send: typeof fetch, { href, origin }: URL, init: RequestInit): Promise<EndpointAnswer> {
  let response: Response
  let text: string
  try {
    response = await send(href, init)
    text = await bodyOf(response)
  } catch (thrown) {
    // The message of a fetch may hold the request: a code, such as ECONNREFUSED, does not.
    const cause = new Error('fetch failed', { cause: thrown instanceof Error ? (thrown.cause ?? thrown) : undefined })
    const fix = 'Check the address and the network; in a browser, also that the server allows this origin (CORS).'
    throw new TokenUnavailableError('network', `No answer from ${origin}`, { cause, fix })
  }
  const { status, headers, url: finalUrl } = response
  if (status === 429 || status === 408 || status >= 500) {
    const wait = headers.get('retry-after') // seconds, or a date (RFC 9110 section 10.2.3)
    const retryAt = Date.now() + Number(wait) * 1000 || Date.parse(`${wait}`) || undefined
    const code = status === 429 ? 'throttled' : 'server-error'
    throw new TokenUnavailableError(code, `${origin} answered ${status}`, { retryAt })
  }
  try {
    return { status, headers, finalUrl, json: JSON.parse(text) }
  } catch {
    return { status, headers, finalUrl }
  }
}

/** At most a megabyte of it. */
function bodyOf({ body }: Response): Promise<string> {
  let size = 0
  const limit = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      size += chunk.byteLength
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
  const now = Date.now() / 1000
  let time = Date.parse(`${headers.get('date')}`) / 1000
  try {
    time ||= JSON.parse(atob(`${idToken}`.split('.')[1]?.replace(/-/g, '+').replace(/_/g, '/') ?? '')).iat
  } catch {
    // whoever validates the ID token says what is wrong with it
  }
  const skew = Math.round(time - now)
  return Math.abs(skew) < 86_400 ? skew : 0
}

/** Request parameters that an error may show. */
const PLAIN = /^(grant_type|client_id|scope|resource|redirect_uri|audience)$/

/** What of a request must not be shown. */
export function secretsOf(body: URLSearchParams, headers: Headers, secret?: string): (string | undefined)[] {
  const values = [...body].map(([name, value]) => (PLAIN.test(name) ? undefined : value))
  return [secret, headers.get('authorization')?.split(' ')[1], ...values]
}

/** An error response (RFC 6749 section 5.2), without texts that hold a secret, be it encoded. */
export function refusal(
  error: string,
  description: unknown,
  status: number,
  secrets: (string | undefined)[],
): AuthorizationServerError {
  const shown = (text: string) => {
    const seen = text + new URLSearchParams(`=${text.replaceAll('&', '%26')}`).get('')
    const isShown = (secret = '') => secret.length > 3 && seen.includes(secret)
    return secrets.some((secret) => isShown(secret)) ? undefined : text.slice(0, 300)
  }
  const [code, fix]: [OAuthErrorCode, string?] =
    error === 'invalid_client'
      ? ['client-refused', 'Check clientId, clientSecret and clientAuthentication.']
      : error === 'invalid_grant'
        ? ['credentials-refused']
        : ['request-refused', 'Check scope, resource and what the server lets this client do.']
  const answer = {
    error: code === 'request-refused' ? (shown(error) ?? 'an error that holds a secret') : error,
    errorDescription: typeof description === 'string' ? shown(description) : undefined,
    status,
  }
  return new AuthorizationServerError(code, answer, { fix })
}
