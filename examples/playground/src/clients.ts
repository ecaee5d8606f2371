import type { ClientMetadata, JWKS } from 'oidc-provider'

const codeAndRefresh = ['authorization_code', 'refresh_token']
const deviceCode = 'urn:ietf:params:oauth:grant-type:device_code'
const noRedirects = { redirect_uris: [], response_types: [] } satisfies Partial<ClientMetadata>

/** The clients that the authorization server knows; a client that redirects exists only where it has somewhere to go. */
export function registeredClients(
  spaOrigins: string[],
  redirectUris: string[],
  webKeys: JWKS['keys'],
  backChannelLogoutUri?: string,
): ClientMetadata[] {
  const told = backChannelLogoutUri
    ? { backchannel_logout_uri: backChannelLogoutUri, backchannel_logout_session_required: true }
    : {}
  const spa: Omit<ClientMetadata, 'client_id'> = {
    token_endpoint_auth_method: 'none',
    grant_types: codeAndRefresh,
    redirect_uris: spaOrigins.flatMap((origin) => [`${origin}/`, `${origin}/callback`]),
    post_logout_redirect_uris: spaOrigins.map((origin) => `${origin}/`),
  }
  const spaClients: ClientMetadata[] = [
    { ...spa, ...told, client_id: 'spa' },
    { ...spa, client_id: 'spa-dpop', dpop_bound_access_tokens: true },
  ]
  const web: ClientMetadata = {
    client_id: 'web',
    client_secret: 'web-secret',
    ...told,
    grant_types: codeAndRefresh,
    redirect_uris: redirectUris,
    post_logout_redirect_uris: redirectUris,
    ...(webKeys.length > 0 && { jwks: { keys: webKeys } }),
  }
  return [
    ...(spaOrigins.length > 0 ? spaClients : []),
    ...(redirectUris.length > 0 ? [web] : []),
    {
      client_id: 'cli',
      token_endpoint_auth_method: 'none',
      application_type: 'native',
      grant_types: [...codeAndRefresh, deviceCode, 'password'],
      redirect_uris: ['http://127.0.0.1/callback', 'http://[::1]/callback'], // any port, RFC 8252 section 7.3
    },
    {
      client_id: 'legacy',
      client_secret: 'legacy-secret',
      grant_types: ['password', 'refresh_token'],
      ...noRedirects,
    },
    { client_id: 'worker', client_secret: 'worker-secret', grant_types: ['client_credentials'], ...noRedirects },
    {
      client_id: 'worker-secret-jwt',
      client_secret: 'a secret that signs, and never travels',
      token_endpoint_auth_method: 'client_secret_jwt',
      grant_types: ['client_credentials'],
      ...noRedirects,
    },
    ...(webKeys.length > 0
      ? [
          {
            client_id: 'worker-key-jwt',
            token_endpoint_auth_method: 'private_key_jwt' as const,
            grant_types: ['client_credentials'],
            jwks: { keys: webKeys },
            ...noRedirects,
          },
        ]
      : []),
    {
      client_id: 'worker-post',
      client_secret: 'worker-secret',
      token_endpoint_auth_method: 'client_secret_post',
      grant_types: ['client_credentials'],
      ...noRedirects,
    },
  ]
}
