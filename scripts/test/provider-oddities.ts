import type { CryptoKey } from 'jose'
import { ProviderImitation, type Refusal } from './provider-imitation.ts'

const CLIENT = '66666666-7777-8888-9999-000000000000'
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'

const scopesOf = (parameters: URLSearchParams) => parameters.get('scope')?.split(' ') ?? []
const asksOffline = (login: URLSearchParams) => scopesOf(login).includes('offline_access')
const refused = (error: string, error_description: string, more: object = {}): Refusal => ({
  error,
  error_description,
  ...more,
})
/** A subject token or an assertion that is not one of those that the tests call good. */
const isForeign = (token: string | null) => !/^token-of-/.test(token ?? '')

export function auth0(): ProviderImitation {
  const audiences = ['https://orders.example.com/', 'urn:invoices']
  return new ProviderImitation({
    issuer: 'https://my-tenant.eu.auth0.com/',
    metadata: {
      token_endpoint: 'https://my-tenant.eu.auth0.com/oauth/token',
      authorization_endpoint: 'https://my-tenant.eu.auth0.com/authorize',
      revocation_endpoint: 'https://my-tenant.eu.auth0.com/oauth/revoke',
      end_session_endpoint: 'https://my-tenant.eu.auth0.com/oidc/logout',
    },
    publicClients: ['page'],
    rotates: true,
    givesRefreshToken: asksOffline,
    refusesLogin: (login) => (audiences.includes(login.get('audience') ?? '') ? undefined : 'access_denied'),
    refuses({ body, grantType }) {
      if (grantType !== 'client_credentials' || audiences.includes(body.get('audience') ?? '')) return undefined
      return refused('access_denied', 'Service not found', { status: 403 })
    },
    answers: (answer) => ({ ...answer, expires_in: 86_400 }),
  })
}

export function entra(key: CryptoKey): ProviderImitation {
  const tenant = 'https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555'
  const ids = { error_codes: [70011], timestamp: '2026-01-01 00:00:00Z', trace_id: '1', correlation_id: '2' }
  return new ProviderImitation({
    issuer: `${tenant}/v2.0`,
    metadata: {
      token_endpoint: `${tenant}/oauth2/v2.0/token`,
      authorization_endpoint: `${tenant}/oauth2/v2.0/authorize`,
      end_session_endpoint: `${tenant}/oauth2/v2.0/logout`,
    },
    keys: { [CLIENT]: key },
    publicClients: [CLIENT],
    rotates: true,
    givesRefreshToken: asksOffline,
    refuses({ body, grantType, login }) {
      if (body.has('resource')) return refused('invalid_request', 'AADSTS901002: resource is not supported', ids)
      const scopes = scopesOf(body)
      if (grantType === JWT_BEARER) {
        if (body.get('requested_token_use') !== 'on_behalf_of') return refused('invalid_request', 'AADSTS900144', ids)
        return isForeign(body.get('assertion')) ? refused('invalid_grant', 'AADSTS500133: expired', ids) : undefined
      }
      if (grantType === 'client_credentials') {
        const isOne = scopes.length === 1 && scopes[0]?.endsWith('/.default')
        return isOne ? undefined : refused('invalid_scope', 'AADSTS1002012: the scope is not valid', ids)
      }
      const apis = (scopes.length > 0 ? scopes : scopesOf(login)).filter((scope) => scope.includes('://'))
      const hosts = new Set(apis.map((scope) => new URL(scope).host))
      return hosts.size > 1 ? refused('invalid_grant', 'AADSTS28000: more than one resource', ids) : undefined
    },
    answers(answer, { grantType }) {
      const odd = { ...answer, ext_expires_in: 3599 }
      if (grantType === 'client_credentials') return { ...odd, expires_in: '3599', scope: undefined }
      return { ...odd, scope: `${answer.scope ?? ''}`.split(' ').reverse().join(' ') }
    },
  })
}

export function okta(key: CryptoKey): ProviderImitation {
  const issuer = 'https://my-org.okta.com/oauth2/default'
  return new ProviderImitation({
    issuer,
    metadata: { token_endpoint: `${issuer}/v1/token` },
    keys: { worker: key },
    refuses({ body }) {
      const known = ['orders:read', 'invoices:read']
      const scopes = scopesOf(body)
      if (scopes.length === 0 || !scopes.every((scope) => known.includes(scope))) {
        return refused('invalid_scope', 'One or more scopes are not configured for the authorization server resource.')
      }
      const isExchange = body.has('subject_token')
      if (isExchange && body.get('audience') !== 'api://invoices') return refused('invalid_target', 'audience')
      return isExchange && isForeign(body.get('subject_token')) ? refused('invalid_request', 'token') : undefined
    },
  })
}

