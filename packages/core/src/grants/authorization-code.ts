import * as oauth from 'oauth4webapi'
import type { TokenRequestChecks } from '../client.ts'
import { confidential } from '../client-authentication.ts'
import { within } from '../deadline.ts'
import { LoginRequiredError, OAuthError, StoreError } from '../errors.ts'
import { secureUrl } from '../secure-url.ts'
import type { SourceOptions } from '../source-options.ts'
import { TokenManager } from '../token-manager.ts'
import { tokenParameters } from '../token-parameters.ts'
import { isUnderWay, memoryTransactions, type TransactionStore } from '../transaction-store.ts'
import { type AuthorizationResponse, authorizationResponseIn, stateMark, unusable } from './authorization-response.ts'
import type { UserAgent } from './user-agent.ts'

export interface AuthorizationCodeOptions extends SourceOptions {
  /** Where the server sends the user agent back to (RFC 6749 section 3.1.2). */
  redirectUri: string
  userAgent: UserAgent
  /** Default: in memory. */
  transactions?: TransactionStore | undefined
}

type FlowOptions = AuthorizationCodeOptions & { transactions: TransactionStore }

export interface LoginOptions {
  /** Any JSON value; comes back from `handleCallback()`. */
  appState?: unknown
  /** Asked for besides the source's own (RFC 6749 section 3.3), as after a challenge. */
  scope?: string | undefined
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

/** How a person gets to the authorization server and back, and what remembers the login meanwhile. */
export interface LoginRoute {
  userAgent: UserAgent
  transactions: TransactionStore
}

/** A login that has just come back. */
export interface LoginResult {
  readonly appState?: unknown
}

/** Authorization code with PKCE (RFC 6749 section 4.1, RFC 7636, RFC 9700 section 2.1): a person signs in. */
export class AuthorizationCodeFlow extends TokenManager {
  readonly #options: FlowOptions
  /** Starts every `state` of this client, so that it knows its own callbacks. */
  readonly #mark: string
  readonly #unwatch: (() => void) | undefined
  /** What `handleCallback()` was called with last and gave, and how many of its calls are under way. */
  #url: string | undefined
  #result: Promise<LoginResult | undefined> = Promise.resolve(undefined)
  #underWay = 0

  constructor(options: FlowOptions) {
    const grant = async () => {
      throw new LoginRequiredError('login-required', 'Nobody is signed in', { fix: 'Call login().' })
    }
    super(grant, options, { name: 'authorization_code', oneSession: true, asksAgain: false })
    const { issuer, clientId, sessionKey, redirectUri, allowInsecureRequests, userAgent } = options
    secureUrl(redirectUri, allowInsecureRequests)
    this.#options = options
    this.#mark = stateMark(issuer, clientId, sessionKey)
    this.#unwatch = userAgent.watch?.(() => this.wake())
  }

