import * as oauth from 'oauth4webapi'
import { type ClientAuthentication, clientSecretBasic, clientSecretPost, none } from './client-authentication.ts'
import { within } from './deadline.ts'
import { OAuthError, TokenUnavailableError } from './errors.ts'
import { secureUrl } from './secure-url.ts'
import { clockSkew, retryAfter, translated } from './server-answers.ts'
import { type EndpointAnswer, normalizedTokenResponse, readAnswer } from './token-response.ts'
import type { Claims, TokenSet } from './token-set.ts'

export type AuthorizationServer = oauth.AuthorizationServer

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

/** The request as oauth4webapi hands it over. */
type Init = Omit<oauth.CustomFetchOptions<'GET' | 'POST', URLSearchParams | undefined>, 'redirect'> & { redirect: 'manual' | 'follow' }
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
  async endpoint(name: 'authorization_endpoint' | 'end_session_endpoint' | 'revocation_endpoint'): Promise<URL | undefined> {
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
        return this.#requestToken(server, { client_id: this.clientId, client_secret: secret }, grantType, new URLSearchParams(parameters), checks, signal)
      })
    try {
      return (await attempt()) as TokenSet & { issuedAt: number }
    } catch (error) {
      const askAgain = error instanceof OAuthError && error.code === 'client-refused' && typeof clientSecret === 'function'
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
          const { status } = await this.#answer(url, init)
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
    const fallback = supported?.includes('client_secret_post') && !supported.includes('client_secret_basic') ? 'client_secret_post' : 'client_secret_basic'
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
      const { status, headers, json } = await this.#answer(url, init)
      if (json === undefined) {
        throw new TokenUnavailableError('invalid-response', `The token endpoint answered ${status} without a JSON object`, {
          fix: 'Check that token_endpoint is right and that no proxy or captive portal answers in its place.',
        })
      }
      const normalized = normalizedTokenResponse(json)
      client[oauth.clockSkew] = clockSkew(headers, normalized.id_token)
      return Response.json(normalized, { status: status < 300 ? (normalized.error ? 400 : 200) : status })
    })
    try {
      const response = await oauth.genericTokenEndpointRequest(server, client, this.#authentication(server), grantType, parameters, options)
      const result = await (checks.process ?? oauth.processGenericTokenEndpointResponse)(server, client, response)
      if (result.token_type !== 'bearer') throw new oauth.UnsupportedOperationError('a DPoP token, and no key to use it with')
      const { access_token: accessToken, expires_in: seconds = 0, refresh_token: refreshToken, id_token: idToken, scope } = result
      const claims = oauth.getValidatedIdTokenClaims(result) as Claims | undefined
      return { accessToken, tokenType: 'Bearer', issuedAt, expiresAt: issuedAt + seconds * 1000, scope, refreshToken, idToken, claims }
    } catch (error) {
      throw translated(error, [...parameters.values(), client.client_secret as string | undefined])
    }
  }

  #requestOptions(signal: AbortSignal, answered: Answered) {
    return { signal, [oauth.allowInsecureRequests]: true, [oauth.customFetch]: answered }
  }

  #deadline<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const late = () => new TokenUnavailableError('timeout', `The authorization server did not answer within ${this.timeout} ms`)
    return within(this.timeout, late, work)
  }

  /** Sends a request and reads its answer; what is no answer of an OAuth endpoint is thrown. */
  async #answer(url: string, init: Init): Promise<EndpointAnswer> {
    const { fetch: given, allowInsecureRequests } = this.#options
    secureUrl(url, allowInsecureRequests)
    let answer: EndpointAnswer
    try {
      answer = await readAnswer(await (given ?? fetch)(url, init as RequestInit))
    } catch (cause) {
      throw cause instanceof OAuthError
        ? cause
        : new TokenUnavailableError('network', `No answer from ${new URL(url).origin}`, {
            cause,
            fix: 'Check the address and the network; in a browser, also that the server allows this origin (CORS).',
          })
    }
    const { status, headers } = answer
    if (status === 429 || status === 408 || status >= 500) {
      throw new TokenUnavailableError(status === 429 ? 'throttled' : 'server-error', `The authorization server answered ${status}`, {
        retryAt: retryAfter(headers),
      })
    }
    return answer
  }

  async #discover(): Promise<AuthorizationServer> {
    const { issuer, metadata, discovery } = this.#options
    if (discovery === false) return { ...metadata, issuer }
    for (const algorithm of ['oidc', 'oauth2'] as const) {
      const found = await this.#deadline((signal) => this.#discoverBy(algorithm, signal))
      if (found) return { ...found, ...metadata, issuer: found.issuer }
    }
    throw new OAuthError('discovery-failed', `No authorization server metadata at ${issuer}`, {
      fix: 'Check issuer, or give metadata with discovery: false.',
    })
  }

  async #discoverBy(algorithm: 'oidc' | 'oauth2', signal: AbortSignal): Promise<AuthorizationServer | undefined> {
    const issuer = new URL(this.issuer)
    const answered = async (url: string, init: Init, hops = 3): Promise<Response> => {
      const { status, headers, json, finalUrl } = await this.#answer(url, init)
      const sameOrigin = (address: string) => URL.parse(address, url)?.origin === issuer.origin
      const location = headers.get('location')
      if (status >= 300 && location && hops > 0 && sameOrigin(location)) return answered(new URL(location, url).href, init, hops - 1)
      // A browser does not tell where a redirect leads: it follows by itself, and says afterwards where it arrived.
      if (status === 0 && hops > 0) return answered(url, { ...init, redirect: 'follow' }, 0)
      return json && status === 200 && sameOrigin(finalUrl || url) ? Response.json(json) : Response.error()
    }
    const response = await oauth.discoveryRequest(issuer, { algorithm, ...this.#requestOptions(signal, answered) })
    if (!response.ok) return undefined
    try {
      return await oauth.processDiscoveryResponse(issuer, response)
    } catch (cause) {
      throw new OAuthError('issuer-mismatch', `The metadata at ${this.issuer} is of another issuer`, {
        cause,
        fix: 'Set issuer to exactly what the metadata says.',
      })
    }
  }
}
