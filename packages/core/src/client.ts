import * as oauth from 'oauth4webapi'
import { authenticationFor, type ClientAuthentication, type Identified } from './client-authentication.ts'
import { within } from './deadline.ts'
import { type AuthorizationServer, discover, type Init } from './discovery.ts'
import { OAuthError, TokenUnavailableError } from './errors.ts'
import { secureUrl } from './secure-url.ts'
import { answerOf, clockSkew, redactor, translated } from './server-answers.ts'
import { normalizedTokenResponse } from './token-response.ts'
import type { Claims, Issued } from './token-set.ts'

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

/** Parameters that extra ones cannot bring along. */
const OURS = ['grant_type', 'client_id', 'client_secret', 'client_assertion', 'client_assertion_type']

type Answered = (url: string, init: Init) => Promise<Response>

/** One client at one authorization server: the only place that knows the wire. */
export class Client {
  readonly #options: ClientOptions
  #metadata: Promise<AuthorizationServer> | undefined
  #refused: { error: OAuthError; secret: string | undefined; count: number; until: number } | undefined
  /** Requests sent to the token endpoint. */
  tokenRequests = 0

  constructor(options: ClientOptions) {
    const { issuer, clientId, allowInsecureRequests, timeout } = options
    secureUrl(issuer, allowInsecureRequests)
    if (typeof clientId !== 'string' || clientId === '') {
      throw new OAuthError('invalid-options', 'clientId is missing', { fix: 'Set clientId.' })
    }
    if (!((timeout ?? 1) > 0))
      throw new OAuthError('invalid-options', 'timeout is no time', { fix: 'Set milliseconds.' })
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
  async tokenRequest(grantType: string, parameters: URLSearchParams, checks: TokenRequestChecks = {}): Promise<Issued> {
    const server = await this.metadata()
    const { clientSecret } = this.#options
    let sent: string | undefined
    for (const name of OURS) parameters.delete(name)
    const attempt = () =>
      this.#deadline(async (signal) => {
        const client = await this.#identified()
        const { client_secret: secret } = client
        if (secret !== undefined && secret === sent) return undefined
        const refused = this.#refused
        if (refused && refused.secret === secret && Date.now() < refused.until) throw refused.error
        sent = secret
        return this.#requestToken(server, client, grantType, parameters, checks, signal)
      })
    try {
      return (await attempt()) as Issued
    } catch (error) {
      const refused = error instanceof OAuthError && error.code === 'client-refused' && error !== this.#refused?.error
      if (!refused) throw error
      this.#remember(error, sent)
      const second = typeof clientSecret === 'function' ? await attempt() : undefined
      if (second) return second
      throw error
    }
  }

  /** R7: what was refused is not sent again for a while, unless it changes. */
  #remember(error: OAuthError, secret: string | undefined): void {
    const last = this.#refused?.secret === secret ? this.#refused : undefined
    const count = (last?.count ?? 0) + 1
    this.#refused = { error, secret, count, until: Date.now() + Math.min(1000 * 2 ** (count - 1), 120_000) }
  }

  /** RFC 7009. Rejects when the server could not be told; whether it knew the token is its own affair. */
  async revoke(token: string, kind: 'refresh_token' | 'access_token'): Promise<void> {
    const server = await this.metadata()
    if (server.revocation_endpoint === undefined) return
    await this.#deadline(async (signal) => {
      const client = await this.#identified()
      const options = {
        ...this.#requestOptions(signal, async (url, init) => {
          const { status } = await answerOf(this.#options, url, init, redactor(client.client_secret, init))
          return new Response(undefined, { status })
        }),
        additionalParameters: { token_type_hint: kind },
      }
      await oauth.revocationRequest(server, client, authenticationFor(this.#options, server, client), token, options)
    })
  }

  async #identified(): Promise<Identified> {
    const { clientId, clientSecret } = this.#options
    const secret = typeof clientSecret === 'function' ? clientSecret() : clientSecret
    return { client_id: clientId, client_secret: await secret }
  }

  async #requestToken(
    server: AuthorizationServer,
    client: Identified,
    grantType: string,
    parameters: URLSearchParams,
    checks: TokenRequestChecks,
    signal: AbortSignal,
  ): Promise<Issued> {
    let issuedAt = 0
    const options = this.#requestOptions(signal, async (url, init) => {
      checks.beforeSend?.()
      issuedAt = Date.now()
      this.tokenRequests++
      const redacted = redactor(client.client_secret, init)
      const { status, headers, json } = await answerOf(this.#options, url, init, redacted)
      if (json === undefined) {
        throw new TokenUnavailableError(
          'invalid-response',
          `The token endpoint answered ${status} without a JSON object`,
          {
            fix: 'Check that token_endpoint is right and that no proxy or captive portal answers in its place.',
          },
        )
      }
      const normalized = normalizedTokenResponse(json, redacted)
      client[oauth.clockSkew] = clockSkew(headers, normalized.id_token)
      return Response.json(normalized, { status: status < 300 ? (normalized.error ? 400 : 200) : status })
    })
    try {
      const response = await oauth.genericTokenEndpointRequest(
        server,
        client,
        authenticationFor(this.#options, server, client),
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
      throw translated(error)
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
    if (discovery === false) return signedOnly({ ...metadata, issuer })
    const found = await discover(issuer, (url, init) =>
      this.#deadline((signal) => answerOf(this.#options, url, { ...init, signal })),
    )
    if (found) return signedOnly({ ...found, ...metadata, issuer: found.issuer })
    throw new OAuthError('discovery-failed', `No authorization server metadata at ${issuer}`, {
      fix: 'Check issuer, or give metadata with discovery: false.',
    })
  }
}

/** An ID token has to be signed, whatever the metadata allows (OpenID Connect Core section 3.1.3.7). */
function signedOnly(server: AuthorizationServer): AuthorizationServer {
  const { id_token_signing_alg_values_supported: algorithms } = server
  if (!Array.isArray(algorithms)) return server
  return { ...server, id_token_signing_alg_values_supported: algorithms.filter((name) => name !== 'none') }
}
