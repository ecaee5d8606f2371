import type { Client } from './client.ts'
import { unlessAborted, within } from './deadline.ts'
import { OAuthError, StoreError, TokenUnavailableError } from './errors.ts'
import type { HeldToken } from './held-token.ts'
import { type Grant, type Renewal, renew, renewWithoutStore, type TokenRequest } from './renewal.ts'
import { forbidding, PROBE_INTERVAL } from './renewal-policy.ts'
import { type CopyOptions, SessionCopy } from './session-copy.ts'
import { emptyRecord, ended, type SessionRecord, succeeded, told } from './session-record.ts'
import type { TokenSet } from './token-set.ts'
import type { AccessTokenRequest } from './token-source.ts'
import type { Lease } from './token-store.ts'

/** Milliseconds until something that could not be written is written again. */
const SAVE_AGAIN = 1000

/** What a session is made of. */
export interface SessionOptions extends CopyOptions {
  readonly client: Client
  readonly grant: Grant
  /** The token that the session is about, where a request names no other. */
  readonly own: Wanted
  /** Called after every change, never under the lock. */
  readonly changed: () => void
  /** Whether somebody looks at the session, so that it is renewed though nobody asks for a token. */
  readonly watched: () => boolean
}

/** Which token is wanted: how it is kept, and how it is asked for. */
export interface Wanted {
  readonly tokenKey: string
  readonly request: TokenRequest
}

interface Flight {
  readonly rejected: Set<string>
  readonly promise: Promise<HeldToken>
}

/** One record and everything that happens to it: served from memory, renewed once for all who ask, kept in the store. */
export class Session {
  readonly #options: SessionOptions
  readonly copy: SessionCopy
  readonly #flights = new Map<string, Flight>()
  readonly #last: { error?: OAuthError } = {}
  #loading: Promise<void> | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #unwatch: (() => void) | undefined
  #generation = 0
  #lastProbe: number = Number.NEGATIVE_INFINITY
  /** The store has been read, or has failed to be. */
  known = false
  /** Wall clock minus monotonic clock when the store was read last. */
  drift: number = Number.NaN
  /** When this process or page signed out, to tell its own sign-out from another's. */
  signedOutAt: number | undefined
  readonly counts: { renewals: number; failures: number } = { renewals: 0, failures: 0 }

  constructor(options: SessionOptions) {
    this.#options = options
    this.copy = new SessionCopy(options)
  }

