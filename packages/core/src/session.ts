import { settledWithin, unlessAborted, unreferenced, within } from './deadline.ts'
import { type OAuthError, StoreError, TokenUnavailableError } from './errors.ts'
import type { HeldToken } from './held-token.ts'
import { LocalLocks, underLock } from './lock.ts'
import { renew, renewWithoutStore } from './renewal.ts'
import { type Refusal, retryAt } from './renewal-outcome.ts'
import { PROBE_INTERVAL } from './renewal-policy.ts'
import { SessionCopy } from './session-copy.ts'
import type { SessionOptions, Wanted } from './session-options.ts'
import { emptyRecord, ended, type SessionRecord, succeeded, told } from './session-record.ts'
import type { Issued } from './token-set.ts'
import type { AccessTokenRequest } from './token-source.ts'

/** Milliseconds until something that could not be written is tried again: at first, and at last. */
const FIRST_SAVE = 1000
const LAST_SAVE = 60_000

/** One record and everything that happens to it: served from memory, renewed once for all who ask, kept in the store. */
export class Session {
  readonly #options: SessionOptions
  readonly copy: SessionCopy
  readonly #flights = new Map<string, { rejected: Set<string>; promise: Promise<HeldToken> }>()
  readonly #refusals = new Map<string, Refusal>()
  readonly #locks = new LocalLocks()
  #saveDelay = FIRST_SAVE
  #loading: Promise<void> | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #unwatch: (() => void) | undefined
  #generation = 0
  #disposed = false
  #lastProbe: number = Number.NEGATIVE_INFINITY
  /** The store has been read, or has failed to be. */
  known = false
  /** Wall clock minus monotonic clock when the store was read last. */
  drift: number = Number.NaN
  signedOutAt: number | undefined
  readonly counts: { renewals: number; failures: number } = { renewals: 0, failures: 0 }

  constructor(options: SessionOptions) {
    this.#options = options
    this.copy = new SessionCopy(options)
  }

  /** A token that is valid now: from memory, else by a renewal that all callers share. */
  async token(wanted: Wanted, { rejectedToken, signal }: AccessTokenRequest): Promise<HeldToken> {
    signal?.throwIfAborted()
    // A store that hangs delays a token that is valid by a second at most.
    const left = this.copy.held.get(wanted.tokenKey)?.untilExpiry
    await unlessAborted(left ? settledWithin(Math.min(1000, left / 2), this.ready()) : this.ready(), signal)
    const held = this.copy.held.get(wanted.tokenKey)
    if (held && held.stored.accessToken !== rejectedToken) {
      const { phase } = held
      if (phase === 'fresh') return held
      if (phase !== 'expired' && retryAt(wanted.tokenKey, this.copy.record, this.#refusals) > 0) return held
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
      this.#watch(key)
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
    this.drift = Number.NaN // nothing is served from memory until the store has been looked at
    await this.ready()
    const now = performance.now()
    if (
      retryAt(this.#options.own.tokenKey, this.copy.record, this.#refusals) === 0 ||
      now - this.#lastProbe < PROBE_INTERVAL
    )
      return
    this.#lastProbe = now
    this.#renewBehind(true)
  }

  /** A new sign-in takes the place of whatever was there. */
  async begin(tokenSet: Issued): Promise<void> {
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
    const end = { reason: 'signed-out', origin: 'user', at, lastSuccessAt: here?.lastSuccessAt } as const
    const written = this.copy.overwrite(ended(here ?? emptyRecord(), end))
    this.known = true
    this.#settled()
    const stored = await written
    this.#settled()
    return [here, stored].filter((record) => record !== undefined)
  }

  /** Whether the last renewal failed. */
  get stale(): boolean {
    return this.copy.record?.failures?.[''] !== undefined || this.#refusals.get('')?.error.retryable === false
  }

  dispose(): void {
    this.#disposed = true
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

  async #fly(wanted: Wanted, rejected: ReadonlySet<string>, probe: boolean): Promise<HeldToken> {
    const { client, store, degraded } = this.#options
    const { key } = await this.copy.identity()
    for (let again = true; ; again = false) {
      const generation = this.#generation
      const superseded = () => generation !== this.#generation
      const { copy, counts } = this
      const renewal = {
        ...this.#options,
        ...wanted,
        copy,
        counts,
        refusals: this.#refusals,
        rejected,
        probe,
        superseded,
      }
      try {
        return await underLock(store, key, client.timeout, degraded, (lease) =>
          renew({ ...renewal, leased: () => lease.valid() }),
        )
      } catch (error) {
        if (error instanceof StoreError) {
          return await this.#locks.run('', () => renewWithoutStore({ ...renewal, leased: () => true }, error))
        }
        if (!again || (error as OAuthError).code !== 'busy') throw error
      }
    }
  }

  /** R2: the renewal or, where that fails or takes half of the time that is left, the token that is still valid. */
  async #orElse(renewal: Promise<HeldToken>, tokenKey: string, before: HeldToken): Promise<HeldToken> {
    await settledWithin(before.untilExpiry / 2, renewal)
    const held = this.copy.held.get(tokenKey)
    return held && held.phase !== 'expired' ? held : renewal
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
    const notBefore = retryAt(this.#options.own.tokenKey, this.copy.record, this.#refusals)
    let delay = Number.POSITIVE_INFINITY
    if (copy.unsaved) delay = this.#saveDelay
    else this.#saveDelay = FIRST_SAVE
    if (copy.unsaved) this.#saveDelay = Math.min(this.#saveDelay * 2, LAST_SAVE)
    else if (own && copy.record?.refreshToken !== undefined) delay = Math.max(own.untilRenewal, notBefore - Date.now())
    else if (own && !this.#options.asksAgain) delay = own.untilExpiry
    if (delay === Number.POSITIVE_INFINITY || this.#disposed) return
    this.#timer = setTimeout(() => this.#act(), Math.min(delay + 1, 2 ** 31 - 1))
    unreferenced(this.#timer)
  }

  /** What the timer is for: saves what could not be saved, and renews for those who look or have asked. */
  #act(): void {
    const { copy } = this
    const own = copy.held.get(this.#options.own.tokenKey)
    if (copy.unsaved) void this.#saveAgain()
    else if (own?.phase === 'fresh') this.#schedule()
    else if (copy.record?.refreshToken === undefined || this.#options.watched()) this.#renewBehind()
    else if (own?.used && own.phase !== 'expired') this.#renewBehind()
  }

  #watch(key: string): void {
    if (this.#disposed) return
    try {
      this.#unwatch ??= this.#options.store.watch?.(key, () => void this.reload())
    } catch (error) {
      this.#options.degraded('the token store cannot tell of changes', error)
    }
  }

  #renewBehind(probe = false): void {
    this.#flight(this.#options.own, undefined, probe).catch(() => {}) // recorded
  }

  async #saveAgain(): Promise<void> {
    if (!(await this.copy.save())) {
      this.copy.unsaved = undefined
      await this.reload()
    }
    this.#schedule()
  }
}
