import type { Init } from './discovery.ts'
import { AuthorizationServerError, OAuthError, TokenUnavailableError } from './errors.ts'
import { secureUrl } from './secure-url.ts'
import { type EndpointAnswer, readAnswer } from './token-response.ts'

/** Request parameters that an error may show. */
const PLAIN = ['grant_type', 'client_id', 'scope', 'resource', 'redirect_uri', 'token_type_hint', 'audience']

const FIXES = new Map([
  ['invalid_scope', 'Ask for scopes that the client may have.'],
  ['invalid_target', 'Check resource: the server does not know it, or does not grant it.'],
  ['unauthorized_client', 'Allow this grant for the client at the server.'],
  ['unsupported_grant_type', 'Allow this grant at the server.'],
])

/** Sends a request to an endpoint and reads its answer; what is no answer of an OAuth endpoint is thrown. */
export async function answerOf(
  options: { fetch?: typeof fetch | undefined; allowInsecureRequests?: boolean | undefined },
  url: string,
  init: Init,
  redacted: (text: string) => string = String,
): Promise<EndpointAnswer> {
  const { origin } = secureUrl(url, options.allowInsecureRequests)
  let answer: EndpointAnswer
  try {
    answer = await readAnswer(await (options.fetch ?? fetch)(url, init as RequestInit))
  } catch (cause) {
    if (cause instanceof OAuthError) throw cause
    const fix = 'Check the address and the network; in a browser, also that the server allows this origin (CORS).'
    throw new TokenUnavailableError('network', `No answer from ${origin}`, { cause: shown(cause, redacted), fix })
  }
  const { status, headers } = answer
  if (status !== 429 && status !== 408 && status < 500) return answer
  const code = status === 429 ? 'throttled' : 'server-error'
  throw new TokenUnavailableError(code, `${origin} answered ${status}`, { retryAt: retryAfter(headers) })
}

/** Messages of others may hold the request. */
function shown(cause: unknown, redacted: (text: string) => string): Error | undefined {
  if (!(cause instanceof Error)) return undefined
  return Object.assign(new Error(redacted(cause.message), { cause: cause.cause ?? cause }), { name: cause.name })
}

/** Milliseconds since the epoch that `Retry-After` names (RFC 9110 section 10.2.3). */
function retryAfter(headers: Headers): number | undefined {
  const value = headers.get('retry-after')
  if (!value) return undefined
  const at = /^\d+$/.test(value) ? Date.now() + Number(value) * 1000 : Date.parse(value)
  return Number.isNaN(at) ? undefined : at
}

/**
 * Seconds that the server's clock is ahead of this one, as far as it can be known: by its `Date` header or, where CORS
 * hides that, by the `iat` of the ID token that it has just issued.
 */
export function clockSkew(headers: Headers, idToken: unknown): number {
  const now = Date.now() / 1000
  const date = Date.parse(headers.get('date') ?? '') / 1000
  const skew = (Number.isNaN(date) ? issuedAt(idToken) : date) - now
  return Math.abs(skew) > 5 && Math.abs(skew) < 86_400 ? Math.round(skew) : 0
}

function issuedAt(idToken: unknown): number {
  try {
    return Number(JSON.parse(atob(String(idToken).split('.')[1]?.replace(/-/g, '+').replace(/_/g, '/') ?? '')).iat)
  } catch {
    return Number.NaN // whoever validates the ID token says what is wrong with it
  }
}

/** Takes out of a text whatever of a request must not be shown, however it is written there. */
export function redactor(secret: string | undefined, { body, headers }: Init): (text: string) => string {
  const values = [...new URLSearchParams(String(body ?? ''))]
    .filter(([name]) => !PLAIN.includes(name))
    .map(([, value]) => value)
  const secrets = [secret ?? '', headers.authorization?.split(' ')[1] ?? '', ...values]
  const written = secrets.flatMap((one) => [
    one,
    encodeURIComponent(one),
    new URLSearchParams([['', one]]).toString().slice(1),
  ])
  const longestFirst = written.filter((one) => one.length > 3).sort((one, other) => other.length - one.length)
  return (text) => longestFirst.reduce((kept, one) => kept.replaceAll(one, '…'), text)
}

/** What oauth4webapi throws, as an error of ours: without response bodies. */
export function translated(error: unknown): unknown {
  if (error instanceof OAuthError || !(error instanceof Error)) return error
  const { code, error: name, error_description: description, status } = error as Error & Record<string, unknown>
  if (code === 'OAUTH_MISSING_SERVER_METADATA' || code === 'OAUTH_INVALID_SERVER_METADATA') {
    const { attribute } = error.cause as { attribute: string }
    return new OAuthError('invalid-metadata', error.message, { fix: `Set metadata.${attribute}.` })
  }
  if (code !== 'OAUTH_RESPONSE_BODY_ERROR') {
    return new TokenUnavailableError('invalid-response', `The token response is not usable: ${error.message}`, {
      cause: error,
    })
  }
  const answer = {
    error: String(name).slice(0, 300),
    errorDescription: description === undefined ? undefined : String(description).slice(0, 300),
    status: Number(status),
  }
  if (name === 'invalid_client') {
    return new AuthorizationServerError('client-refused', answer, {
      fix: 'Check clientId, clientSecret and clientAuthentication.',
    })
  }
  if (name === 'invalid_grant') return new AuthorizationServerError('credentials-refused', answer)
  return new AuthorizationServerError('request-refused', answer, { fix: FIXES.get(answer.error) })
}
