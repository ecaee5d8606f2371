import { Client } from './client.ts'
import { within } from './deadline.ts'
import { OAuthError, TokenUnavailableError } from './errors.ts'
import type { Grant } from './grant.ts'
import type { HeldToken } from './held-token.ts'
import { memoryStore } from './memory-store.ts'
import { drawFactor } from './renewal-policy.ts'
import { Session } from './session.ts'
import type { Wanted } from './session-options.ts'
import type { SessionRecord, TimelineEvent } from './session-record.ts'
import { differs, type SessionSnapshot, snapshotOf } from './session-snapshot.ts'
import type { GrantKind, SourceOptions, Stats } from './source-options.ts'
import { tokenKeyOf } from './token-parameters.ts'
import type { Issued, IssuedTokenSet } from './token-set.ts'
import type { AccessTokenRequest, TokenSource } from './token-source.ts'
import type { TokenStore } from './token-store.ts'
import { Warnings } from './warnings.ts'

/** How many tokens besides its own one manager keeps in memory; the oldest go first, and stay in the store. */
const MOST_OTHERS = 1000

/** Keeps, renews and shares what a grant yields. Constructing one touches neither network nor storage. */
export class TokenManager implements TokenSource {
  readonly #grant: Grant
  readonly #options: SourceOptions
  readonly #kind: GrantKind
  readonly #client: Client
  readonly #store: TokenStore
  readonly #factor: number = drawFactor()
  readonly #own: Wanted
  readonly #session: Session
  /** Those of other tokens, where every token is on its own. */
  readonly #others = new Map<string, Session>()
  readonly #listeners = new Set<{ listener: () => void }>()
  protected readonly warnings: Warnings
  #held: HeldToken | undefined
  #snapshot: SessionSnapshot = Object.freeze({ status: 'unknown' })
  #served = 0

