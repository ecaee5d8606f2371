import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type AuthorizationCodeFlow, clientCredentials, type TokenExchanges, type TokenManager } from '@keyturn/core'
import type { CryptoKey } from 'jose'
import { http, passthrough } from 'msw'
import { setupServer } from 'msw/node'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { CLIENT_SECRET, type ProviderImitation } from './provider-imitation.ts'
import { auth0, cognito, entra, google, googleSecurityTokens, keycloak, okta } from './provider-oddities.ts'
import { asJavaScript, compiled, snippetsOf, writeAll } from './snippets.ts'

const snippets = snippetsOf('docs/providers.md')
const folder = mkdtempSync(join(tmpdir(), 'keyturn-providers-'))
const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const pem = `${privateKey.export({ type: 'pkcs8', format: 'pem' })}`
/** The same public key, for the algorithms by which the recipes sign. */
const verifies = (name: 'RSASSA-PKCS1-v1_5' | 'RSA-PSS'): Promise<CryptoKey> =>
  crypto.subtle.importKey('spki', publicKey.export({ type: 'spki', format: 'der' }), { name, hash: 'SHA-256' }, true, [
    'verify',
  ])

const file = (name: string, text: string) => {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}

const msw = setupServer(http.all(/^http:\/\/127\.0\.0\.1:/, () => passthrough()))
beforeAll(() => {
  vi.useFakeTimers({ toFake: ['Date', 'performance'] })
  msw.listen({ onUnhandledFrame: 'error' })
  Object.assign(process.env, {
    CLIENT_SECRET,
    CERTIFICATE_THUMBPRINT: 'thumbprint-of-the-certificate',
    PRIVATE_KEY: pem,
    PRIVATE_KEY_FILE: file('key.pem', pem),
    SESSION_FILE: join(folder, 'session.json'),
    SESSION_KEY: 'a passphrase of some length',
    TOKEN_FILE: file('token', 'token-of-the-workload\n'),
    GOOGLE_APPLICATION_CREDENTIALS: file(
      'account.json',
      JSON.stringify({ client_email: 'robot@p.iam.gserviceaccount.com', private_key: pem, private_key_id: 'key-1' }),
    ),
  })
})
afterAll(() => {
  vi.useRealTimers()
  msw.close()
  rmSync(folder, { recursive: true })
})

/** Puts an imitation up for a test. */
function providerOf(...imitations: ProviderImitation[]): ProviderImitation {
  const calls = http.all(/^https:\/\/(graph\.microsoft|[a-z]+\.example)\.com\//, ({ request }) =>
    Response.json(request.headers.get('authorization')?.replace('Bearer ', '')),
  )
  msw.use(...imitations.flatMap(({ handlers }) => handlers), calls)
  onTestFinished(() => msw.resetHandlers())
  return imitations[0] as ProviderImitation
}

let serial = 0

/** What the snippet of this name exports, run as it is; what a browser would do is done by `page`. */
async function exported<T>(name: string, page?: Page): Promise<T> {
  const snippet = snippets.find((one) => one.file === `${name}.ts`)
  if (!snippet) throw new Error(`no snippet ${name}`)
  Object.assign(globalThis, { page })
  const module = await asJavaScript(snippet, (code) =>
    code
      .replace("'@keyturn/browser'", "'@keyturn/core'")
      .replace('authorizationCode({', 'authorizationCode({ userAgent: globalThis.page,')
      .replace('loopbackLogin({', 'loopbackLogin({ open: (url) => globalThis.page.navigate(url),'),
  )
  const at = writeAll(`providers/run-${++serial}`, [module])
  return import(pathToFileURL(join(at, module.file)).href)
}

/** A browser whose person has signed in to the provider. */
class Page {
  url = 'https://app.example.com/'
  readonly visited: string[] = []
  readonly #provider: ProviderImitation

  constructor(provider: ProviderImitation) {
    this.#provider = provider
  }

  async navigate(url: string): Promise<void> {
    this.visited.push(url)
    if (!new URL(url).searchParams.has('response_type')) return
    const back = this.#provider.authorize(url)
    if (back.startsWith('http://127.0.0.1')) await fetch(back)
    else this.url = back
  }

  replaceUrl(url: string): void {
    this.url = url
  }
}

