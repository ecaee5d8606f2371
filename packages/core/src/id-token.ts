import { getValidatedIdTokenClaims, type TokenEndpointResponse } from 'oauth4webapi'
import { base64url } from './base64url.ts'
import { OAuthError, TokenUnavailableError } from './errors.ts'
import { jwtPart } from './jwt-part.ts'
import { ours } from './renewal-errors.ts'
import type { StandardSchemaV1 } from './standard-schema.ts'
import type { Claims, Issued } from './token-set.ts'

/** The session that a refresh is for: its answer is of the same person (OpenID Connect Core section 12.2). */
export interface RefreshedSession {
  readonly claims?: Claims | undefined
  warn(message: string): void
}

/**
 * Whom the ID token of a validated answer is about; `check` gives what the app reads besides. At a refresh, what merely
 * cannot be checked or is not what the app wants is left out: the tokens beside it are good, and the refresh token that
 * was sent for them is spent.
 */
export async function identityIn(
  answer: TokenEndpointResponse,
  clientId: string,
  refreshed: RefreshedSession | undefined,
  check: (claims: Claims) => Promise<object | undefined>,
): Promise<Pick<Issued, 'idToken' | 'claims'>> {
  const claims = getValidatedIdTokenClaims(answer)
  if (!claims) return {}
  if (claims.azp !== undefined && claims.azp !== clientId) throw new Error('its ID token is for another client')
  if (claims.at_hash !== undefined && (await hashOf(answer)) !== claims.at_hash) {
    throw new Error('its ID token is of another access token')
  }
  if (refreshed?.claims && refreshed.claims.sub !== claims.sub) throw new Error('its ID token is of another user')
  // Which session it is, an ID token of a refresh may leave out; front-channel logout asks for it later.
  const sid = claims.sid ?? refreshed?.claims?.sid
  try {
    // Who it is stays the server's word: a refresh, and UserInfo, are compared with it.
    return {
      idToken: answer.id_token,
      claims: { ...claims, ...(sid ? { sid } : {}), ...(await check(claims)), sub: claims.sub },
    }
  } catch (error) {
    if (!refreshed || !(error instanceof OAuthError)) throw error
    refreshed.warn(`The ID token of a refresh is left out: ${error.message}`)
    return {}
  }
}

/** What `at_hash` has to be (OpenID Connect Core section 3.1.3.6). */
async function hashOf({ access_token, id_token }: TokenEndpointResponse): Promise<string> {
  const bits = /256$|384$/.exec(`${jwtPart(id_token, 0).alg}`) ?? 512 // EdDSA hashes with SHA-512 too (RFC 8032 section 5.1)
  const hash = await crypto.subtle.digest(`SHA-${bits}`, new TextEncoder().encode(access_token))
  return base64url(new Uint8Array(hash, 0, hash.byteLength / 2))
}

/** What the app's validator makes of the claims. */
export async function accepted(claims: Claims, schema: StandardSchemaV1<unknown, object> | undefined): Promise<object> {
  try {
    const checked = await schema?.['~standard'].validate(claims)
    if (!checked?.issues) {
      JSON.stringify(checked) // throws for what would be damage in the record: a big integer, a circle
      return checked?.value ?? {}
    }
    throw new TokenUnavailableError('invalid-response', `Claims are refused: ${checked.issues[0]?.message}`, {
      fix: 'Check the option claims, and which scopes give these claims.',
    })
  } catch (error) {
    throw ours(error)
  }
}
