import * as oauth from 'oauth4webapi'
import { type ClientAuthentication, clientSecretBasic, clientSecretPost, none } from './client-authentication.ts'
import { within } from './deadline.ts'
import { type AuthorizationServer, discover, type Init } from './discovery.ts'
import { OAuthError, TokenUnavailableError } from './errors.ts'
import { secureUrl } from './secure-url.ts'
import { answerOf, clockSkew, translated } from './server-answers.ts'
import { normalizedTokenResponse } from './token-response.ts'
import type { Claims, TokenSet } from './token-set.ts'

/** Who the client is and whom it talks to. */
export interface ClientOptions {
  /** The authorization server's issuer identifier (RFC 8414 section 2, OpenID Connect Discovery). */
  issuer: string
  /** Laid over what discovery finds. */
  metadata?: Partial<AuthorizationServer> | undefined
  /** `false`: `metadata` alone is used, nothing is fetched. */
  discovery?: false | undefined
  clientId: string
  /** Asked for at every request where it is a function, so that it can change while the program runs. */
  clientSecret?: string | (() => string | Promise<string>) | undefined
  /** Default: `none` without a secret, else what the server supports, `client_secret_basic` first. */
  clientAuthentication?: 'client_secret_basic' | 'client_secret_post' | 'none' | ClientAuthentication | undefined
  /** Honoured by every request. Default: the platform's `fetch`. */
  fetch?: typeof fetch | undefined
  /** Milliseconds for one request to the authorization server. Default: 10 000. */
  timeout?: number | undefined
  /** Lets http URLs of other hosts than this machine pass. Only for development. */
  allowInsecureRequests?: boolean | undefined
}

/** What a token request may bring along. */
export interface TokenRequestChecks {
  /** Called right before the request leaves; throws to keep it back. */
  beforeSend?: (() => void) | undefined
  /** Validates the answer. Default: as RFC 6749 section 5 and, of an ID token, OpenID Connect Core section 3.1.3.7 ask. */
  process?: typeof oauth.processGenericTokenEndpointResponse | undefined
}

type Answered = (url: string, init: Init) => Promise<Response>

/** One client at one authorization server: the only place that knows the wire. */
export class Client {
  readonly #options: ClientOptions
  #metadata: Promise<AuthorizationServer> | undefined
  /** Requests sent to the token endpoint. */
  tokenRequests = 0

  constructor(options: ClientOptions) {
    const { issuer, clientId, allowInsecureRequests } = options
    secureUrl(issuer, allowInsecureRequests)
    if (typeof clientId !== 'string' || clientId === '') {
      throw new OAuthError('invalid-options', 'clientId is missing', { fix: 'Set clientId.' })
    }
    this.#options = options
  }

  get issuer(): string {
    return this.#options.issuer
  }

  get clientId(): string {
    return this.#options.clientId
  }

  /** Milliseconds for one request. */
  get timeout(): number {
    return this.#options.timeout ?? 10_000
  }

