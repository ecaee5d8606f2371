import { isSendable } from './session-record.ts'

const DEFAULT_LIFETIME = 300
const MAX_LIFETIME = 365 * 86_400

/** Seconds that a token lives, from whatever `expires_in` a server sends: never for ever, never a request per call. */
export function lifetimeOf(expiresIn: unknown): number {
  const seconds = /^(number|string)$/.test(typeof expiresIn) ? Number(expiresIn) : 0
  return seconds > 0 ? Math.min(Math.max(seconds, 1), MAX_LIFETIME) : DEFAULT_LIFETIME
}

/** When the refresh token of an answer ends, where that is told; Keycloak says 0 of one that does not. */
export function refreshTokenExpiresAt(
  json: Record<string, unknown> | null | undefined,
  now: number,
): number | undefined {
  const seconds = Number(json?.refresh_expires_in ?? json?.refresh_token_expires_in)
  return seconds > 0 && seconds < MAX_LIFETIME ? now + seconds * 1000 : undefined
}

const TEXTS = /^((access|refresh|id)_token|(issued_|)token_type)$/

/** The members that are read, in the form that RFC 6749 section 5.1 gives them; all others stay behind. */
export function normalizedTokenResponse(json: Record<string, unknown>): Record<string, unknown> {
  const texts = Object.entries(json).filter(([name, value]) => TEXTS.test(name) && isSendable(value))
  const scopes = [json.scope].flat().filter((scope) => typeof scope === 'string') // some servers send a list
  return { ...Object.fromEntries(texts), scope: scopes.join(' ') }
}