  /** Leaves for the authorization server; resolves when the user agent has been told to. */
  async login({ appState, maxAge, ...options }: LoginOptions = {}, route: LoginRoute = this.#options): Promise<void> {
    if (!globalThis.crypto?.subtle) {
      throw new OAuthError('insecure-context', 'No WebCrypto', { fix: 'Serve the page over https.' })
    }
    const { issuer, redirectUri, resource, parameters } = this.#options
    const scope = [...new Set([this.#options.scope, options.scope].join(' ').match(/\S+/g))].join(' ') || undefined
    const endpoint = await this.client.endpoint('authorization_endpoint')
    if (!endpoint) {
      throw new OAuthError('invalid-metadata', 'No authorization_endpoint', { fix: 'Set it in metadata.' })
    }
    const state = this.#mark + oauth.generateRandomState()
    const codeVerifier = oauth.generateRandomCodeVerifier()
    const nonce = scope?.split(' ').includes('openid') ? oauth.generateRandomNonce() : undefined
    const request = tokenParameters(
      { scope, resource, parameters: { ...parameters, ...options.parameters } },
      {
        response_type: 'code',
        client_id: this.client.clientId,
        redirect_uri: redirectUri,
        state,
        nonce,
        code_challenge: await oauth.calculatePKCECodeChallenge(codeVerifier),
        code_challenge_method: 'S256',
        prompt: options.prompt,
        login_hint: options.loginHint,
        acr_values: options.acrValues,
        max_age: maxAge?.toString(),
      },
    )
    const transaction = { codeVerifier, nonce, maxAge, scope, issuer, redirectUri, appState, createdAt: Date.now() }
    await this.#remembered(route, (transactions) => transactions.put(state, transaction))
    await this.#leaveFor(route, endpoint, request)
  }

  /**
   * To be called on every load. Resolves with what `login()` was given when a login has just come back, else with
   * `undefined`; `session` is known by then. Rejects with an `InvalidCallbackError` for a response that is ours but
   * cannot be used (RFC 6749 section 4.1.2.1, RFC 9207). One URL is handled once, however often this is called.
   */
  handleCallback(): Promise<LoginResult | undefined> {
    const { userAgent, redirectUri } = this.#options
    const { url } = userAgent
    const answer = authorizationResponseIn(url, redirectUri)
    // While the last response is redeemed its address is clean already.
    if (url !== this.#url && (answer || !this.#underWay)) {
      this.#url = url
      this.#underWay++
      const handled = answer ? this.redeem(answer) : Promise.resolve(undefined)
      this.#result = handled
        .finally(() => this.ready())
        .finally(() => {
          this.#underWay--
        })
    }
    return this.#result
  }

  /** Ends the session: here at once, then its tokens at the server (RFC 7009), then the server's own session. */
  async logout({ postLogoutRedirectUri, endSession = true }: LogoutOptions = {}): Promise<void> {
    const { client } = this
    const late = () => new Error('no answer')
    const inTime = <T>(step: Promise<T>) =>
      within(client.timeout, late, () => step).catch(({ message }) =>
        this.warnings.warn(`Signed out here only: ${message}`),
      )
    const ending = this.end()
    const [{ records }, endpoint] = await Promise.all([
      ending,
      endSession && inTime(client.endpoint('end_session_endpoint')),
      inTime(ending.then(({ revoked }) => revoked)),
    ])
    const hints = {
      id_token_hint: records.find(({ idToken }) => idToken)?.idToken,
      client_id: client.clientId,
      post_logout_redirect_uri: postLogoutRedirectUri,
    }
    if (endpoint instanceof URL) await this.#leaveFor(this.#options, endpoint, tokenParameters({}, hints))
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    this.#unwatch?.()
    await super[Symbol.asyncDispose]()
  }

  /** What `handleCallback()` does with a response that came by another route than the page's address. */
  async redeem(
    { response, cleanAddress }: AuthorizationResponse,
    route: LoginRoute = this.#options,
  ): Promise<LoginResult | undefined> {
    const { client } = this
    const { issuer, resource, parameters } = this.#options
    const state = response.get('state') ?? ''
    // With no login under way, an answer that does not have our form of state is somebody else's.
    const ours =
      state.startsWith(this.#mark) ||
      (!/^kt\w+-/.test(state) && (await this.#remembered(route, (transactions) => transactions.pending())))
    if (!ours) return undefined
    try {
      route.userAgent.replaceUrl(cleanAddress)
    } catch {
      this.warnings.warn('Cannot clean the address')
    }
    const transaction = await this.#remembered(route, (transactions) => transactions.take(state))
    if (!transaction && (await route.userAgent.handOver?.(state, `${response}`))) return undefined
    const appState = transaction?.appState
    if (!isUnderWay(transaction) || transaction.issuer !== issuer) {
      throw unusable(new Error('no login here waits for it'), appState, 'invalid-state')
    }
    try {
      const server = await client.metadata()
      const code = oauth.validateAuthResponse(server, { client_id: client.clientId }, response, state).get('code')
      if (!code || response.size > new Set(response.keys()).size) throw new Error('no code, or a repeated parameter')
      const { redirectUri: redirect_uri, codeVerifier: code_verifier, nonce, maxAge, scope } = transaction
      const request = tokenParameters({ resource, parameters }, { code, redirect_uri, code_verifier })
      const process: TokenRequestChecks['process'] = (as, who, answer) =>
        oauth.processAuthorizationCodeResponse(as, who, answer, {
          expectedNonce: nonce ?? oauth.expectNoNonce,
          maxAge: maxAge ?? oauth.skipAuthTimeCheck,
        })
      const tokenSet = await client.tokenRequest('authorization_code', request, { process })
      await this.begin({ ...tokenSet, scope: tokenSet.scope ?? scope })
    } catch (error) {
      throw unusable(error, appState)
    }
    return { appState }
  }

  /** What the transaction store does; where it fails, no login can be begun or finished. */
  async #remembered<T>(
    { transactions }: LoginRoute,
    call: (transactions: TransactionStore) => T | Promise<T>,
  ): Promise<T> {
    try {
      return await call(transactions)
    } catch (cause) {
      throw new StoreError('Cannot remember the login', { cause, fix: 'Allow session storage.' })
    }
  }

  async #leaveFor({ userAgent }: LoginRoute, endpoint: URL, parameters: URLSearchParams): Promise<void> {
    for (const [name, value] of parameters) endpoint.searchParams.append(name, value)
    try {
      await userAgent.navigate(endpoint.href)
    } catch (cause) {
      throw new OAuthError('navigation-failed', 'Cannot navigate', { cause })
    }
  }
}

/** A person signs in: authorization code with PKCE. Throws an `OAuthError` for options that cannot work. */
export function authorizationCode(options: AuthorizationCodeOptions): AuthorizationCodeFlow {
  const { userAgent, transactions = memoryTransactions() } = options
  if (!userAgent) {
    throw new OAuthError('invalid-options', 'userAgent is missing', {
      fix: 'Set userAgent, or import this from browser.',
    })
  }
  return new AuthorizationCodeFlow(confidential({ ...options, transactions }))
}