  /** A token that is valid now: from memory, else by a renewal that all callers share. */
  async token(wanted: Wanted, { rejectedToken, signal }: Pick<AccessTokenRequest, 'rejectedToken' | 'signal'>): Promise<HeldToken> {
    signal?.throwIfAborted()
    await unlessAborted(this.ready(), signal)
    const held = this.copy.held.get(wanted.tokenKey)
    if (held && held.stored.accessToken !== rejectedToken) {
      const { phase } = held
      if (phase === 'fresh') return held
      const failing = forbidding(this.copy.record, wanted.tokenKey) !== undefined
      if (phase !== 'expired' && failing) return held
      const renewal = this.#flight(wanted)
      if (phase === 'should-renew') return held
      if (phase === 'must-renew') return unlessAborted(this.#orElse(renewal, wanted.tokenKey, held), signal)
    }
    const renewed = await unlessAborted(this.#flight(wanted, rejectedToken), signal)
    if (renewed.stored.accessToken !== rejectedToken) return renewed
    return unlessAborted(this.#flight(wanted, rejectedToken), signal) // that renewal began before the refusal was known
  }

  /** The store has been read once, and again after every gap in time (R1). */
  ready(): Promise<void> {
    const drift = Date.now() - performance.now()
    if (!(Math.abs(drift - this.drift) < 2000)) this.#loading ??= this.reload()
    return this.#loading ?? Promise.resolve()
  }

  /** Makes what the store holds the copy; a store that fails leaves it as it is. */
  async reload(): Promise<void> {
    try {
      const { key } = await this.copy.identity()
      this.#unwatch ??= this.#options.store.watch?.(key, () => void this.reload())
      await this.copy.refresh()
    } catch (error) {
      this.#options.degraded('the token store cannot be read', error)
    }
    this.drift = Date.now() - performance.now()
    this.known = true
    this.#loading = undefined
    this.#settled()
  }

  /** The network is back, or the page is shown: looks at the store, and lets a failing session ask at once (R8). */
  async wake(): Promise<void> {
    await this.reload()
    const now = performance.now()
    if (forbidding(this.copy.record, this.#options.own.tokenKey) === undefined || now - this.#lastProbe < PROBE_INTERVAL) return
    this.#lastProbe = now
    this.#renewBehind(true)
  }

  /** A new sign-in takes the place of whatever was there. */
  async begin(tokenSet: TokenSet & { issuedAt: number }): Promise<void> {
    this.#generation++
    const base = emptyRecord(this.copy.record)
    await this.copy.overwrite(told(succeeded(base, this.#options.own.tokenKey, tokenSet), 'issued', 'signed in'))
    this.known = true
    this.drift = Date.now() - performance.now()
    this.#settled()
  }

  /** Ends the session here at once, then in the store; resolves with the records that it had, for their tokens to be revoked. */
  async signOut(): Promise<SessionRecord[]> {
    this.#generation++
    const here = this.copy.record
    const at = Date.now()
    this.signedOutAt = at
    const { lastSuccessAt } = here ?? {}
    const written = this.copy.overwrite(ended(here ?? emptyRecord(), { reason: 'signed-out', origin: 'user', at, lastSuccessAt }))
    this.known = true
    this.#settled()
    const stored = await written
    this.#settled()
    return [here, stored].filter((record) => record !== undefined)
  }

  dispose(): void {
    clearTimeout(this.#timer)
    this.#unwatch?.()
    this.#unwatch = undefined
  }

  /** R4: one renewal per token at a time; whoever comes meanwhile shares it, and its deadline. */
  #flight(wanted: Wanted, rejectedToken?: string, probe = false): Promise<HeldToken> {
    let flight = this.#flights.get(wanted.tokenKey)
    if (flight === undefined) {
      const rejected = new Set<string>()
      const flown = this.#fly(wanted, rejected, probe).finally(() => {
        this.#flights.delete(wanted.tokenKey)
        this.#settled()
      })
      const { timeout } = this.#options.client
      const late = () => new TokenUnavailableError('timeout', `No token within ${5 * timeout} ms`)
      flight = { rejected, promise: within(5 * timeout, late, () => flown) }
      this.#flights.set(wanted.tokenKey, flight)
      flight.promise.catch(() => {}) // what it means is in the record, and told to those who wait
    }
    if (rejectedToken !== undefined) flight.rejected.add(rejectedToken)
    return flight.promise
  }

  async #fly({ tokenKey, request }: Wanted, rejected: ReadonlySet<string>, probe: boolean): Promise<HeldToken> {
    const { client, grant, own, degraded } = this.#options
    for (let again = true; ; again = false) {
      const generation = this.#generation
      const superseded = () => generation !== this.#generation
      const { counts } = this
      const renewal = { client, grant, copy: this.copy, tokenKey, request, isOther: tokenKey !== own.tokenKey, rejected, probe, superseded, last: this.#last, counts, degraded }
      try {
        return await this.#locked(renewal)
      } catch (error) {
        if (again && error instanceof OAuthError && error.code === 'busy') continue
        if (error instanceof StoreError) return await renewWithoutStore({ ...renewal, leased: () => true }, error)
        throw error
      }
    }
  }

  /** The store's lock, waited for as long as a holder may keep it; once it is ours, what follows has its own deadlines. */
  async #locked(renewal: Omit<Renewal, 'leased'>): Promise<HeldToken> {
    const { client, store, degraded } = this.#options
    const { key } = await this.copy.identity()
    let outcome: { held: HeldToken } | { error: unknown } | undefined
    let waiting = true
    let granted = () => {}
    const started = new Promise<void>((resolve) => {
      granted = resolve
    })
    const critical = async (lease: Lease) => {
      if (!waiting) return
      granted()
      const leased = () => lease.valid()
      outcome = await renew({ ...renewal, leased }).then(
        (held) => ({ held }),
        (error: unknown) => ({ error }),
      )
    }
    try {
      const late = () => new StoreError('The lock of the token store was not to be had')
      const done = async () => store.lock(key, critical, 3 * client.timeout)
      const finished = done()
      await within(4 * client.timeout, late, () => Promise.race([started, finished]))
      await finished
    } catch (cause) {
      waiting = false
      if (outcome === undefined) throw cause instanceof OAuthError ? cause : new StoreError('The token store could not lock', { cause })
      degraded('the token store could not unlock', cause)
    }
    if (outcome === undefined) throw new StoreError('The token store gave no lock')
    if ('error' in outcome) throw outcome.error
    return outcome.held
  }

  /** R2: the renewal or, where that fails or takes half of the time that is left, the token that is still valid. */
  #orElse(renewal: Promise<HeldToken>, tokenKey: string, held: HeldToken): Promise<HeldToken> {
    const late = () => new TokenUnavailableError('timeout', 'The renewal takes long')
    return within(held.untilExpiry / 2, late, () => renewal).catch((error) => {
      if (this.copy.held.get(tokenKey) === held && held.phase !== 'expired') return held
      throw error
    })
  }

  /** After every change, outside of the lock. */
  #settled(): void {
    this.#options.changed()
    this.#schedule()
  }

  /** Timers only help along (R10): freshness is checked at use. None keeps a process alive. */
  #schedule(): void {
    clearTimeout(this.#timer)
    const { copy } = this
    const own = copy.held.get(this.#options.own.tokenKey)
    const retryAt = forbidding(copy.record, this.#options.own.tokenKey)?.retryAt
    let delay = Number.POSITIVE_INFINITY
    if (copy.unsaved) delay = SAVE_AGAIN
    else if (own && copy.record?.refreshToken !== undefined) delay = Math.max(own.untilRenewal, (retryAt ?? 0) - Date.now())
    else if (own && !this.#options.asksAgain) delay = own.untilExpiry
    if (delay === Number.POSITIVE_INFINITY) return
    this.#timer = setTimeout(() => this.#act(), Math.min(delay + 1, 2 ** 31 - 1))
    unreferenced(this.#timer)
  }

  /** What the timer is for: saves what could not be saved, and renews for those who look or have asked. */
  #act(): void {
    const { copy } = this
    const own = copy.held.get(this.#options.own.tokenKey)
    if (copy.unsaved) void this.#saveAgain()
    else if (own?.phase === 'fresh') this.#schedule()
    else if (own?.phase === 'expired' || own?.used || this.#options.watched()) this.#renewBehind()
  }

  #renewBehind(probe = false): void {
    this.#flight(this.#options.own, undefined, probe).catch(() => {}) // recorded
  }

  async #saveAgain(): Promise<void> {
    const { record } = this.copy
    if (record?.ended) await this.copy.overwrite(record)
    else if (record && !(await this.copy.write(record))) {
      this.copy.unsaved = false
      await this.reload()
    }
    this.#schedule()
  }
}

/** In Node a timer keeps the process alive unless told otherwise; elsewhere it is a number. */
function unreferenced(timer: unknown): void {
  if (typeof timer === 'object' && timer !== null && 'unref' in timer && typeof timer.unref === 'function') timer.unref()
}
