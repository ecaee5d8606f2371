import * as oauth from 'oauth4webapi'
import type { TokenRequestChecks } from '../client.ts'
import { confidential } from '../client-authentication.ts'
import { within } from '../deadline.ts'
import { InvalidCallbackError, LoginRequiredError, OAuthError, TokenUnavailableError } from '../errors.ts'
import { secureUrl } from '../secure-url.ts'
import type { SourceOptions } from '../source-options.ts'
import { TokenManager } from '../token-manager.ts'
import { tokenParameters } from '../token-parameters.ts'
import {
  memoryTransactions,
  TRANSACTION_LIFETIME,
  type Transaction,
  type TransactionStore,
} from '../transaction-store.ts'
import {
  assertJson,
  authorizationResponseIn,
  isState,
  statePrefix,
  unusable,
  withoutResponse,
} from './authorization-response.ts'
import type { UserAgent } from './user-agent.ts'
import { navigated, remembered } from './user-agent.ts'

export interface AuthorizationCodeOptions extends SourceOptions {
  /** Where the server sends the user agent back to (RFC 6749 section 3.1.2). */
  redirectUri: string
  userAgent: UserAgent
  /** Default: in memory. */
  transactions?: TransactionStore | undefined
}

export interface LoginOptions {
  /** Any JSON value; comes back from `handleCallback()`. */
  appState?: unknown
  /** OpenID Connect Core section 3.1.2.1. */
  prompt?: string | undefined
  /** OpenID Connect Core section 3.1.2.1. */
  loginHint?: string | undefined
  /** OpenID Connect Core section 3.1.2.1. */
  acrValues?: string | undefined
  /** Seconds since the person last proved who they are (OpenID Connect Core section 3.1.2.1). */
  maxAge?: number | undefined
  /** Extra authorization-request parameters. They never replace the protocol's own. */
  parameters?: Record<string, string> | undefined
}

export interface LogoutOptions {
  /** OpenID Connect RP-Initiated Logout section 2. */
  postLogoutRedirectUri?: string | undefined
  /** `false`: stay here; the session ends here and its tokens are revoked, the server's own session goes on. */
  endSession?: boolean | undefined
}

/** A login that has just come back. */
export interface LoginResult {
  readonly appState?: unknown
}

/** Authorization code with PKCE (RFC 6749 section 4.1, RFC 7636, RFC 9700 section 2.1): a person signs in. */
export class AuthorizationCodeFlow extends TokenManager {
  readonly #options: AuthorizationCodeOptions
  readonly #transactions: TransactionStore
  readonly #unwatch: (() => void) | undefined
  /** Starts every `state` of this client, so that it knows its own callbacks. */
  readonly #statePrefix: string
  #handled: { url: string; result: Promise<LoginResult | undefined>; settled: boolean } | undefined

  constructor(options: AuthorizationCodeOptions) {
    const grant = async () => {
      throw new LoginRequiredError('login-required', 'Nobody is signed in', { fix: 'Call login().' })
    }
    super(grant, options, { name: 'authorization_code', oneSession: true, asksAgain: false })
    secureUrl(options.redirectUri, options.allowInsecureRequests)
    if (!options.userAgent) {
      throw new OAuthError('invalid-options', 'userAgent is missing', {
        fix: 'Set userAgent, or import this from browser.',
      })
    }
    const { issuer, clientId, sessionKey, transactions = memoryTransactions() } = options
    this.#options = options
    this.#transactions = transactions
    this.#unwatch = options.userAgent.watch?.(() => this.wake())
    this.#statePrefix = statePrefix([issuer, clientId, sessionKey])
  }

  /** Leaves for the authorization server; resolves when the user agent has been told to. */
  async login(options: LoginOptions = {}): Promise<void> {
    const { userAgent } = this.#options
    const url = await this.#authorizationRequest(options)
    await navigated(userAgent, url)
  }

