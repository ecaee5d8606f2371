import { OAuthError } from '@keyturn/core'

/** What a server answered, as much of it as is looked at. */
export interface Answer {
  readonly status: number
  readonly headers: Headers
  /** The beginning of the body. */
  readonly text: string
}

/** As many as the library reads. */
const MOST_CHARACTERS = 1_000_000

/**
 * One request without credentials, whose redirects are not followed. Rejects with an `OAuthError` where no answer comes
 * within `timeout` milliseconds, the body included.
 */
export async function ask(send: typeof fetch, url: URL, init: RequestInit, timeout: number): Promise<Answer> {
  const signal = AbortSignal.timeout(timeout)
  try {
    const response = await send(url.href, { ...init, redirect: 'manual', signal })
    return { status: response.status, headers: response.headers, text: await beginningOf(response) }
  } catch (cause) {
    if (signal.aborted) throw new OAuthError('timeout', `${url.origin} gave no answer within ${timeout} ms`)
    throw new OAuthError('network', `No answer from ${url.origin} (${codeOf(cause)})`)
  }
}

/** The code of what went wrong, such as `ECONNREFUSED`: messages may hold the request. */
function codeOf(thrown: unknown): string {
  const { code, name } = Object(Object(thrown).cause ?? thrown)
  return String(code ?? name ?? 'no reason given')
}

async function beginningOf({ body }: Response): Promise<string> {
  if (!body) return ''
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of body) {
    text += decoder.decode(chunk, { stream: true })
    if (text.length >= MOST_CHARACTERS) break // which cancels the rest
  }
  return text.slice(0, MOST_CHARACTERS)
}

/** Whether the server, or what stands before it, could not attend to the request: that is no answer to it. */
export function isUnavailable({ status }: Answer): boolean {
  return status >= 500 || status === 429 || status === 408
}

/** An answer's body where it is a JSON object. */
export function objectIn({ text }: Answer): Record<string, unknown> | undefined {
  try {
    const json: unknown = JSON.parse(text)
    return typeof json === 'object' && json !== null && !Array.isArray(json) ? { ...json } : undefined
  } catch {
    return undefined
  }
}

/** Where a server's metadata are: OpenID Connect Discovery section 4, RFC 8414 section 3. */
export function wellKnownOf(issuer: string): [URL, URL] {
  const { origin, pathname } = new URL(issuer)
  const path = pathname.replace(/\/$/, '')
  return [
    new URL(`${origin}${path}/.well-known/openid-configuration`),
    new URL(`${origin}/.well-known/oauth-authorization-server${path}`),
  ]
}
