import type { AccessTokenClaims } from './access-rules.ts'

/**
 * How the access tokens of a server stray from RFC 9068, where they are JWTs. What is not named here is checked as ever:
 * signature, `iss`, `exp`, `iat`, `nbf`, `sub`, and what binds the token to a key.
 */
export interface AccessTokenProfile {
  /** For messages. */
  readonly name: string
  /** What `typ` in the header may be, in lower case and without `application/`; `undefined`: it may be missing. RFC 9068: `at+jwt`. */
  readonly types: readonly (string | undefined)[]
  /** The claim that names the client; of several the first that is there. RFC 9068: `client_id`. */
  readonly clientId: readonly string[]
  /** The claim that holds the scopes, as text or as a list. RFC 9068: `scope`. */
  readonly scope: string
  /** The claim that has to name the API; of several the first that is there. RFC 9068: `aud`. */
  readonly audience: readonly string[]
  /** Claims that have to be there besides. RFC 9068: `jti`. */
  readonly required: readonly string[]
  /**
   * Whether it is an access token and nothing else of the server's, such as an ID token, where `typ` does not tell. RFC
   * 9068: `typ` tells.
   */
  readonly isAccessToken?: ((claims: AccessTokenClaims) => boolean) | undefined
}

/** RFC 9068 section 2. */
export const RFC_9068: AccessTokenProfile = {
  name: 'RFC 9068',
  types: ['at+jwt'],
  clientId: ['client_id'],
  scope: 'scope',
  audience: ['aud'],
  required: ['jti'],
}

/** The first of these claims that is there. */
function firstOf(claims: AccessTokenClaims, names: readonly string[]): unknown {
  const name = names.find((each) => claims[each] !== undefined)
  return name && claims[name]
}

/** What is wrong with the claims of a token whose signature is good, by its profile; undefined: nothing. */
export function problemWith(
  profile: AccessTokenProfile,
  typ: unknown,
  claims: AccessTokenClaims,
  audiences: readonly string[],
): string | undefined {
  if (!isOneOf(profile.types, typ)) return 'its typ is another'
  // That they are right where they are there, jose has seen.
  if (claims.exp === undefined || claims.iat === undefined) return 'it has no end, or no beginning'
  if (!isText(claims.sub)) return 'it names nobody'
  if (!isText(firstOf(claims, profile.clientId))) return 'it names no client'
  if (!profile.required.every((name) => isText(claims[name]))) return 'a claim is missing'
  const audience = firstOf(claims, profile.audience)
  const isOurs = (name: unknown) => typeof name === 'string' && audiences.includes(name)
  if (!(Array.isArray(audience) ? audience.some(isOurs) : isOurs(audience))) return 'its aud is another'
  if (profile.isAccessToken && !profile.isAccessToken(claims)) return `it is no access token of ${profile.name}`
  return undefined
}

function isOneOf(types: AccessTokenProfile['types'], typ: unknown): boolean {
  if (typ !== undefined && typeof typ !== 'string') return false
  return types.includes(typ) || types.includes(typ?.toLowerCase().replace(/^application\//, ''))
}

/** The claims with `client_id` and `scope` as RFC 9068 names them, whatever the server's claims of these names say. */
export function normalized(profile: AccessTokenProfile, claims: AccessTokenClaims): AccessTokenClaims {
  if (profile === RFC_9068) return claims
  const scopes = claims[profile.scope]
  const scope = Array.isArray(scopes) ? scopes.filter((each) => /^\S+$/.test(each)).join(' ') : scopes
  const { scope: _, ...others } = claims
  const clientId = String(firstOf(claims, profile.clientId))
  return { ...others, client_id: clientId, ...(typeof scope === 'string' && { scope }) }
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}