/** A person who has signed in with the snippet of this name. */
async function signedIn(name: string, provider: ProviderImitation) {
  const page = new Page(provider)
  const { auth, api } = await exported<{ auth: AuthorizationCodeFlow; api: typeof fetch }>(name, page)
  await auth.login({ appState: 'deep' })
  expect(await auth.handleCallback()).toEqual({ appState: 'deep' })
  expect(auth.session).toMatchObject({ status: 'signedIn', renewable: true, claims: { sub: 'ada' } })
  return { auth, api, page }
}

/** The token that follows when this one has ended. */
const renewed = async (source: TokenManager) => {
  const before = await source.getAccessToken()
  const { expiresAt } = await source.getTokenSet()
  vi.advanceTimersByTime(expiresAt - Date.now())
  const token = await source.getAccessToken()
  expect(token).not.toBe(before)
  return token
}

const called = async (api: typeof fetch, url: string): Promise<string> => (await api(url)).json()

test('every snippet compiles against the packages as they are built', () => {
  expect(compiled('providers/compiled', snippets)).toBe('')
  expect(snippets.length).toBeGreaterThanOrEqual(14)
})

test('Auth0: a machine has a token for each audience, and none without', async () => {
  const provider = providerOf(auth0())
  const { source, api } = await exported<{ source: TokenManager; api: typeof fetch }>('auth0-worker')
  const orders = await called(api, 'https://orders.example.com/1')
  const invoices = await called(api, 'https://invoices.example.com/1')
  expect(await called(api, 'https://orders.example.com/2')).toBe(orders)
  const audiences = [orders, invoices].map((token) => provider.issued.get(token)?.body.get('audience'))
  expect(audiences).toEqual(['https://orders.example.com/', 'urn:invoices'])
  expect(provider.asked).toHaveLength(2)
  await expect(source.getAccessToken()).rejects.toMatchObject({ code: 'request-refused', error: 'access_denied' })
})

test('Auth0: a person signs in for an audience, survives a lost answer by the leeway, and signs out there', async () => {
  const provider = providerOf(auth0())
  const { auth, page } = await signedIn('auth0-page', provider)
  expect(new URL(page.visited[0] ?? '').searchParams.get('audience')).toBe('https://orders.example.com/')
  provider.losesNextAnswer = true
  await renewed(auth)
  await renewed(auth)
  expect(auth.session.status).toBe('signedIn')
  await auth.logout({ postLogoutRedirectUri: 'https://app.example.com/' })
  const { origin, pathname, searchParams } = new URL(page.visited[1] ?? '')
  expect(origin + pathname).toBe('https://my-tenant.eu.auth0.com/oidc/logout')
  expect([...searchParams.keys()].sort()).toEqual(['client_id', 'id_token_hint', 'post_logout_redirect_uri'])
  expect(provider.revoked).toHaveLength(1)
})

test('Auth0: the issuer is found with its slash and without', async () => {
  providerOf(auth0())
  const options = { clientId: 'worker', clientSecret: CLIENT_SECRET, parameters: { audience: 'urn:invoices' } }
  for (const issuer of ['https://my-tenant.eu.auth0.com/', 'https://my-tenant.eu.auth0.com']) {
    expect(await clientCredentials({ ...options, issuer }).getAccessToken()).toMatch(/^access-token/)
  }
})

test('Entra ID: a machine proves itself by a certificate, and has a token for each API, by scope', async () => {
  const provider = providerOf(entra(await verifies('RSA-PSS')))
  const { source, api } = await exported<{ source: TokenManager; api: typeof fetch }>('entra-worker')
  const graph = await called(api, 'https://graph.microsoft.com/v1.0/users')
  const orders = await called(api, 'https://orders.example.com/1')
  expect(provider.issued.get(graph)?.body.get('scope')).toBe('https://graph.microsoft.com/.default')
  expect(provider.issued.get(orders)?.body.get('scope')).toBe('api://orders/.default')
  const { header, claims } = provider.asked[0] ?? {}
  expect(header).toEqual({ alg: 'PS256', 'x5t#S256': 'thumbprint-of-the-certificate' })
  expect(claims?.aud).toBe('https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/oauth2/v2.0/token')
  const { expiresAt, issuedAt } = await source.getTokenSet({ scope: 'api://orders/.default' })
  expect(expiresAt - issuedAt).toBe(3_599_000) // it came as a text
  for (const scope of [undefined, 'api://orders/read', 'api://orders/.default https://graph.microsoft.com/.default']) {
    await expect(source.getAccessToken({ scope })).rejects.toMatchObject({ error: 'invalid_scope' })
  }
})