  /**
   * To be called on every load. Resolves with what `login()` was given when a login has just come back, else with
   * `undefined`; `session` is known by then. Rejects with an `InvalidCallbackError` for a response that is ours but
   * cannot be used (RFC 6749 section 4.1.2.1, RFC 9207). One URL is handled once, however often this is called.
   */
  handleCallback(): Promise<LoginResult | undefined> {
    const { userAgent, redirectUri } = this.#options
    const { url } = userAgent
    const last = this.#handled
    // While the last response is redeemed its address is clean already.
    if (last?.url === url || (last?.settled === false && !authorizationResponseIn(url, redirectUri))) return last.result
    const result = this.#handle(url).finally(() => {
      handled.settled = true
    })
    const handled = { url, result, settled: false }
    this.#handled = handled
    return result
  }

  /** Ends the session: here at once, then its tokens at the server (RFC 7009), then the server's own session. */
  async logout({ postLogoutRedirectUri, endSession = true }: LogoutOptions = {}): Promise<void> {
    const { client } = this
    const ending = this.end()
    const endpoint = endSession ? client.endpoint('end_session_endpoint') : Promise.resolve(undefined)
    const late = () => new TokenUnavailableError('timeout', 'the server does not answer')
    const inTime = <T>(step: Promise<T>) =>
      within(client.timeout, late, () => step).catch((error) =>
        this.warnings.warn(`Signed out here only: ${error.message}`),
      )
    const revoked = inTime(ending.then((end) => end.revoked))
    const [{ records }, url] = await Promise.all([ending, inTime(endpoint), revoked])
    if (url === undefined) return
    const idToken = records.find((record) => record.idToken)?.idToken
    if (idToken !== undefined) url.searchParams.set('id_token_hint', idToken)
    url.searchParams.set('client_id', this.client.clientId)
    if (postLogoutRedirectUri !== undefined) url.searchParams.set('post_logout_redirect_uri', postLogoutRedirectUri)
    await navigated(this.#options.userAgent, url)
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    this.#unwatch?.()
    await super[Symbol.asyncDispose]()
  }

  async #authorizationRequest(options: LoginOptions): Promise<URL> {
    const { redirectUri, scope, resource, parameters } = this.#options
    if (!globalThis.crypto?.subtle) {
      throw new OAuthError('insecure-context', 'This page has no WebCrypto', {
        fix: 'Serve it over https, or from localhost.',
      })
    }
    const url = await this.client.endpoint('authorization_endpoint')
    if (url === undefined) {
      throw new OAuthError('invalid-metadata', 'The metadata has no authorization_endpoint', {
        fix: 'Set metadata.authorization_endpoint.',
      })
    }
    const { appState, prompt, loginHint, acrValues, maxAge } = options
    assertJson(appState)
    const state = this.#statePrefix + oauth.generateRandomState()
    const codeVerifier = oauth.generateRandomCodeVerifier()
    const nonce = scope?.split(' ').includes('openid') ? oauth.generateRandomNonce() : undefined
    const asked = tokenParameters({ scope, resource, parameters: { ...parameters, ...options.parameters } })
    const own = {
      response_type: 'code',
      client_id: this.client.clientId,
      redirect_uri: redirectUri,
      state,
      nonce,
      code_challenge: await oauth.calculatePKCECodeChallenge(codeVerifier),
      code_challenge_method: 'S256',
      prompt,
      login_hint: loginHint,
      acr_values: acrValues,
      max_age: maxAge?.toString(),
    }
    for (const [name, value] of asked) url.searchParams.append(name, value)
    for (const [name, value] of Object.entries(own)) if (value !== undefined) url.searchParams.set(name, value)
    const { issuer, clientId } = this.client
    const transaction = { codeVerifier, nonce, maxAge, issuer, clientId, redirectUri, appState, createdAt: Date.now() }
    await remembered(() => this.#transactions.put(state, transaction))
    return url
  }

  async #handle(address: string): Promise<LoginResult | undefined> {
    const { userAgent, redirectUri } = this.#options
    const response = authorizationResponseIn(address, redirectUri)
    const state = response?.get('state') ?? ''
    try {
      // With no login under way, an answer that does not have our form of state is somebody else's.
      const ours =
        state.startsWith(this.#statePrefix) ||
        (response && !isState(state) && (await remembered(() => this.#transactions.pending())))
      if (!response || !ours) return undefined
      try {
        userAgent.replaceUrl(withoutResponse(address))
      } catch (error) {
        this.warnings.warn(`The address could not be cleaned: ${(error as Error).message}`)
      }
      return await this.#redeem(response, state)
    } finally {
      await this.ready()
    }
  }

  async #redeem(response: URLSearchParams, state: string): Promise<LoginResult> {
    const { client } = this
    const transaction = await remembered(() => this.#transactions.take(state))
    if (!transaction || !this.#isUsable(transaction)) {
      throw new InvalidCallbackError('invalid-state', 'This answer belongs to no login that is under way here', {
        appState: transaction?.appState,
        fix: 'Call login() again: the answer was used already, is older than an hour, or belongs to another browser.',
      })
    }
    const { appState, codeVerifier, nonce, maxAge, redirectUri } = transaction
    try {
      const server = await client.metadata()
      const code = oauth.validateAuthResponse(server, { client_id: client.clientId }, response, state).get('code')
      const repeated = [...response].length > new Set(response.keys()).size
      if (!code || repeated) throw new Error(repeated ? 'a parameter comes twice' : 'it has no code')
      const { resource, parameters } = this.#options
      const request = tokenParameters({ resource, parameters })
      request.set('code', code)
      request.set('redirect_uri', redirectUri)
      request.set('code_verifier', codeVerifier)
      const process: TokenRequestChecks['process'] = (as, who, answer) =>
        oauth.processAuthorizationCodeResponse(as, who, answer, {
          ...(nonce !== undefined && { expectedNonce: nonce }),
          ...(maxAge !== undefined && { maxAge }),
        })
      const tokenSet = await client.tokenRequest('authorization_code', request, { process })
      await this.begin({ ...tokenSet, scope: tokenSet.scope ?? this.#options.scope })
    } catch (error) {
      throw unusable(error, appState)
    }
    return { appState }
  }

  #isUsable({ issuer, clientId, createdAt }: Transaction): boolean {
    const age = Date.now() - createdAt
    return issuer === this.client.issuer && clientId === this.client.clientId && Math.abs(age) < TRANSACTION_LIFETIME
  }
}

/** A person signs in: authorization code with PKCE. Throws an `OAuthError` for options that cannot work. */
export function authorizationCode(options: AuthorizationCodeOptions): AuthorizationCodeFlow {
  return new AuthorizationCodeFlow(confidential(options))
}