  constructor(
    grant: Grant,
    options: SourceOptions,
    kind: GrantKind = { name: 'custom', oneSession: false, asksAgain: true },
  ) {
    this.#grant = grant
    this.#options = options
    this.#kind = kind
    this.warnings = new Warnings(options.onWarning)
    this.#client = new Client(options)
    this.#store = options.store ?? memoryStore()
    if (!['get', 'replace', 'lock'].every((name) => typeof this.#store[name as 'get'] === 'function')) {
      throw new OAuthError('invalid-options', 'store is no TokenStore', { fix: 'Give store get, replace and lock.' })
    }
    const { scope, resource, parameters } = options
    const request = { scope, resource, parameters }
    this.#own = { request, tokenKey: tokenKeyOf(request) }
    this.#session = this.#sessionFor(this.#own)
  }

  /** A token that is valid now. Rejects with an `OAuthError`, or with the reason of an aborted `signal`. */
  getAccessToken(request?: AccessTokenRequest): Promise<string> {
    const held = this.#held
    if (request === undefined && held?.isFresh(this.#session.drift)) {
      this.#served++
      held.used = true
      return held.promise
    }
    return this.#token(request).then(([token]) => token.promise)
  }

  /** The same, with what is known of the token. */
  async getTokenSet(request?: AccessTokenRequest): Promise<IssuedTokenSet> {
    const [{ stored }, { record }] = await this.#token(request)
    const { accessToken, ...rest } = stored
    const secrets = { accessToken: { value: accessToken }, idToken: { value: record?.idToken } }
    return Object.defineProperties({ ...rest, claims: record?.claims }, secrets) as IssuedTokenSet
  }

  /** Who is signed in, as far as is known: one frozen object, replaced only on change. */
  get session(): SessionSnapshot {
    // A token that nothing renews ends by itself, whether a timer says so or not.
    if (this.#snapshot.status === 'signedIn' && !this.#snapshot.renewable) this.#changed()
    return this.#snapshot
  }

  /** Calls `listener` after every change of `session`; returns the way to stop that. Needs no `this`. */
  readonly subscribe = (listener: () => void): (() => void) => {
    const subscription = { listener }
    this.#listeners.add(subscription)
    void this.#session.ready()
    return () => {
      this.#listeners.delete(subscription)
    }
  }

  /**
   * Forgets every token, here at once and then in the store, and has them revoked (RFC 7009). Where the server cannot be
   * told, that is reported as a warning: nobody can use the session here any more.
   */
  async revoke(): Promise<void> {
    const { revoked } = await this.end()
    await revoked
  }

  /** What was spent and saved since the start. */
  stats(): Stats {
    const all = [this.#session, ...this.#others.values()].map(({ counts }) => counts)
    return {
      tokenRequests: this.#client.tokenRequests,
      tokensServedFromMemory: this.#served,
      renewals: all.reduce((sum, { renewals }) => sum + renewals, 0),
      failures: all.reduce((sum, { failures }) => sum + failures, 0),
      degradations: this.warnings.count,
    }
  }

  /** What happened to the session, oldest first: no secrets, and it survives a restart with the store. */
  explain(): TimelineEvent[] {
    return [...(this.#session.copy.record?.timeline ?? []), ...this.warnings.degradations].sort(
      (one, other) => one.at - other.at,
    )
  }

  /** Stops timers and channels. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const session of [this.#session, ...this.#others.values()]) session.dispose()
  }

  /** For flows that a person takes part in. */
  protected get client(): Client {
    return this.#client
  }

  protected wake(): void {
    void this.#session.wake()
  }

  protected ready(): Promise<void> {
    return this.#session.ready()
  }

  /** A sign-in takes the place of whatever session there was. */
  protected async begin(tokenSet: Issued): Promise<void> {
    await this.#session.begin(tokenSet)
    if (tokenSet.refreshToken === undefined) {
      this.warnings.warn(
        'The server gave no refresh token: the session ends with its access token. Ask for scope offline_access.',
      )
    }
  }

  /** Ends all sessions; resolves when the store knows, with what they held and the revocation under way. */
  protected async end(): Promise<{ records: SessionRecord[]; revoked: Promise<void> }> {
    const ends = [this.#session, ...this.#others.values()].map((session) => session.signOut())
    const records = (await Promise.all(ends)).flat()
    return { records, revoked: this.#revoke(records) }
  }

  async #token(request: AccessTokenRequest = {}): Promise<[HeldToken, Session['copy']]> {
    const wanted = this.#wanted(request)
    let session = this.#session
    if (wanted !== this.#own && !this.#kind.oneSession) {
      session = this.#other(wanted)
    }
    const sent = this.#client.tokenRequests
    const held = await session.token(wanted, request)
    if (sent === this.#client.tokenRequests) this.#served++
    held.used = true
    return [held, session.copy]
  }

  #other(wanted: Wanted): Session {
    const known = this.#others.get(wanted.tokenKey)
    if (known) return known
    for (const [key, oldest] of this.#others) {
      if (this.#others.size < MOST_OTHERS) break
      oldest.dispose()
      this.#others.delete(key)
    }
    const session = this.#sessionFor(wanted)
    this.#others.set(wanted.tokenKey, session)
    return session
  }

  /** The caller's wishes, completed with the source's own. */
  #wanted({ scope, resource, parameters }: AccessTokenRequest): Wanted {
    const own = this.#own.request
    const request = {
      scope: scope ?? own.scope,
      resource: resource ?? own.resource,
      parameters: parameters ?? own.parameters,
    }
    const tokenKey = tokenKeyOf(request)
    return tokenKey === this.#own.tokenKey ? this.#own : { request, tokenKey }
  }

  #sessionFor(own: Wanted): Session {
    const { name, principal, oneSession, asksAgain, initial } = this.#kind
    const { issuer, clientId, sessionKey = 'default' } = this.#options
    const { timeout } = this.#client
    const late = () => new TokenUnavailableError('timeout', 'Nobody says whose session it is')
    const identify = async () => {
      const whose = principal ? await principal() : sessionKey
      const key = JSON.stringify([issuer, clientId, name, whose, ...(oneSession ? [] : [own.tokenKey])])
      return { key, initial: await initial?.() }
    }
    return new Session({
      client: this.#client,
      grant: this.#grant,
      store: this.#store,
      factor: this.#factor,
      asksAgain,
      identity: () => within(timeout, late, identify),
      own,
      changed: () => this.#changed(),
      degraded: (what, cause) => this.warnings.degraded(what, cause),
      warn: (message) => this.warnings.warn(message),
      watched: () => this.#listeners.size > 0,
    })
  }

  async #revoke(records: SessionRecord[]): Promise<void> {
    const tokens = new Map<string, 'refresh_token' | 'access_token'>()
    for (const { refreshToken, tokens: issued } of records) {
      if (refreshToken !== undefined) tokens.set(refreshToken, 'refresh_token')
      else for (const { accessToken } of Object.values(issued)) tokens.set(accessToken, 'access_token')
    }
    const revoked = [...tokens].map(([token, kind]) => this.#client.revoke(token, kind))
    for (const result of await Promise.allSettled(revoked)) {
      if (result.status === 'rejected') this.warnings.warn(`A token could not be revoked: ${result.reason.message}`)
    }
  }

  #changed(): void {
    this.#held = this.#session.copy.held.get(this.#own.tokenKey)
    const snapshot = snapshotOf(this.#session, this.#kind.asksAgain)
    if (!differs(snapshot, this.#snapshot)) return
    this.#snapshot = Object.freeze(snapshot)
    for (const subscription of this.#listeners) queueMicrotask(() => this.#tell(subscription))
  }

  #tell(subscription: { listener: () => void }): void {
    if (!this.#listeners.has(subscription)) return
    try {
      subscription.listener()
    } catch (error) {
      this.warnings.warn(`A listener failed: ${(error as Error)?.message}`)
    }
  }
}