test('Entra ID: one session serves two APIs by scope, and ends without revocation', async () => {
  const provider = providerOf(entra(await verifies('RSA-PSS')))
  const { auth, api, page } = await signedIn('entra-page', provider)
  const orders = await called(api, 'https://orders.example.com/1')
  const graph = await called(api, 'https://graph.microsoft.com/v1.0/me')
  expect(await called(api, 'https://orders.example.com/2')).toBe(orders)
  expect(provider.issued.get(graph)?.body.get('scope')).toBe('https://graph.microsoft.com/User.Read')
  const again = provider.issued.get(await renewed(auth))
  expect(again?.grantType).toBe('refresh_token')
  expect(again?.body.has('scope')).toBe(false)
  await auth.logout()
  expect(page.visited[1]).toMatch(/^https:\/\/login\.microsoftonline\.com\/1{8}-.*\/oauth2\/v2\.0\/logout\?/)
  expect(auth.session).toMatchObject({ status: 'signedOut', ended: { reason: 'signed-out' } })
})

test('Entra ID: an API calls another one for each of its callers', async () => {
  const provider = providerOf(entra(await verifies('RSA-PSS')))
  const { users } = await exported<{ users: TokenExchanges }>('entra-on-behalf-of')
  const names = ['ada', 'eve', 'ada', 'eve']
  const tokens = await Promise.all(names.map((name) => users.of(`token-of-${name}`).getAccessToken()))
  expect(tokens.map((token) => provider.issued.get(token)?.body.get('assertion'))).toEqual(
    names.map((name) => `token-of-${name}`),
  )
  expect(provider.asked).toHaveLength(2)
  for (let call = 0; call < 3; call++) {
    await expect(users.of('token-that-expired').getAccessToken()).rejects.toMatchObject({ code: 'credentials-refused' })
  }
})

test('Entra ID: the metadata of no tenant in particular is of another issuer', async () => {
  providerOf(entra(await verifies('RSA-PSS')))
  const common = { issuer: 'https://login.microsoftonline.com/{tenantid}/v2.0' }
  const at = 'https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration'
  msw.use(http.get(at, () => Response.json(common)))
  const source = clientCredentials({ issuer: 'https://login.microsoftonline.com/common/v2.0', clientId: 'worker' })
  await expect(source.getAccessToken()).rejects.toMatchObject({ code: 'issuer-mismatch' })
})

test('Okta: a machine signs with its key, for scopes of an authorization server of its own', async () => {
  const provider = providerOf(okta(await verifies('RSASSA-PKCS1-v1_5')))
  const { source } = await exported<{ source: TokenManager }>('okta-worker')
  const token = await source.getAccessToken()
  expect(provider.issued.get(token)).toMatchObject({ header: { alg: 'RS256', kid: 'worker-key' } })
  expect((await source.getTokenSet()).scope).toBe('orders:read')
  await expect(source.getAccessToken({ scope: 'openid' })).rejects.toMatchObject({ error: 'invalid_scope' })
})

test('Okta: an API exchanges the tokens of its callers for the audience of the authorization server', async () => {
  const provider = providerOf(okta(await verifies('RSASSA-PKCS1-v1_5')))
  const { users } = await exported<{ users: TokenExchanges }>('okta-exchange')
  const { body } = provider.issued.get(await users.of('token-of-ada').getAccessToken()) ?? {}
  expect(Object.fromEntries(body ?? [])).toEqual({
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: 'token-of-ada',
    subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    audience: 'api://invoices',
    scope: 'invoices:read',
  })
})

test('Keycloak: members of its own do no harm, and an end of 0 is none', async () => {
  const provider = providerOf(keycloak())
  const { source } = await exported<{ source: TokenManager }>('keycloak-worker')
  const tokenSet = await source.getTokenSet()
  expect(provider.issued.get(tokenSet.accessToken)?.body.get('scope')).toBe('orders')
  expect(tokenSet).toMatchObject({ scope: 'email orders profile', refreshTokenExpiresAt: undefined })
  expect(Object.keys(tokenSet)).not.toContain('session_state')
})

