import { Client } from './client.ts'
import { OAuthError } from './errors.ts'
import type { Grant } from './grant.ts'
import type { HeldToken } from './held-token.ts'
import { drawFactor } from './renewal-policy.ts'
import { Session } from './session.ts'
import type { Wanted } from './session-options.ts'
import { revocable, type SessionRecord, type TimelineEvent, tokenSetOf } from './session-record.ts'
import { type SessionSnapshot, snapshotOf } from './session-snapshot.ts'
import type { GrantKind, SourceOptions, Stats } from './source-options.ts'
import { tokenKeyOf } from './token-parameters.ts'
import type { Claims, Issued, IssuedTokenSet } from './token-set.ts'
import type { AccessTokenRequest, TokenSource } from './token-source.ts'
import { Warnings } from './warnings.ts'

/** How many tokens besides its own one manager keeps in memory; the oldest go first, and stay in the store. */
const MOST_OTHERS = 1000

/** Keeps, renews and shares what a grant yields; `C` is what the option `claims` validates. Constructing one touches neither network nor storage. */
export class TokenManager<C extends Claims = Claims> implements TokenSource {
  /** Only with the option `dpop`: signs an API request (RFC 9449 section 7). */
  declare readonly authorize?: NonNullable<TokenSource['authorize']>
  /** Only with the option `dpop`: learns from an API's answer (RFC 9449 section 9). */
  declare readonly observe?: NonNullable<TokenSource['observe']>
  readonly #grant: Grant
  readonly #options: SourceOptions
  readonly #kind: GrantKind
  readonly #client: Client
  readonly #factor: number = drawFactor()
  readonly #own: Wanted
  readonly #session: Session
  /** Those of other tokens, where every token is on its own. */
  readonly #others = new Map<string, Session>()
  readonly #listeners = new Set<{ listener: () => void }>()
  readonly #counts = { renewals: 0, failures: 0 }
  protected readonly warnings: Warnings
  #held: HeldToken | undefined
  #snapshot: SessionSnapshot<C> = Object.freeze({ status: 'unknown' })
  #served = 0

  constructor(
    grant: Grant,
    options: SourceOptions,
    kind: GrantKind = { name: 'custom', oneSession: false, asksAgain: true },
  ) {
    const { scope, resource, parameters, store, client = new Client(options), onWarning } = options
    this.#grant = grant
    this.#options = options
    this.#kind = kind
    this.warnings = new Warnings(onWarning)
    this.#client = client
    if (store && [store.get, store.replace, store.lock].some((method) => typeof method !== 'function')) {
      throw new OAuthError('invalid-options', 'store is no TokenStore', { fix: 'Give store get, replace and lock.' })
    }
    const possession = options.dpop?.({
      store,
      kind,
      identity: () => this.#session.identity(),
      tokenFor: (wanted) => this.#token(wanted),
      warnings: this.warnings,
    })
    this.#client.possession = possession
    Object.assign(this, possession?.signing)
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
  async getTokenSet(request?: AccessTokenRequest): Promise<IssuedTokenSet<C>> {
    const [{ stored }, { base }] = await this.#token(request)
    return tokenSetOf(stored, base) as IssuedTokenSet<C> // by the option `claims`
  }

  /** Who is signed in, as far as is known: one frozen object, replaced only on change. */
  get session(): SessionSnapshot<C> {
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
    return {
      tokenRequests: this.#client.tokenRequests,
      tokensServedFromMemory: this.#served,
      ...this.#counts,
      degradations: this.warnings.count,
    }
  }

  /** What happened to the session, oldest first: no secrets, and it survives a restart with the store. */
  explain(): TimelineEvent[] {
    const story = [...(this.#session.base.timeline ?? []), ...this.warnings.degradations]
    return story.sort((one, other) => one.at - other.at)
  }

  /** Stops timers and channels. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const session of this.#sessions()) session.dispose()
  }

  /** The client at the authorization server, for whatever else is asked there. */
  get client(): Client {
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
    const records = (await Promise.all(this.#sessions().map((session) => session.signOut()))).flat()
    return { records, revoked: this.#revoke(records) }
  }

  #sessions(): Session[] {
    return [this.#session, ...this.#others.values()]
  }

  async #token(request: AccessTokenRequest = {}): Promise<[HeldToken, Session]> {
    const wanted = this.#wanted(request)
    const session = wanted === this.#own || this.#kind.oneSession ? this.#session : this.#other(wanted)
    const sent = this.#client.tokenRequests
    const held = await session.token(wanted, request)
    if (sent === this.#client.tokenRequests) this.#served++
    held.used = true
    return [held, session]
  }

  #other(wanted: Wanted): Session {
    const others = this.#others
    const session = others.get(wanted.tokenKey) ?? this.#sessionFor(wanted)
    others.set(wanted.tokenKey, session)
    for (const [key, oldest] of others) {
      if (others.size <= MOST_OTHERS) break
      oldest.dispose()
      others.delete(key)
    }
    return session
  }

  /** The caller's wishes, completed with the source's own. */
  #wanted({ scope, resource, parameters }: AccessTokenRequest): Wanted {
    const { request: own } = this.#own
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
    const client = this.#client
    const { store } = client.possession ?? this.#options
    const identify = async () => {
      const whose = principal ? await principal() : sessionKey
      const differs = [...(oneSession ? [] : [own.tokenKey]), ...(client.possession ? ['DPoP'] : [])]
      return { key: JSON.stringify([issuer, clientId, name, whose, ...differs]), initial: await initial?.() }
    }
    return new Session({
      client,
      grant: this.#grant,
      store,
      factor: this.#factor,
      asksAgain,
      identity: () => client.inTime(identify, 'Nobody says whose session it is'),
      own,
      counts: this.#counts,
      changed: () => this.#changed(),
      degraded: (what, cause) => this.warnings.degraded(what, cause),
      warn: (message) => this.warnings.warn(message),
      watched: () => this.#listeners.size > 0,
    })
  }

  async #revoke(records: SessionRecord[]): Promise<void> {
    const tokens = new Map(records.flatMap(revocable))
    // A sign-in may have overtaken the sign-out.
    for (const { base } of this.#sessions()) for (const [token] of revocable(base)) tokens.delete(token)
    const failed = ({ message }: Error) => this.warnings.warn(`A token could not be revoked: ${message}`)
    await Promise.all([...tokens].map(([token, kind]) => this.#client.revoke(token, kind).catch(failed)))
  }

  #changed(): void {
    this.#held = this.#session.held.get(this.#own.tokenKey)
    const snapshot = snapshotOf(this.#session) as SessionSnapshot<C> // by the option `claims`
    if (JSON.stringify(snapshot) === JSON.stringify(this.#snapshot)) return
    this.#snapshot = Object.freeze(snapshot)
    for (const subscription of this.#listeners) queueMicrotask(() => this.#tell(subscription))
  }

  #tell(subscription: { listener: () => void }): void {
    if (!this.#listeners.has(subscription)) return
    try {
      subscription.listener()
    } catch (error) {
      this.warnings.warn(`A listener failed: ${Object(error).message}`)
    }
  }
}
