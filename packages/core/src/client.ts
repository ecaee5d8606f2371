import * as oauth from 'oauth4webapi'
import { detailsIn } from './authorization-details.ts'
import { none, type TimedAuthentication } from './client-authentication.ts'
import type { ClientOptions } from './client-options.ts'
import { within } from './deadline.ts'
import { type AuthorizationServer, discover } from './discovery.ts'
import { OAuthError, TokenUnavailableError } from './errors.ts'
import { accepted, identityIn, type RefreshedSession } from './id-token.ts'
import type { ProofOfPossession } from './proof-of-possession.ts'
import { ours } from './renewal-errors.ts'
import { secureUrl } from './secure-url.ts'
import { answerOf, clockSkew, type EndpointAnswer, refusal, secretsOf } from './server-answers.ts'
import type { StoredKey } from './session-record.ts'
import { lifetimeOf, normalizedTokenResponse, refreshTokenExpiresAt } from './token-response.ts'
import type { Issued } from './token-set.ts'

/** What a token request may bring along. */
export interface TokenRequestChecks {
  /** Called right before the request leaves; throws to keep it back. */
  beforeSend?: (() => void) | undefined
  /** Whose refresh token it is. Default: what is answered begins a session. */
  refreshed?: RefreshedSession | undefined
  /** What the session is bound to (RFC 9449). Default: what its source binds the next one to, if anything. */
  key?: StoredKey | undefined
  /** Validates the answer. Default: as RFC 6749 section 5 and, of an ID token, OpenID Connect Core section 3.1.3.7 ask. */
  process?: typeof oauth.processGenericTokenEndpointResponse | undefined
}

/** Longer, and a platform's timers would end at once. */
const DAY = 86_400_000

/** Parameters that extra ones cannot bring along. */
const OURS = ['client_id', 'client_secret', 'client_assertion', 'client_assertion_type']

type Endpoint =
  | 'jwks_uri'
  | `${'authorization' | 'device_authorization' | 'end_session' | 'introspection' | 'pushed_authorization_request' | 'revocation' | 'token' | 'userinfo'}_endpoint`

/** One client at one authorization server: the only place that knows the wire. */
export class Client {
  readonly #options: ClientOptions
  readonly #authenticate: TimedAuthentication & { aliases?: 'mtls_endpoint_aliases' } = none()
  #metadata: Promise<AuthorizationServer> | undefined
  #refused: { error: OAuthError; secret: unknown; until: number } | undefined
  readonly issuer: string
  readonly clientId: string
  /** Milliseconds for one request. */
  readonly timeout: number
  /** Binds tokens to a key. Default: they are whose who has them. */
  declare possession?: ProofOfPossession | undefined
  /** Requests sent to the token endpoint. */
  tokenRequests = 0

  constructor(options: ClientOptions) {
    const { issuer, clientId, clientSecret, timeout = 10_000 } = options
    const { clientAuthentication = clientSecret === undefined ? 'none' : 'secret' } = options
    const isNamed = typeof clientId === 'string' && clientId !== ''
    const wrong = isNamed ? !(timeout > 0 && timeout <= DAY) && 'timeout' : 'clientId'
    if (wrong) throw new OAuthError('invalid-options', `${wrong} cannot be used`, { fix: `Set ${wrong}.` })
    this.#options = options
    this.issuer = secureUrl(issuer, 'issuer', options.allowInsecureRequests) && issuer
    this.clientId = clientId
    this.timeout = timeout
    if (typeof clientAuthentication === 'function') this.#authenticate = clientAuthentication
    else if (clientAuthentication !== 'none') {
      throw new OAuthError('invalid-options', 'A page can keep no secret', {
        fix: 'Register a public client, or pass clientAuthentication: clientSecretPost().',
      })
    }
  }

