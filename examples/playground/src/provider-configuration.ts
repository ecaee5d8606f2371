import { generateKeyPairSync, randomBytes } from 'node:crypto'
import type { Configuration, JWKS, KoaContextWithOIDC, ResourceServer } from 'oidc-provider'
import { errors } from 'oidc-provider'
import { findAccount } from './accounts.ts'
import { registeredClients } from './clients.ts'
import { devicePages, errorPage, logoutPages } from './login-pages.ts'
import type { Memory } from './memory-adapter.ts'
import { signInClaims, signInPolicy, TWO_FACTORS } from './sign-in-strength.ts'

/** A protected resource (RFC 8707) and the scopes that it knows. */
export interface Api {
  resource: string
  scopes: string[]
  /** What its tokens are: JWTs (RFC 9068), the default, or nothing that can be read. */
  accessTokenFormat?: 'jwt' | 'opaque'
}

/** The scopes that say who the user is; a request for nothing else gets a token for the UserInfo endpoint. */
export const identityScopes: string[] = ['openid', 'profile', 'email', 'offline_access']

/** What the provider has to know in order to issue access tokens for an API. */
export function resourceServer(api: Api, accessTokenTTL: number): ResourceServer {
  const { resource, scopes, accessTokenFormat = 'jwt' } = api
  return {
    scope: scopes.join(' '),
    audience: resource,
    accessTokenTTL,
    accessTokenFormat,
    jwt: { sign: { alg: 'ES256' } },
  }
}

export interface ProviderOptions {
  apis: Api[]
  accessTokenTTL: () => number
  refreshTokenTTL: number
  redirectUris: string[]
  spaOrigins: string[]
  dpopNonce: boolean
  webKeys: JWKS['keys']
  backChannelLogoutUri?: string | undefined
  memory: Memory
}

/** oidc-provider with short lives, strict rotation and no page that fetches anything from elsewhere. */
export function providerConfiguration(options: ProviderOptions): Configuration {
  const { apis, accessTokenTTL, refreshTokenTTL, redirectUris, spaOrigins, dpopNonce, webKeys, memory } = options
  const resources = apis.map((api) => api.resource)

  function asksOnlyForIdentity(ctx: KoaContextWithOIDC): boolean {
    const scope = ctx.oidc.params?.scope
    return typeof scope === 'string' && scope.split(' ').every((name) => identityScopes.includes(name))
  }

  return {
    adapter: memory.adapter,
    // Without the dispatcher that keeps it from addresses of this machine, where everything lives here.
    fetch: (url, options) => fetch(url, Object.assign({}, options, { dispatcher: undefined })),
    jwks: { keys: [signingKey()] },
    // RS256, the default, needs an RSA key, and that is a slow start for every test file.
    clientDefaults: {
      id_token_signed_response_alg: 'ES256',
      authorization_signed_response_alg: 'ES256',
      authorization_details_types: ['payment'],
    },
    cookies: { keys: [randomBytes(32).toString('hex')] },
    clients: registeredClients(spaOrigins, redirectUris, webKeys, options.backChannelLogoutUri),
    findAccount,
    scopes: [...new Set([...identityScopes, ...apis.flatMap((api) => api.scopes)])],
    claims: { openid: ['sub'], profile: ['name', 'preferred_username'], email: ['email', 'email_verified'] },
    responseTypes: ['code'],
    pkce: { required: () => true },
    clockTolerance: 0,
    clientBasedCORS: (_ctx, origin) => spaOrigins.includes(origin),
    issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: () => true,
    expiresWithSession: () => false,
    acrValues: [TWO_FACTORS],
    extraTokenClaims: signInClaims,
    interactions: { policy: signInPolicy(), url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    renderError: errorPage,
    ttl: {
      AccessToken: accessTokenTTL,
      ClientCredentials: accessTokenTTL,
      RefreshToken: refreshTokenTTL,
      AuthorizationCode: 60,
      DeviceCode: 600,
      IdToken: 300,
      Grant: 24 * 3600,
      Interaction: 600,
      Session: 24 * 3600,
    },
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true, ...devicePages },
      dPoP: { enabled: true, ...(dpopNonce && { nonceSecret: randomBytes(32), requireNonce: () => true }) },
      introspection: {
        enabled: true,
        allowedPolicy: (_ctx, client, token) =>
          client.clientAuthMethod !== 'none' || token.clientId === client.clientId,
      },
      jwtResponseModes: { enabled: true },
      pushedAuthorizationRequests: { enabled: true },
      requestObjects: { enabled: true },
      richAuthorizationRequests: {
        enabled: true,
        types: { payment: { validate() {} } },
        authorizationDetailsForGrantSource: askedDetails,
        authorizationDetailsForAccessToken: (ctx, _token, source) => askedDetails(ctx) ?? source?.rar,
        authorizationDetailsForIntrospection: (_ctx, token) => token.rar,
      },
      revocation: { enabled: true, allowedPolicy: (_ctx, client, token) => token.clientId === client.clientId },
      rpInitiatedLogout: { enabled: true, ...logoutPages },
      resourceIndicators: {
        enabled: true,
        // The grant covers all APIs unless the client asks for fewer; an access token has the first of them.
        defaultResource(ctx, _client, oneOf) {
          if (oneOf) return resources.find((resource) => oneOf.includes(resource))
          if (asksOnlyForIdentity(ctx)) return undefined
          return ctx.oidc.route === 'token' ? resources[0] : resources
        },
        useGrantedResource: (ctx) => !asksOnlyForIdentity(ctx),
        getResourceServerInfo(_ctx, resource) {
          const api = apis.find((api) => api.resource === resource)
          if (!api) throw new errors.InvalidTarget()
          return resourceServer(api, accessTokenTTL())
        },
      },
    },
  }
}

function signingKey() {
  const jwk = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' })
  return { ...jwk, kty: 'EC' as const, use: 'sig' as const, alg: 'ES256' as const, kid: randomBytes(4).toString('hex') }
}

/** Whoever asks for authorization details gets them (RFC 9396). */
function askedDetails(ctx: KoaContextWithOIDC) {
  const asked = ctx.oidc.params?.authorization_details
  return typeof asked === 'string' ? JSON.parse(asked) : undefined
}
