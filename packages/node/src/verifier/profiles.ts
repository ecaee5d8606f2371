import type { AccessTokenClaims } from './access-rules.ts'
import type { AccessTokenProfile } from './access-token-profile.ts'

/**
 * Auth0's own access tokens, which it issues unless an API is set to RFC 9068: `typ` is `JWT`, `azp` names the client,
 * and there is no `jti`. An ID token is told by its `aud`, which is its client, and by what only ID tokens have.
 */
export function auth0(): AccessTokenProfile {
  return {
    name: 'Auth0',
    types: ['jwt'],
    clientId: ['azp'],
    scope: 'scope',
    audience: ['aud'],
    required: [],
    isAccessToken: (claims) => !isForItsClient(claims, 'azp') && !hasClaimsOfIdTokens(claims),
  }
}

/**
 * Microsoft Entra ID, for both versions of its access tokens: `typ` is `JWT`, `azp` (version 2.0) or `appid` (1.0) names
 * the client, `scp` holds the scopes, there is no `jti`. The app's own token may be for the app itself, so that `aud`
 * tells no ID token; that one names no client, and has neither scopes nor the roles of one.
 */
export function entraId(): AccessTokenProfile {
  return {
    name: 'Entra ID',
    types: ['jwt'],
    clientId: ['azp', 'appid'],
    scope: 'scp',
    audience: ['aud'],
    required: ['ver'],
    isAccessToken: (claims) => {
      const { ver, azp, appid, scp, roles, idtyp } = claims
      const namesClient = (ver === '2.0' && isText(azp)) || (ver === '1.0' && isText(appid))
      const isGranted = isText(scp) || (Array.isArray(roles) && roles.length > 0) || idtyp === 'app'
      return namesClient && isGranted && !hasClaimsOfIdTokens(claims)
    },
  }
}

/**
 * Amazon Cognito: no `typ`, and no `aud` unless the client asked for a resource; else `audience` has to name the app
 * client, which is in `client_id`. `token_use` tells an access token.
 */
export function cognito(): AccessTokenProfile {
  return {
    name: 'Cognito',
    types: [undefined],
    clientId: ['client_id'],
    scope: 'scope',
    audience: ['aud', 'client_id'],
    required: ['jti'],
    isAccessToken: (claims) => claims.token_use === 'access' && !hasClaimsOfIdTokens(claims),
  }
}

/**
 * Okta's custom authorization servers (those of its org server are not for others to verify): no `typ`, `cid` names the
 * client, `scp` is a list. An ID token has neither, and its `aud` is its client.
 */
export function okta(): AccessTokenProfile {
  return {
    name: 'Okta',
    types: [undefined],
    clientId: ['cid'],
    scope: 'scp',
    audience: ['aud'],
    required: ['jti'],
    isAccessToken: (claims) =>
      Array.isArray(claims.scp) && !isForItsClient(claims, 'cid') && !hasClaimsOfIdTokens(claims),
  }
}

/**
 * Keycloak: `typ` in the header is `JWT` unless the client is set to `at+jwt`, `azp` names the client. A claim `typ` tells
 * an access token (`Bearer`, `DPoP`) from an ID token (`ID`) and others. `aud` names the API where a mapper puts it there.
 */
export function keycloak(): AccessTokenProfile {
  return {
    name: 'Keycloak',
    types: ['jwt', 'at+jwt'],
    clientId: ['azp'],
    scope: 'scope',
    audience: ['aud'],
    required: ['jti'],
    isAccessToken: ({ typ, at_hash: hash }) => (typ === 'Bearer' || typ === 'DPoP') && hash === undefined,
  }
}

/** OpenID Connect Core sections 2 and 3.3.2.11: no access token of these servers has them. */
function hasClaimsOfIdTokens(claims: AccessTokenClaims): boolean {
  return ['nonce', 'at_hash', 'c_hash'].some((name) => claims[name] !== undefined)
}

function isForItsClient({ aud, ...claims }: AccessTokenClaims, client: string): boolean {
  return [aud].flat().includes(claims[client])
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && value !== ''
}