export function keycloak(): ProviderImitation {
  const issuer = 'https://id.example.com/realms/shop'
  const protocol = `${issuer}/protocol/openid-connect`
  return new ProviderImitation({
    issuer,
    metadata: {
      token_endpoint: `${protocol}/token`,
      authorization_endpoint: `${protocol}/auth`,
      revocation_endpoint: `${protocol}/revoke`,
      end_session_endpoint: `${protocol}/logout`,
    },
    publicClients: ['page'],
    rotates: true,
    givesRefreshToken: () => true,
    refuses: ({ body }) =>
      body.has('subject_token') && isForeign(body.get('subject_token'))
        ? refused('invalid_request', 'Invalid token')
        : undefined,
    answers: (answer) => ({
      ...answer,
      refresh_expires_in: answer.refresh_token ? 1800 : 0,
      'not-before-policy': 0,
      session_state: '287f3c57-32b8-4c0f-8b00-8c7db231d701',
      scope: `email ${answer.scope ?? ''} profile`.replace('  ', ' '),
    }),
  })
}

export function cognito(): ProviderImitation {
  const domain = 'https://shop.auth.eu-central-1.amazoncognito.com'
  const noOffline = (parameters: URLSearchParams) => (asksOffline(parameters) ? 'invalid_scope' : undefined)
  return new ProviderImitation({
    issuer: 'https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI',
    metadata: {
      token_endpoint: `${domain}/oauth2/token`,
      authorization_endpoint: `${domain}/oauth2/authorize`,
      revocation_endpoint: `${domain}/oauth2/revoke`,
    },
    publicClients: ['page'],
    givesRefreshToken: () => true,
    refusesLogin: noOffline,
    answers: (answer) => ({ ...answer, scope: undefined }),
    revokes: (body) => (body.get('token')?.startsWith('refresh-') ? undefined : { error: 'unsupported_token_type' }),
  })
}

export function google(key: CryptoKey): ProviderImitation {
  return new ProviderImitation({
    issuer: 'https://accounts.google.com',
    metadata: {
      token_endpoint: 'https://oauth2.googleapis.com/token',
      authorization_endpoint: 'https://accounts.google.com/o/oauth2/v2/auth',
      revocation_endpoint: 'https://oauth2.googleapis.com/revoke',
    },
    keys: { 'robot@p.iam.gserviceaccount.com': key },
    refusesLogin: (login) => (asksOffline(login) ? 'invalid_scope' : undefined),
    givesRefreshToken: (login) => login.get('access_type') === 'offline' && login.get('prompt') === 'consent',
    refuses({ grantType, claims = {}, header }) {
      if (grantType !== JWT_BEARER) return undefined
      if (typeof claims.scope !== 'string') return refused('invalid_scope', 'Invalid OAuth scope or ID token audience')
      const isShort = Number(claims.exp) - Number(claims.iat) <= 3600
      if (header?.alg !== 'RS256' || !isShort || claims.aud !== 'https://oauth2.googleapis.com/token') {
        return refused('invalid_grant', 'Invalid JWT')
      }
      return claims.sub === undefined ? undefined : refused('unauthorized_client', 'No domain-wide delegation')
    },
    answers: (answer, { grantType }) => ({
      ...answer,
      expires_in: 3599,
      ...(grantType === JWT_BEARER && { scope: undefined }),
    }),
  })
}

export function googleSecurityTokens(): ProviderImitation {
  return new ProviderImitation({
    issuer: 'https://sts.googleapis.com',
    metadata: { token_endpoint: 'https://sts.googleapis.com/v1/token' },
    publicClients: ['(not named)'],
    refuses({ body }) {
      const known = ['grant_type', 'audience', 'scope', 'requested_token_type', 'subject_token', 'subject_token_type']
      const unknown = [...body.keys()].find((name) => !known.includes(name))
      if (unknown || known.some((name) => !body.has(name))) return refused('invalid_request', `Invalid ${unknown}`)
      return isForeign(body.get('subject_token')) ? refused('invalid_grant', 'The token is not good') : undefined
    },
  })
}
