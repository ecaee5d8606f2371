import { clockSkew, expectNoState, validateJwtAuthResponse } from 'oauth4webapi'
import { Client } from './client.ts'
import { confidential } from './client-authentication.ts'
import type { ClientOptions } from './client-options.ts'
import { OAuthError } from './errors.ts'
import { jwtPart } from './jwt-part.ts'
import { type KeysInUse, keySet } from './key-set.ts'
import type { ServerKeys } from './server-keys.ts'

/** Whose sessions are over: all of a person, or one. At least one of the two is there. */
export interface LoggedOut {
  readonly sub?: string | undefined
  readonly sid?: string | undefined
}

/** `end` ends the sessions; where it fails, the token may come again. */
export type LogoutTokenVerifier = (
  logoutToken: string,
  end?: (loggedOut: LoggedOut) => void | Promise<void>,
) => Promise<LoggedOut>

const EVENT = 'http://schemas.openid.net/event/backchannel-logout'
/** How many tokens are remembered, so that none is taken twice; the oldest are forgotten first. */
const MOST = 1000
/** Seconds that clocks may differ by. */
const TOLERANCE = 30

/**
 * Verifies logout tokens of one authorization server for one client (OpenID Connect Back-Channel Logout 1.0 section 2.6):
 * signature, `iss`, `aud`, `exp`, `iat`, `jti`, `events`, and that it is no ID token. Rejects with an `OAuthError`:
 * `invalid-logout-token`, or why the keys could not be had.
 */
export function logoutTokenVerifier(options: ClientOptions): LogoutTokenVerifier {
  const client = new Client(confidential(options))
  const keys = keySet(client)
  const taken = new Map<string, number>()
  return async (logoutToken, end) => {
    await keys.ready() // an outage is no fault of the token's
    const skew = keys.clockSkew(null)
    const now = Date.now() / 1000 + skew
    const { jti, exp, ...loggedOut } = await checked(client, keys, logoutToken, now).catch((cause) => {
      throw cause instanceof OAuthError ? cause : refused(cause)
    })
    for (const [old, until] of taken) if (until < now - TOLERANCE) taken.delete(old)
    if (taken.has(jti)) throw refused(new Error('it was taken before'))
    taken.set(jti, exp)
    for (const oldest of taken.keys()) {
      if (taken.size <= MOST) break
      taken.delete(oldest)
    }
    try {
      await end?.(loggedOut)
    } catch (error) {
      taken.delete(jti)
      throw error
    }
    return loggedOut
  }
}

async function checked(
  client: Client,
  keys: ServerKeys<KeysInUse>,
  logoutToken: string,
  now: number,
): Promise<LoggedOut & { jti: string; exp: number }> {
  await keys.verified(({ server, options }) => {
    const { id_token_signing_alg_values_supported: algorithms = ['RS256'] } = server
    const as = { ...server, authorization_signing_alg_values_supported: algorithms }
    const who = { client_id: client.clientId, [clockSkew]: Math.round(now - Date.now() / 1000) }
    // What has to be so of a signed authorization response is the same: alg, key, signature, iss, aud and exp.
    return validateJwtAuthResponse(as, who, new URLSearchParams({ response: logoutToken }), expectNoState, options)
  })
  const { typ } = jwtPart(logoutToken, 0)
  const { jti, iat, exp, events, sub, sid, ...rest } = jwtPart(logoutToken, 1)
  const isOptionalText = (value: unknown) => value === undefined || isText(value)
  if (typ !== undefined && !/^(application\/)?(logout\+)?jwt$/i.test(String(typ))) throw new Error('its typ is another')
  if (!isText(jti) || typeof exp !== 'number') throw new Error('it has no jti')
  if (typeof iat !== 'number' || iat > now + TOLERANCE) throw new Error('its iat is missing or to come')
  const event = Object.entries(Object(events)).find(([name]) => name === EVENT)?.[1]
  if (typeof event !== 'object' || event === null) throw new Error('it is no logout event')
  if ('nonce' in rest) throw new Error('it has a nonce')
  if (!isOptionalText(sub) || !isOptionalText(sid) || !(sub || sid)) throw new Error('it names nobody')
  return { jti, exp, ...(isText(sub) && { sub }), ...(isText(sid) && { sid }) }
}

function refused(cause: unknown): OAuthError {
  const why = cause instanceof Error ? cause.message : 'unknown'
  return new OAuthError('invalid-logout-token', `The logout token is refused: ${why}`, { cause })
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}
