/** The answer of an endpoint, read whole and believed in nothing yet. */
export interface EndpointAnswer {
  status: number
  headers: Headers
  /** Its JSON object; undefined where the body is something else. */
  json?: Record<string, unknown> | undefined
  /** Where a redirect that was followed arrived. */
  finalUrl: string
}

const MAX_BYTES = 1_000_000
const DEFAULT_LIFETIME = 300
const MAX_LIFETIME = 365 * 86_400

/** Reads a response, at most a megabyte of it. */
export async function readAnswer(response: Response): Promise<EndpointAnswer> {
  const { status, headers, url: finalUrl } = response
  const unreadable = { status, headers, finalUrl }
  let text = ''
  if (response.body) {
    const decoder = new TextDecoder()
    let size = 0
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read()
      if (done) break
      size += value.byteLength
      if (size > MAX_BYTES) {
        await reader.cancel()
        return unreadable
      }
      text += decoder.decode(value, { stream: true })
    }
  }
  try {
    const json: unknown = JSON.parse(text)
    if (typeof json === 'object' && json !== null && !Array.isArray(json)) return { ...unreadable, json: { ...json } }
    return unreadable
  } catch {
    return unreadable
  }
}

/** Seconds that a token lives, from whatever `expires_in` a server sends: never for ever, never a request per call. */
export function lifetimeOf(expiresIn: unknown): number {
  const seconds = typeof expiresIn === 'string' && expiresIn.trim() ? Number(expiresIn) : expiresIn
  if (typeof seconds !== 'number' || !(seconds > 0)) return DEFAULT_LIFETIME
  return Math.min(Math.max(seconds, 1), MAX_LIFETIME)
}

/** Error codes that are as they are, even if a secret reads like one. */
const ERRORS = ['invalid_request', 'invalid_client', 'invalid_grant', 'invalid_scope', 'unauthorized_client']

/** Whether it is a token that a header can carry. */
export function isSendable(token: unknown): token is string {
  return typeof token === 'string' && /^[\x21-\x7e]+$/.test(token)
}

/** The members that the SDK reads, in the form that RFC 6749 section 5.1 gives them; all others stay behind. */
export function normalizedTokenResponse(
  json: Record<string, unknown>,
  redacted: (text: string) => string,
): Record<string, unknown> {
  const result: Record<string, unknown> = { expires_in: lifetimeOf(json.expires_in) }
  for (const name of [
    'access_token',
    'token_type',
    'refresh_token',
    'scope',
    'id_token',
    'error',
    'error_description',
  ]) {
    const value = json[name]
    if (typeof value === 'string' && value !== '') result[name] = value
  }
  if (result.error_description) result.error_description = redacted(String(result.error_description))
  if (!ERRORS.includes(String(result.error ?? ERRORS[0]))) result.error = redacted(String(result.error))
  if (!isSendable(result.access_token)) delete result.access_token
  if (Array.isArray(json.scope)) result.scope = json.scope.join(' ')
  return result
}
