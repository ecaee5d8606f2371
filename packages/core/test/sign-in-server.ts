import { createHash } from 'node:crypto'
import { type AuthorizationCodeFlow, type AuthorizationCodeOptions, authorizationCode } from '@keyturn/core'
import { exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from 'jose'
import { type HttpHandler, http } from 'msw'
import { AuthorizationRequests } from './authorization-requests.ts'

export const ISSUER = 'https://as.example'
export const REDIRECT_URI = 'https://app.example/callback'

const { privateKey, publicKey } = await generateKeyPair('ES256')

/** What the authorization request of a code asked for. */
interface Grant {
  parameters: URLSearchParams
  spent: boolean
}

/** What a test may change of the authorization response. */
export interface Answer {
  /** Instead of a code. */
  error?: string
  /** Laid over the response's parameters; `undefined` takes one away. */
  parameters?: Record<string, string | undefined>
}

/**
 * An authorization server for one public client that checks what it is sent: the request, the code, its redirect URI
 * and S256(verifier) = challenge. Everything that it answers can be changed by a test.
 */
export class SignInServer {
  readonly #grants = new Map<string, Grant>()
  readonly #refreshable = new Map<string, Grant>()
  #codes = 0
  /** How requests come in. */
  readonly authorizationRequests: AuthorizationRequests = new AuthorizationRequests()
  /** Every request, oldest first. */
  readonly requests: { path: string; headers: Headers; body: URLSearchParams; redirect: RequestRedirect }[] = []
  /** Laid over the metadata. */
  metadata: Record<string, unknown> = {}
  /** Seconds that this server's clock is ahead. */
  ahead = 0
  /** Whether answers tell the time. */
  tellsDate = true
  /** What answers at `jwks_uri`. */
  keys: () => JWK[] | Response | Promise<JWK[] | Response> = async () => [await exportJWK(publicKey)]
  /** Changes what answers a pushed authorization request. */
  pushed: (body: object) => Response | object | Promise<Response> = (body) => body
  /** Changes what answers at the UserInfo endpoint. */
  userInfo: (claims: object, accessToken: string) => Response | object | Promise<Response> = (claims) => claims
  /** Changes the claims of the ID token, or is the ID token. */
  idToken: (claims: JWTPayload) => JWTPayload | string | Promise<string> = (claims) => claims
  /** Changes the successful answer of the token endpoint. */
  tokenResponse: (body: Record<string, unknown>) => Response | object = (body) => body

  /** For MSW: the platform's fetch ends here. */
  readonly handler: HttpHandler = http.all(`${ISSUER}/*`, ({ request }) => this.answer(request))

  /** The same as a `fetch`. */
  readonly fetch: typeof fetch = (input, init) => this.answer(new Request(input, init))

  get tokenRequests(): URLSearchParams[] {
    return this.requests.filter(({ path }) => path === '/token').map(({ body }) => body)
  }

  /** What the user agent comes back with: the authorization response as a URL at the redirect URI. */
  authorize(address: string, { error, parameters = {} }: Answer = {}): string {
    const asked = this.authorizationRequests.at(address)
    if (asked.get('response_type') !== 'code') throw new Error('response_type')
    if (asked.get('client_id') !== 'app') throw new Error('client_id')
    if (asked.get('code_challenge_method') !== 'S256') throw new Error('code_challenge_method')
    if (!/^[\w-]{43}$/.test(asked.get('code_challenge') ?? '')) throw new Error('code_challenge')
    const code = `code-${++this.#codes}-of-the-server`
    this.#grants.set(code, { parameters: asked, spent: false })
    const back = new URL(asked.get('redirect_uri') ?? '')
    const response = { ...(error ? { error } : { code }), state: asked.get('state') ?? '', iss: ISSUER, ...parameters }
    for (const [name, value] of Object.entries(response)) if (value !== undefined) back.searchParams.set(name, value)
    return back.href
  }

  async answer(request: Request): Promise<Response> {
    const path = new URL(request.url).pathname
    const body = new URLSearchParams(await request.text())
    this.requests.push({ path, headers: request.headers, body, redirect: request.redirect })
    if (path === '/.well-known/openid-configuration') return Response.json(this.#metadata())
    if (path === '/jwks') {
      const keys = await this.keys()
      const headers = { date: new Date(this.#now() * 1000).toUTCString() }
      return keys instanceof Response ? keys : Response.json({ keys }, this.tellsDate ? { headers } : {})
    }
    if (path === '/par') {
      const uri = this.authorizationRequests.push(body)
      const answer = await this.pushed({ request_uri: uri, expires_in: 60 })
      return answer instanceof Response ? answer : Response.json(answer, { status: 201 })
    }
    if (path === '/userinfo') {
      const [, token = ''] = `${request.headers.get('authorization')}`.split('Bearer ')
      const answer = await this.userInfo({ sub: 'ada', name: 'Ada Lovelace' }, token)
      return answer instanceof Response ? answer : Response.json(answer)
    }
    if (path !== '/token') return new Response(undefined, { status: path === '/revoke' ? 200 : 404 })
    const headers = this.tellsDate ? { date: new Date(this.#now() * 1000).toUTCString() } : undefined
    const grant = this.#redeemable(body, request.headers)
    if (grant === undefined)
      return Response.json({ error: 'invalid_grant' }, { status: 400, ...(headers && { headers }) })
    const answer = this.tokenResponse(await this.#tokens(grant))
    return answer instanceof Response ? answer : Response.json(answer, headers && { headers })
  }

  #metadata() {
    return {
      issuer: ISSUER,
      authorization_endpoint: `${ISSUER}/authorize`,
      token_endpoint: `${ISSUER}/token`,
      revocation_endpoint: `${ISSUER}/revoke`,
      userinfo_endpoint: `${ISSUER}/userinfo`,
      pushed_authorization_request_endpoint: `${ISSUER}/par`,
      jwks_uri: `${ISSUER}/jwks`,
      end_session_endpoint: `${ISSUER}/logout`,
      id_token_signing_alg_values_supported: ['ES256'],
      authorization_response_iss_parameter_supported: true,
      ...this.metadata,
    }
  }

  #redeemable(body: URLSearchParams, headers: Headers): Grant | undefined {
    if (body.get('grant_type') === 'refresh_token') return this.#refreshable.get(body.get('refresh_token') ?? '')
    const grant = this.#grants.get(body.get('code') ?? '')
    const challenge = createHash('sha256')
      .update(body.get('code_verifier') ?? '')
      .digest('base64url')
    const good =
      grant &&
      !grant.spent &&
      body.get('grant_type') === 'authorization_code' &&
      (body.get('client_id') === 'app' || headers.has('authorization')) &&
      body.get('redirect_uri') === grant.parameters.get('redirect_uri') &&
      challenge === grant.parameters.get('code_challenge')
    if (!good) return undefined
    grant.spent = true
    this.#refreshable.set('refresh-token-of-ada', grant)
    return grant
  }

  async #tokens({ parameters }: Grant): Promise<Record<string, unknown>> {
    const tokens = { access_token: 'access-token-of-ada', token_type: 'Bearer', expires_in: 300 }
    const scope = parameters.get('scope') ?? ''
    if (!scope.split(' ').includes('openid')) return { ...tokens, refresh_token: 'refresh-token-of-ada', scope }
    const nonce = parameters.get('nonce')
    const now = this.#now()
    const claims = { iss: ISSUER, sub: 'ada', aud: 'app', iat: now, exp: now + 300, ...(nonce && { nonce }) }
    const id = await this.idToken(claims)
    const idToken = typeof id === 'string' ? id : await signed(id)
    return { ...tokens, refresh_token: 'refresh-token-of-ada', id_token: idToken, scope }
  }

  #now(): number {
    return Math.floor(Date.now() / 1000) + this.ahead
  }
}

export function signed(claims: JWTPayload): Promise<string> {
  return new SignJWT(claims).setProtectedHeader({ alg: 'ES256' }).sign(privateKey)
}

/** Stands in for a browser's page. */
export class FakePage {
  url: string
  /** Everything that happened, oldest first. */
  readonly events: string[] = []
  /** Where it was sent to. */
  readonly visited: string[] = []

  constructor(url: string = 'https://app.example/') {
    this.url = url
  }

  get lastVisited(): string {
    return this.visited.at(-1) ?? ''
  }

  navigate(url: string): void {
    this.events.push('navigate')
    this.visited.push(url)
  }

  replaceUrl(url: string): void {
    this.events.push('replaceUrl')
    this.url = url
  }
}

export interface App {
  server: SignInServer
  page: FakePage
  auth: AuthorizationCodeFlow
  warnings: string[]
}

/** An app with somebody in front of it, and its authorization server. */
export function startApp(options: Partial<AuthorizationCodeOptions> = {}): App {
  const server = new SignInServer()
  const page = new FakePage()
  const warnings: string[] = []
  const auth = authorizationCode({
    issuer: ISSUER,
    clientId: 'app',
    redirectUri: REDIRECT_URI,
    scope: 'openid',
    userAgent: page,
    fetch: server.fetch,
    onWarning: (message) => warnings.push(message),
    ...options,
  })
  return { server, page, auth, warnings }
}

/** Signs in as far as the return to the app. */
export async function comeBack({ auth, page, server }: App, answer?: Answer, appState?: unknown): Promise<string> {
  await auth.login({ appState })
  page.url = server.authorize(page.lastVisited, answer)
  return page.url
}

/** What a promise rejects with. */
export function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => {
      throw new Error('It did not reject')
    },
    (error: unknown) => error,
  )
}