  /** Whether a source with these options can use it: what it does not check nobody would. */
  fits({ issuer, clientId, claims, idTokenSignature }: ClientOptions): boolean {
    const own = this.#options
    const checks = (!claims || claims === own.claims) && (!idTokenSignature || !!own.idTokenSignature)
    return checks && issuer === this.issuer && clientId === this.clientId
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
  async endpoint(name: Endpoint): Promise<URL | undefined> {
    const server = await this.metadata()
    const { metadata, allowInsecureRequests } = this.#options
    const { aliases } = this.#authenticate
    const named = (by: Partial<AuthorizationServer>) => (aliases && Object(by[aliases])[name]) ?? by[name]
    const url = named(server)
    // Who is far away does not say what to send to a service of this machine; the app may.
    const mayBeLocal = !/^https:/i.test(this.issuer) || url === named(metadata ?? {})
    return url ? secureUrl(url, name, allowInsecureRequests, mayBeLocal) : undefined
  }

  /** The same, where nothing can be done without it. */
  async requiredEndpoint(name: Endpoint): Promise<URL> {
    const url = await this.endpoint(name)
    if (url) return url
    throw new OAuthError('invalid-metadata', `The metadata has no ${name}`, { fix: `Set metadata.${name}.` })
  }

  /** One token request (RFC 6749 section 3.2). `invalid_client` asks for the secret once more, and tries another. */
  async tokenRequest(grantType: string, parameters: URLSearchParams, checks: TokenRequestChecks = {}): Promise<Issued> {
    const url = await this.requiredEndpoint('token_endpoint')
    for (const name of OURS) parameters.delete(name)
    parameters.set('grant_type', grantType)
    const known = this.#refused
    const attempt = () => this.#requestToken(url, parameters, checks)
    return attempt().catch((error) => {
      if (this.#refused === known || error !== this.#refused?.error) throw error
      const { clientSecret, clientAuthentication } = this.#options
      // What it signs is another each time, perhaps with a new key.
      if (clientSecret === undefined && typeof clientAuthentication === 'function') this.#refused = undefined
      return attempt()
    })
  }

  /** RFC 7009. Rejects when the server could not be told, or says no; whether it knew the token is its own affair. */
  async revoke(token: string, kind: 'refresh_token' | 'access_token'): Promise<void> {
    const url = await this.endpoint('revocation_endpoint')
    if (!url) return
    const { response, json, secrets } = await this.post(url, new URLSearchParams({ token, token_type_hint: kind }))
    const { ok, status } = response
    const { error = status } = json ?? {}
    if (!ok && error !== 'invalid_token') throw refusal(String(error), '', status, secrets)
  }

  async #requestToken(url: URL, parameters: URLSearchParams, checks: TokenRequestChecks): Promise<Issued> {
    const { beforeSend, process = oauth.processGenericTokenEndpointResponse } = checks
    const verify = await this.#options.idTokenSignature?.(this)
    const { possession } = this
    let issuedAt = 0
    let { key } = checks
    const ask = () =>
      this.post(url, parameters, async (secret, headers) => {
        const refused = this.#refused
        // R7: what was refused is not sent again for a minute, unless it changes.
        if (refused && refused.secret === secret && Date.now() < refused.until) throw refused.error
        key = await possession?.prove(url, headers, key)
        beforeSend?.()
        issuedAt = Date.now()
        this.tokenRequests++
      })
    let answer = await ask()
    if (possession?.learn(answer)) {
      answer = await ask()
      possession.learn(answer) // the next nonce
    }
    const { client, secrets, response, json } = answer
    const { status, headers } = response
    if (json?.error && typeof json.error === 'string') {
      const error = refusal(json.error, json.error_description, status, secrets)
      if (error.code === 'client-refused') {
        this.#refused = { error, secret: client.client_secret, until: Date.now() + 60_000 }
      }
      throw error
    }
    try {
      const members = normalizedTokenResponse(json ?? {})
      client[oauth.clockSkew] = clockSkew(headers, members.id_token)
      const tokens = Response.json(members, { status: status < 300 ? 200 : status })
      const result = await process(await this.metadata(), client, tokens)
      if (result.token_type !== (key ? 'dpop' : 'bearer')) throw new Error('wrong token_type')
      return {
        accessToken: result.access_token,
        tokenType: key ? 'DPoP' : 'Bearer',
        key,
        issuedAt,
        expiresAt: issuedAt + lifetimeOf(json?.expires_in) * 1000,
        scope: result.scope || undefined,
        authorizationDetails: detailsIn(json?.authorization_details),
        refreshToken: result.refresh_token,
        refreshTokenExpiresAt: refreshTokenExpiresAt(json, issuedAt),
        ...(await identityIn(result, this.clientId, checks.refreshed, async (claims) => {
          await verify?.(tokens, result)
          return this.inTime(() => accepted(claims, this.#options.claims))
        })),
      }
    } catch (cause) {
      if (cause instanceof OAuthError) throw cause
      throw new TokenUnavailableError('invalid-response', `No token response (status ${status}): ${cause}`, {
        cause,
        fix: 'Check what answers at token_endpoint.',
      })
    }
  }

  /** An authenticated request (RFC 6749 section 2.3); `beforeSend` may throw to keep it back. */
  async post(
    url: URL,
    body: URLSearchParams,
    beforeSend?: (secret: unknown, headers: Headers) => void | Promise<void>,
  ): Promise<EndpointAnswer & { client: oauth.Client; secrets: string[] }> {
    const { clientSecret } = this.#options
    const client: oauth.Client = { client_id: this.clientId }
    let secrets: string[] = []
    const prepare = async (headers: Headers) => {
      const secret = typeof clientSecret === 'function' ? await clientSecret() : clientSecret
      client.client_secret = secret
      await this.#authenticate(await this.metadata(), client, body, headers)
      secrets = secretsOf(body, headers, secret)
      await beforeSend?.(secret, headers)
    }
    const ask = () => this.send(url, { method: 'POST', body, redirect: 'manual' }, prepare)
    let answer = await ask()
    while (this.#authenticate.isLate?.(body, answer)) answer = await ask()
    return { ...answer, client, secrets }
  }

  /** One request to a checked URL, within the limits of all: its time-out covers everything, the body is read whole. */
  send(url: URL, init: RequestInit, prepare?: (headers: Headers) => Promise<void>): Promise<EndpointAnswer> {
    return this.inTime(async (signal) => {
      const headers = new Headers({ accept: 'application/json' })
      await prepare?.(headers)
      return answerOf(this.#options.fetch ?? fetch, url, { ...init, headers, signal })
    }).catch((error) => {
      throw ours(error)
    })
  }

  /** What `work` gives, unless it takes longer than one request may, or `most` milliseconds. */
  inTime<T>(
    work: (signal: AbortSignal) => Promise<T>,
    what: string = 'No answer',
    most: number = this.timeout,
  ): Promise<T> {
    return within(most, () => new TokenUnavailableError('timeout', `${what} within ${most} ms`), work)
  }

  async #discover(): Promise<AuthorizationServer> {
    const { issuer, metadata, discovery, allowInsecureRequests } = this.#options
    const get = (url: string, redirect: 'manual' | 'follow') =>
      this.send(secureUrl(url, 'issuer', allowInsecureRequests), { redirect })
    // Redirects, and the second address, take their time too: nobody waits for each of them in turn.
    const found =
      discovery === false ? { issuer } : await this.inTime(() => discover(issuer, get), 'No metadata', 3 * this.timeout)
    const server = { ...found, ...metadata, issuer: found.issuer }
    const { id_token_signing_alg_values_supported: algorithms } = server
    if (!Array.isArray(algorithms)) return server
    // An ID token has to be signed, whatever the metadata allows (OpenID Connect Core section 3.1.3.7).
    return { ...server, id_token_signing_alg_values_supported: algorithms.filter((name) => name !== 'none') }
  }
}
