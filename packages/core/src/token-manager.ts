import { Client } from './client.ts'
import type { Grant } from './grant.ts'
import type { HeldToken } from './held-token.ts'
import { Listeners } from './listeners.ts'
import { drawFactor } from './renewal-policy.ts'
import { type Revocations, revocations } from './revocation.ts'
import { Session } from './session.ts'
import type { Wanted } from './session-options.ts'
import type { SessionRecord, SignOut, TimelineEvent } from './session-record.ts'
import { type SessionSnapshot, snapshotOf } from './session-snapshot.ts'
import { assertUsable, type GrantKind, type SourceOptions, type Stats } from './source-options.ts'
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
  readonly #revocations: Revocations
  /** Those of other tokens, where every token is on its own. */
  readonly #others = new Map<string, Session>()
  readonly #listeners = new Listeners((message) => this.warnings.warn(message))
  readonly #counts = { renewals: 0, failures: 0 }
  protected readonly warnings: Warnings
  /** Called before a token is handed out, and before one is renewed by itself; may end the session. Must not throw. */
  guard: (() => void) | undefined
  #held: HeldToken | undefined
  #snapshot: SessionSnapshot<C> = Object.freeze({ status: 'unknown' })
  #served = 0

  constructor(
    grant: Grant,
    options: SourceOptions,
    kind: GrantKind = { name: 'custom', oneSession: false, asksAgain: true },
  ) {
    assertUsable(options)
    const { scope, resource, parameters, client = new Client(options), outbox = revocations } = options
    this.#grant = grant
    this.#options = options
    this.#kind = kind
    this.warnings = new Warnings(options.onWarning)
    this.#client = client
    client.possession = options.dpop?.({ options, kind, tokenFor: this.#guarded, warnings: this.warnings })
    Object.assign(this, client.possession?.signing)
    const request = { scope, resource, parameters }
    this.#own = { request, tokenKey: tokenKeyOf(request) }
    this.#session = this.#sessionFor(this.#own)
    this.#revocations = outbox({
      client,
      store: options.store,
      sessions: () => this.#sessions().map(({ base }) => base),
      degraded: (what, cause) => this.warnings.degraded(what, cause),
      warn: (message) => this.warnings.warn(message),
    })
  }

  /** A token that is valid now. Rejects with an `OAuthError`, or with the reason of an aborted `signal`. */
  getAccessToken(request?: AccessTokenRequest): Promise<string> {
    this.guard?.()
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
    const [{ stored }, { base }] = await this.#guarded(request)
    const { accessToken, ...rest } = stored
    const { claims, idToken, refreshTokenExpiresAt } = base
    const secrets = { accessToken: { value: accessToken }, idToken: { value: idToken } }
    return Object.defineProperties({ ...rest, refreshTokenExpiresAt, claims }, secrets) as IssuedTokenSet<C>
  }

  /** Who is signed in, as far as is known: one frozen object, replaced only on change. */
  get session(): SessionSnapshot<C> {
    // A token that nothing renews ends by itself, whether a timer says so or not.
    if (this.#snapshot.status === 'signedIn' && !this.#snapshot.renewable) this.#changed()
    return this.#snapshot
  }

  /** When somebody signed in, which tells two of whom no server says who they are; undefined where nobody has to. */
  get signedInAt(): number | undefined {
    return this.#kind.asksAgain || this.#session.base.ended ? undefined : this.#session.base.startedAt
  }

  /** Calls `listener` after every change of `session`; returns the way to stop that. Needs no `this`. */
  readonly subscribe = (listener: () => void): (() => void) => {
    void this.#session.ready()
    return this.#listeners.add(listener)
  }

  /**
   * Forgets every token, here at once and then in the store, and has them revoked (RFC 7009). Where the server cannot be
   * told, `outbox` has it told later; without one that is a warning: nobody can use the session here any more.
   */
  async revoke(why?: SignOut): Promise<void> {
    await (await this.end(why)).revoked
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
    const { timeline = [] } = this.#session.base
    return [...timeline, ...this.warnings.degradations].sort((one, other) => one.at - other.at)
  }

  /** Stops timers and channels; what the store could not take is tried again at once, and for a minute. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const part of [this.#revocations, ...this.#sessions()]) part.dispose?.()
  }

  /** The client at the authorization server, for whatever else is asked there. */
  get client(): Client {
    return this.#client
  }

  protected wake(): void {
    void this.#session.wake().then(() => this.#revocations.flush?.(true))
  }

  protected ready(): Promise<void> {
    return this.#session.ready()
  }

  /** A sign-in takes the place of whatever session there was. */
  protected async begin(tokenSet: Issued): Promise<void> {
    await this.#session.begin(tokenSet)
    void this.#revocations.flush?.()
    if (tokenSet.refreshToken === undefined) {
      this.warnings.warn(
        'The server gave no refresh token: the session ends with its access token. Ask for scope offline_access.',
      )
    }
  }

  /** Ends all sessions; resolves when the store knows, with what they held and the revocation under way. */
  protected async end(why?: SignOut): Promise<{ records: SessionRecord[]; revoked: Promise<void> }> {
    const records = (await Promise.all(this.#sessions().map((session) => session.signOut(why)))).flat()
    return { records, revoked: this.#revocations.revoke(records) }
  }

  #sessions(): Session[] {
    return [this.#session, ...this.#others.values()]
  }

  readonly #guarded = (request?: AccessTokenRequest): Promise<[HeldToken, Session]> => {
    this.guard?.()
    return this.#token(request)
  }

  async #token(request: AccessTokenRequest = {}): Promise<[HeldToken, Session]> {
    const wanted = this.#wanted(request)
    const session = wanted === this.#own || this.#kind.oneSession ? this.#session : this.#other(wanted)
    const sent = this.#client.tokenRequests
    const serve = () => session.token(wanted, request)
    const isFresh = !request.rejectedToken && session.held.get(wanted.tokenKey)?.until('should')
    const held = await (isFresh ? serve() : this.#client.inTime(serve, 'No token', 5 * this.#client.timeout))
    if (sent === this.#client.tokenRequests) this.#served++
    held.used = true
    return [held, session]
  }

  #other(wanted: Wanted): Session {
    const session = this.#others.get(wanted.tokenKey) ?? this.#sessionFor(wanted)
    this.#others.set(wanted.tokenKey, session)
    for (const [key, oldest] of this.#others) {
      if (this.#others.size <= MOST_OTHERS) break
      oldest.dispose()
      this.#others.delete(key)
    }
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
    const { store } = this.#client.possession ?? this.#options
    const identify = async () => {
      const whose = principal ? await principal() : sessionKey
      const key = JSON.stringify([issuer, clientId, name, whose, ...(oneSession ? [] : [own.tokenKey])])
      return { key, initial: await initial?.() }
    }
    return new Session({
      client: this.#client,
      grant: this.#grant,
      store,
      factor: this.#factor,
      asksAgain,
      identity: () => this.#client.inTime(identify, 'Nobody says whose session it is'),
      own,
      counts: this.#counts,
      changed: () => this.#changed(),
      revoke: (record) => this.#revocations.revoke([record]),
      degraded: (what, cause) => this.warnings.degraded(what, cause),
      warn: (message) => this.warnings.warn(message),
      guard: () => this.guard?.(),
      watched: () => this.#listeners.size > 0,
    })
  }

  #changed(): void {
    this.#held = this.#session.held.get(this.#own.tokenKey)
    const all = this.#sessions().map(snapshotOf)
    // One whose own token nobody wants is signed in with another. What the claims are, the option `claims` says.
    const snapshot = (all.find(({ status }) => status === 'signedIn') ?? all[0]) as SessionSnapshot<C>
    if (JSON.stringify(snapshot) === JSON.stringify(this.#snapshot)) return
    if (this.#snapshot.status === 'unknown') void this.#revocations.flush?.() // what the last run could not finish
    this.#snapshot = Object.freeze(snapshot)
    this.#listeners.tell()
  }
}