test('Keycloak: a page knows when its session ends at the latest', async () => {
  const provider = providerOf(keycloak())
  const { auth, page } = await signedIn('keycloak-page', provider)
  const { refreshTokenExpiresAt, issuedAt } = await auth.getTokenSet()
  expect(Number(refreshTokenExpiresAt) - issuedAt).toBe(1_800_000)
  await renewed(auth)
  await auth.logout()
  expect(page.visited[1]).toContain('https://id.example.com/realms/shop/protocol/openid-connect/logout?')
  expect(provider.revoked.map((body) => body.get('token_type_hint'))).toEqual(['refresh_token'])
})

test('Keycloak: an API exchanges the tokens of its callers for an audience', async () => {
  const provider = providerOf(keycloak())
  const { users } = await exported<{ users: TokenExchanges }>('keycloak-exchange')
  const { body } = provider.issued.get(await users.of('token-of-ada').getAccessToken()) ?? {}
  expect(body?.get('audience')).toBe('invoices-api')
  await expect(users.of('token-that-expired').getAccessToken()).rejects.toMatchObject({
    code: 'credentials-refused',
    error: 'invalid_request',
  })
})

test('Cognito: a machine is told no scope, and has the one that it asked for', async () => {
  const provider = providerOf(cognito())
  const { source } = await exported<{ source: TokenManager }>('cognito-worker')
  expect((await source.getTokenSet()).scope).toBe('orders/read')
  await source.revoke()
  expect(provider.revoked).toHaveLength(1)
  expect(source.stats()).toMatchObject({ tokenRequests: 1, failures: 0 })
})

test('Cognito: a refresh gives no refresh token, and the one that there is serves on and on', async () => {
  const provider = providerOf(cognito())
  const { auth, page } = await signedIn('cognito-page', provider)
  for (let round = 0; round < 3; round++) await renewed(auth)
  const refreshes = provider.asked.filter(({ grantType }) => grantType === 'refresh_token')
  expect(new Set(refreshes.map(({ body }) => body.get('refresh_token'))).size).toBe(1)
  await auth.logout()
  const { origin, pathname, searchParams } = new URL(page.visited[1] ?? '')
  expect(origin + pathname).toBe('https://shop.auth.eu-central-1.amazoncognito.com/logout')
  expect(searchParams.get('logout_uri')).toBe('https://app.example.com/')
  expect(searchParams.get('client_id')).toBe('page')
  expect(searchParams.has('post_logout_redirect_uri')).toBe(false)
})

test('Google: a tool asks for consent and offline access, and keeps its refresh token', async () => {
  const provider = providerOf(google(await verifies('RSASSA-PKCS1-v1_5')))
  const { signIn } = await exported<{ signIn(): Promise<TokenManager> }>('google-tool', new Page(provider))
  const session = await signIn()
  for (let round = 0; round < 2; round++) await renewed(session)
  expect(provider.asked.map(({ grantType }) => grantType)).toEqual([
    'authorization_code',
    'refresh_token',
    'refresh_token',
  ])
  expect(provider.asked.some(({ body }) => body.has('access_type') || body.has('prompt'))).toBe(false)
  expect(session.session).toMatchObject({ status: 'signedIn', renewable: true })
  await session.revoke()
  expect(provider.revoked).toHaveLength(1)
})

test('Google: a service account asks in its assertion, and sends nothing else', async () => {
  const provider = providerOf(google(await verifies('RSASSA-PKCS1-v1_5')))
  const { source } = await exported<{ source: TokenManager }>('google-service-account')
  const { body, header, claims } = provider.issued.get(await source.getAccessToken()) ?? {}
  expect([...(body?.keys() ?? [])].sort()).toEqual(['assertion', 'grant_type'])
  expect(header).toEqual({ alg: 'RS256', kid: 'key-1' })
  expect(claims).toEqual({
    iss: 'robot@p.iam.gserviceaccount.com',
    aud: 'https://oauth2.googleapis.com/token',
    scope: 'https://www.googleapis.com/auth/devstorage.read_only',
    iat: expect.any(Number),
    exp: Number(claims?.iat) + 60,
    jti: expect.any(String),
  })
})

test('Google: a workload exchanges the token that its platform gave it, and names no client', async () => {
  const provider = providerOf(googleSecurityTokens())
  const { source } = await exported<{ source: TokenManager }>('google-workload')
  const { body } = provider.issued.get(await source.getAccessToken()) ?? {}
  expect(body?.get('subject_token')).toBe('token-of-the-workload')
  expect(body?.get('audience')).toMatch(/^\/\/iam\.googleapis\.com\/projects\//)
  expect(body?.has('client_id')).toBe(false)
})