  /** The authorization server's metadata: fetched once, kept unless that failed. */
  metadata(): Promise<AuthorizationServer> {
    this.#metadata ??= this.#discover().catch((error) => {
      this.#metadata = undefined
      throw error
    })
    return this.#metadata
  }

  /** An endpoint of the authorization server, checked. */
  async endpoint(
    name: 'authorization_endpoint' | 'end_session_endpoint' | 'revocation_endpoint',
  ): Promise<URL | undefined> {
    const url = (await this.metadata())[name]
    return url === undefined ? undefined : secureUrl(url, this.#options.allowInsecureRequests)
  }

  /**
   * One token request (RFC 6749 section 3.2). `invalid_client` asks for the secret once more, and tries once more where
   * that gave another one.
   */
  async tokenRequest(
    grantType: string,
    parameters: URLSearchParams,
    checks: TokenRequestChecks = {},
  ): Promise<TokenSet & { issuedAt: number }> {
    const server = await this.metadata()
    const { clientSecret } = this.#options
    let sent: string | undefined
    const attempt = () =>
      this.#deadline(async (signal) => {
        const secret = await this.#secret()
        if (secret !== undefined && secret === sent) return undefined
        sent = secret
        return this.#requestToken(
          server,
          { client_id: this.clientId, client_secret: secret },
          grantType,
          new URLSearchParams(parameters),
          checks,
          signal,
        )
      })
    try {
      return (await attempt()) as TokenSet & { issuedAt: number }
    } catch (error) {
      const askAgain =
        error instanceof OAuthError && error.code === 'client-refused' && typeof clientSecret === 'function'
      const second = askAgain ? await attempt() : undefined
      if (second) return second
      throw error
    }
  }

  /** RFC 7009. Rejects when the server could not be told; whether it knew the token is its own affair. */
  async revoke(token: string, kind: 'refresh_token' | 'access_token'): Promise<void> {
    const server = await this.metadata()
    if (server.revocation_endpoint === undefined) return
    await this.#deadline(async (signal) => {
      const client = { client_id: this.clientId, client_secret: await this.#secret() }
      const options = {
        ...this.#requestOptions(signal, async (url, init) => {
          const { status } = await answerOf(this.#options, url, init)
          return new Response(undefined, { status })
        }),
        additionalParameters: { token_type_hint: kind },
      }
      await oauth.revocationRequest(server, client, this.#authentication(server), token, options)
    })
  }

  async #secret(): Promise<string | undefined> {
    const { clientSecret } = this.#options
    return typeof clientSecret === 'function' ? await clientSecret() : clientSecret
  }

  #authentication(server: AuthorizationServer): ClientAuthentication {
    const { clientSecret, clientAuthentication: chosen } = this.#options
    if (typeof chosen === 'function') return chosen
    const supported = server.token_endpoint_auth_methods_supported
    const fallback =
      supported?.includes('client_secret_post') && !supported.includes('client_secret_basic')
        ? 'client_secret_post'
        : 'client_secret_basic'
    const method = chosen ?? (clientSecret === undefined ? 'none' : fallback)
    if (method === 'none') return none()
    return method === 'client_secret_post' ? clientSecretPost() : clientSecretBasic()
  }

  async #requestToken(
    server: AuthorizationServer,
    client: oauth.Client,
    grantType: string,
    parameters: URLSearchParams,
    checks: TokenRequestChecks,
    signal: AbortSignal,
  ): Promise<TokenSet & { issuedAt: number }> {
    let issuedAt = 0
    const options = this.#requestOptions(signal, async (url, init) => {
      checks.beforeSend?.()
      issuedAt = Date.now()
      this.tokenRequests++
      const { status, headers, json } = await answerOf(this.#options, url, init)
      if (json === undefined) {
        throw new TokenUnavailableError(
          'invalid-response',
          `The token endpoint answered ${status} without a JSON object`,
          {
            fix: 'Check that token_endpoint is right and that no proxy or captive portal answers in its place.',
          },
        )
      }
      const normalized = normalizedTokenResponse(json)
      client[oauth.clockSkew] = clockSkew(headers, normalized.id_token)
      return Response.json(normalized, { status: status < 300 ? (normalized.error ? 400 : 200) : status })
    })
    try {
      const response = await oauth.genericTokenEndpointRequest(
        server,
        client,
        this.#authentication(server),
        grantType,
        parameters,
        options,
      )
      const result = await (checks.process ?? oauth.processGenericTokenEndpointResponse)(server, client, response)
      if (result.token_type !== 'bearer')
        throw new oauth.UnsupportedOperationError('a DPoP token, and no key to use it with')
      const {
        access_token: accessToken,
        expires_in: seconds = 0,
        refresh_token: refreshToken,
        id_token: idToken,
        scope,
      } = result
      const claims = oauth.getValidatedIdTokenClaims(result) as Claims | undefined
      return {
        accessToken,
        tokenType: 'Bearer',
        issuedAt,
        expiresAt: issuedAt + seconds * 1000,
        scope,
        refreshToken,
        idToken,
        claims,
      }
    } catch (error) {
      throw translated(error, [...parameters.values(), client.client_secret as string | undefined])
    }
  }

  #requestOptions(signal: AbortSignal, answered: Answered) {
    return { signal, [oauth.allowInsecureRequests]: true, [oauth.customFetch]: answered }
  }

  #deadline<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const late = () =>
      new TokenUnavailableError('timeout', `The authorization server did not answer within ${this.timeout} ms`)
    return within(this.timeout, late, work)
  }

  async #discover(): Promise<AuthorizationServer> {
    const { issuer, metadata, discovery } = this.#options
    if (discovery === false) return { ...metadata, issuer }
    const found = await discover(issuer, (url, init) =>
      this.#deadline((signal) => answerOf(this.#options, url, { ...init, signal })),
    )
    if (found) return { ...found, ...metadata, issuer: found.issuer }
    throw new OAuthError('discovery-failed', `No authorization server metadata at ${issuer}`, {
      fix: 'Check issuer, or give metadata with discovery: false.',
    })
  }
}
