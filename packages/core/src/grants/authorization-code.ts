import * as oauth from 'oauth4webapi'
import type { TokenRequestChecks } from '../client.ts'
import { confidential } from '../client-authentication.ts'
import { within } from '../deadline.ts'
import { LoginRequiredError, OAuthError, StoreError } from '../errors.ts'
import { withOutbox } from '../revocation-outbox.ts'
import { secureUrl } from '../secure-url.ts'
import type { StandardSchemaV1 } from '../standard-schema.ts'
import { TokenManager } from '../token-manager.ts'
import { tokenParameters } from '../token-parameters.ts'
import type { Claims } from '../token-set.ts'
import { isUnderWay, memoryTransactions, type TransactionStore } from '../transaction-store.ts'
import type { AuthorizationCodeOptions, LoginRoute } from './authorization-code-options.ts'
import { type AuthorizationResponse, authorizationResponseIn, stateMark, unusable } from './authorization-response.ts'
import type { LoginOptions, LoginResult, LogoutOptions } from './login-options.ts'

/** Milliseconds after which what remembers logins, or takes an answer over, is given up. */
const PATIENCE = 5000

type FlowOptions = AuthorizationCodeOptions & { transactions: TransactionStore }

/** Authorization code with PKCE (RFC 6749 section 4.1, RFC 7636, RFC 9700 section 2.1): a person signs in. */
export class AuthorizationCodeFlow<C extends Claims = Claims> extends TokenManager<C> {
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
      throw new LoginRequiredError('login-required', 'Nobody is signed in', {
        fix: 'Call login(), and handleCallback() on every load.',
      })
    }
    super(grant, options, { name: 'authorization_code', oneSession: true, asksAgain: false })
    const { issuer, clientId, sessionKey, redirectUri, allowInsecureRequests, userAgent } = options
    secureUrl(redirectUri, 'redirectUri', allowInsecureRequests)
    this.#options = options
    this.#mark = stateMark(issuer, clientId, sessionKey)
    this.#unwatch = userAgent.watch?.(() => this.wake())
  }

  /** Leaves for the authorization server; resolves when the user agent has been told to. */
  async login({ appState, maxAge, ...options }: LoginOptions = {}, route: LoginRoute = this.#options): Promise<void> {
    if (!globalThis.crypto?.subtle) {
      throw new OAuthError('insecure-context', 'No WebCrypto', { fix: 'Serve the page over https.' })
    }
    const { issuer, redirectUri, resource, parameters, par, requestObject, jarm } = this.#options
    const scope = [...new Set([this.#options.scope, options.scope].join(' ').match(/\S+/g))].join(' ') || undefined
    const endpoint = await this.client.requiredEndpoint('authorization_endpoint')
    if (!par && (await this.client.metadata()).require_pushed_authorization_requests) {
      throw new OAuthError('invalid-options', 'No par', { fix: 'Set par: pushedAuthorizationRequests().' })
    }
    const state = this.#mark + oauth.generateRandomState()
    // Verifier and nonce are the same 32 random bytes: one function is enough.
    const codeVerifier = oauth.generateRandomState()
    const nonce = scope?.split(' ').includes('openid') ? oauth.generateRandomState() : undefined
    let request = tokenParameters(
      { scope, resource, parameters: { ...parameters, ...options.parameters } },
      {
        response_type: 'code',
        response_mode: jarm && 'jwt',
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
        dpop_jkt: await this.client.possession?.thumbprint(!!route.transactions.inMemory),
      },
    )
    if (requestObject) request = await requestObject(this.client, request)
    if (par) request = await par(this.client, request)
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
    const { userAgent, redirectUri, jarm } = this.#options
    const { url } = userAgent
    const answer = (jarm?.responseIn ?? authorizationResponseIn)(url, redirectUri)
    // While the last response is redeemed its address is clean already.
    if (url !== this.#url && (answer || !this.#underWay)) {
      this.#url = url
      this.#underWay++
      const handled = answer ? this.redeem(answer) : this.#interrupted()
      this.#result = handled
        .finally(() => this.ready())
        .finally(() => {
          this.#underWay--
        })
    }
    return this.#result
  }

  /** Ends the session: here at once, then its tokens at the server (RFC 7009), then the server's own session. */
  async logout(
    { postLogoutRedirectUri, endSession = true }: LogoutOptions = {},
    route: Pick<LoginRoute, 'userAgent'> = this.#options,
  ): Promise<void> {
    const { client } = this
    const inTime = <T>(step: Promise<T>) =>
      client.inTime(() => step).catch(({ message }) => this.warnings.warn(`Signed out here only: ${message}`))
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
    if (endpoint instanceof URL) await this.#leaveFor(route, endpoint, tokenParameters({}, hints))
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
    const { issuer, resource, parameters, jarm } = this.#options
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
    const handOver = async () => route.userAgent.handOver?.(state, `${response}`)
    // Where that fails it is for the app in this window to be told.
    if (!transaction && (await within(PATIENCE, Error, handOver).catch(() => false))) return undefined
    const appState = transaction?.appState
    const settle = () => route.transactions.settle?.(state)
    if (!isUnderWay(transaction) || transaction.issuer !== issuer) {
      throw unusable(new Error('no login here waits for it'), appState, 'invalid-state')
    }
    try {
      const server = await client.metadata()
      const answer = jarm
        ? await jarm.validated(client, response, state)
        : oauth.validateAuthResponse(server, { client_id: client.clientId }, response, state)
      const code = answer.get('code')
      if (!code || response.size > new Set(response.keys()).size) throw new Error('no code, or a repeated parameter')
      const { redirectUri: redirect_uri, codeVerifier: code_verifier, nonce, maxAge, scope } = transaction
      const request = tokenParameters({ resource, parameters }, { code, redirect_uri, code_verifier })
      const process: TokenRequestChecks['process'] = (as, who, tokens) =>
        oauth.processAuthorizationCodeResponse(as, who, tokens, {
          expectedNonce: nonce ?? oauth.expectNoNonce,
          maxAge: maxAge ?? oauth.skipAuthTimeCheck,
        })
      const tokenSet = await client.tokenRequest('authorization_code', request, { process })
      await this.begin({ ...tokenSet, scope: tokenSet.scope ?? scope })
    } catch (error) {
      // So ends what a page has under way when it is left, too: the next one is to know.
      if (!Object(error).retryable) settle()
      throw unusable(error, appState)
    }
    settle()
    return { appState }
  }

  /** What became of a login whose page was left, or loaded anew, while it was redeemed: no code is sent twice. */
  async #interrupted(): Promise<LoginResult | undefined> {
    const look = this.#remembered(this.#options, (transactions) => transactions.interrupted?.(this.#mark))
    const found = await look.catch(() => undefined) // where nothing can be remembered, nothing was
    await this.ready()
    if (!found) return undefined
    const { appState, createdAt } = found
    if (!(Number(this.signedInAt) >= createdAt))
      throw unusable(new Error('its page was left'), appState, 'invalid-state')
    return { appState }
  }

  /** What the transaction store does; where it fails, no login can be begun or finished. */
  async #remembered<T>(
    { transactions }: LoginRoute,
    call: (transactions: TransactionStore) => T | Promise<T>,
  ): Promise<T> {
    try {
      return await within(PATIENCE, Error, async () => call(transactions))
    } catch (cause) {
      throw new StoreError('Cannot remember the login', { cause, fix: 'Allow session storage; appState is JSON.' })
    }
  }

  async #leaveFor(
    { userAgent }: Pick<LoginRoute, 'userAgent'>,
    endpoint: URL,
    parameters: URLSearchParams,
  ): Promise<void> {
    // The address may have a query of its own (RFC 6749 section 3.1), and no parameter comes twice.
    for (const name of new Set(parameters.keys())) endpoint.searchParams.delete(name)
    for (const [name, value] of parameters) endpoint.searchParams.append(name, value)
    try {
      await userAgent.navigate(endpoint.href)
    } catch (cause) {
      throw new OAuthError('navigation-failed', 'Cannot navigate', { cause })
    }
  }
}

/** A person signs in: authorization code with PKCE. Throws an `OAuthError` for options that cannot work. */
export function authorizationCode<C extends object>(
  options: AuthorizationCodeOptions & { claims: StandardSchemaV1<unknown, C> },
): AuthorizationCodeFlow<Claims & C>
export function authorizationCode(options: AuthorizationCodeOptions): AuthorizationCodeFlow
export function authorizationCode(options: AuthorizationCodeOptions): AuthorizationCodeFlow {
  const { userAgent, transactions = memoryTransactions() } = options
  if (!userAgent) {
    const fix = 'Set userAgent, or import this from browser.'
    throw new OAuthError('invalid-options', 'userAgent is missing', { fix })
  }
  return new AuthorizationCodeFlow(confidential(withOutbox({ ...options, transactions })))
}
