import { pauseFor, settledWithin, timerBehind, unlessAborted } from './deadline.ts'
import { StoreError } from './errors.ts'
import { GAP, type HeldToken } from './held-token.ts'
import { Turns, underLock } from './lock.ts'
import { type Renewal, renew } from './renewal.ts'
import { isBusy, lostLease } from './renewal-errors.ts'
import { failedAgain, PROBE_INTERVAL } from './renewal-policy.ts'
import { SaveRetry } from './save-retry.ts'
import { SessionCopy } from './session-copy.ts'
import type { Wanted } from './session-options.ts'
import { emptyRecord, ended, type SessionRecord, type SignOut, succeeded, told } from './session-record.ts'
import type { Issued } from './token-set.ts'
import type { AccessTokenRequest } from './token-source.ts'
import type { Lease } from './token-store.ts'

/** One session and everything that happens to it: served from memory, renewed once for all who ask, kept in the store. */
export class Session extends SessionCopy {
  readonly #flights = new Map<string, { intent: number; rejected: Set<string>; promise: Promise<HeldToken> }>()
  readonly #turns = new Turns() // where no store has a lock
  readonly #retry = new SaveRetry()
  #loading: Promise<void> | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #unwatch: (() => void) | undefined
  #kept: { lease: Lease; end: () => void } | undefined // the lock (R12)
  #disposed = false
  #lastProbe: number = Number.NEGATIVE_INFINITY
  /** The store has been read, or has failed to be. */
  known = false
  #unread = false // it failed to be, and may work later
  /** Wall clock minus monotonic clock when the store was read last. */
  drift: number = Number.NaN

  /** A token that is valid now: from memory, else by a renewal that all callers share. */
  async token(wanted: Wanted, { rejectedToken, signal }: AccessTokenRequest): Promise<HeldToken> {
    const { tokenKey } = wanted
    signal?.throwIfAborted()
    // A store that hangs delays a token that is valid by a second at most.
    const left = this.held.get(tokenKey)?.until('expired')
    await unlessAborted(left ? settledWithin(Math.min(1000, left / 2), this.ready()) : this.ready(), signal)
    const held = this.held.get(tokenKey)
    if (held && held.stored.accessToken !== rejectedToken) {
      const valid = held.until('expired') > 0
      if (held.until('should') > 0 || (valid && this.retryAt(tokenKey) > 0)) return held
      const renewal = this.#flight(wanted)
      if (held.until('must') > 0) return held
      if (valid) return unlessAborted(this.#orElse(renewal, tokenKey, held), signal)
    }
    const renewed = await unlessAborted(this.#flight(wanted, rejectedToken), signal)
    if (renewed.stored.accessToken !== rejectedToken) return renewed
    return unlessAborted(this.#flight(wanted, rejectedToken), signal) // that renewal began before the refusal was known
  }

  /** The store has been read once, and again after every gap in time (R1). */
  ready(): Promise<void> {
    if (!(Math.abs(Date.now() - performance.now() - this.drift) < GAP)) this.#loading ??= this.reload()
    return this.#loading ?? Promise.resolve()
  }

  /** Makes what the store holds the copy; a store that fails leaves it as it is. */
  async reload(): Promise<void> {
    try {
      this.#watch((await this.identity()).key)
      await this.load()
      this.#unread = false
    } catch (error) {
      this.#unread = error instanceof StoreError && error.retryable
      this.options.degraded('the token store cannot be read', error)
    }
    this.#looked()
    this.#loading = undefined
    this.#settled()
  }

  /** The network is back, or the page is shown: looks at the store, and lets a failing session ask at once (R8). */
  async wake(): Promise<void> {
    this.drift = Number.NaN // nothing is served from memory until the store has been looked at
    this.options.guard()
    await this.ready()
    const now = performance.now()
    if (!this.retryAt(this.options.own.tokenKey) || now - this.#lastProbe < PROBE_INTERVAL) return
    this.#lastProbe = now
    this.#renewBehind(true)
  }

  /** A new sign-in takes the place of whatever was there. */
  async begin(tokenSet: Issued): Promise<void> {
    const record = succeeded(emptyRecord(this.record), this.options.own.tokenKey, tokenSet)
    this.failed.clear() // none of it is this session's
    this.keep(told(record, 'issued', 'signed in'), 0) // no end of now is by this one
    await this.save()
    if (!this.unsaved) this.#watch((await this.identity()).key) // nothing else may have looked at the store before
    this.#looked()
    this.#settled()
  }

  /** Ends the session here at once, then in the store; resolves with the records that it had, for their tokens to be revoked. */
  async signOut({ reason = 'signed-out', origin = 'user' }: SignOut = {}): Promise<SessionRecord[]> {
    const here = this.record
    const at = Date.now()
    const end = { reason, origin, at, lastSuccessAt: here?.lastSuccessAt }
    this.keep(ended(here ?? emptyRecord(), end), at)
    this.known = true
    this.#settled()
    const stored = await this.save()
    this.#settled()
    return [here, stored].filter((record) => record !== undefined)
  }

  /** Stops timers and channels; what is not saved is tried again at once, and for a minute: with it a session would end. */
  dispose(): void {
    this.#disposed = true
    this.#unwatch?.()
    this.#unwatch = undefined
    clearTimeout(this.#timer)
    if (this.unsaved) this.#act()
  }

  #looked(): void {
    this.known = true
    this.drift = Date.now() - performance.now()
  }

  /** R4: one renewal per token at a time; whoever comes meanwhile shares it. */
  #flight(wanted: Wanted, rejectedToken?: string, probe = false): Promise<HeldToken> {
    const { tokenKey } = wanted
    let flight = this.#flights.get(tokenKey)
    // What was under way before a sign-in or sign-out is not for those who come after it.
    if (flight?.intent !== this.intent) {
      const rejected = new Set<string>()
      const promise = this.#fly(wanted, rejected, probe).finally(() => {
        if (this.#flights.get(tokenKey) === flight) this.#flights.delete(tokenKey)
        this.#settled()
      })
      flight = { intent: this.intent, rejected, promise }
      this.#flights.set(tokenKey, flight)
      flight.promise.catch(() => {}) // what it means is in the record, and told to those who wait
    }
    if (rejectedToken !== undefined) flight.rejected.add(rejectedToken)
    return flight.promise
  }

  async #fly(wanted: Wanted, rejected: ReadonlySet<string>, probe: boolean): Promise<HeldToken> {
    const { key } = await this.identity()
    for (let again = true; ; again = false) {
      const { intent } = this
      const isCurrent = () => intent === this.intent
      const renewal: Renewal = { session: this, ...wanted, rejected, probe, isCurrent, isMine: isCurrent }
      try {
        const held = await this.#renewed(key, renewal)
        // Neither what is over, here or elsewhere, nor what has ended on its way.
        if (held !== this.held.get(wanted.tokenKey) || !held.until('expired')) throw lostLease()
        return held
      } catch (error) {
        // A store that takes nothing, or always has something else, is not asked by the timer all the time.
        if (isBusy(error) && !again) this.failed.set('', failedAgain(error, this.failed.get('')))
        if (!isBusy(error) || !again) throw error
      }
    }
  }

  async #renewed(key: string, renewal: Renewal): Promise<HeldToken> {
    const { store, options } = this
    const alone = (more?: Partial<Renewal>) => this.#turns.take(() => renew({ ...renewal, ...more }))
    if (store === undefined) return alone()
    const under = (lease: Lease) => ({ isMine: () => renewal.isCurrent() && lease.valid() })
    const { promise, resolve } = Promise.withResolvers<HeldToken>()
    const critical = async (lease: Lease) => {
      const renewed = alone(under(lease)) // not while another token is renewed without the lock
      await renewed.catch(() => {}) // it is the outcome for the callers too
      // Who has the lock next must not find a refresh token that was spent …
      while (this.holdsSpent && lease.valid()) {
        resolve(renewed)
        const { over, end } = pauseFor(3 * options.client.timeout)
        this.#kept = { lease, end }
        await over // … because the store could not take the next one (R12)
        this.#kept = undefined
        await this.#turns.over // whoever renews under it
      }
      if (!renewal.isCurrent()) await this.saved // … or dropped because its session is over
      return renewed
    }
    try {
      if (this.#kept?.lease.valid()) return await alone(under(this.#kept.lease))
      return await Promise.race([promise, underLock(store, key, options.client.timeout, options.degraded, critical)])
    } catch (error) {
      if (error instanceof StoreError) return alone({ storeError: error })
      throw error
    }
  }

  /** R2: the renewal or, where that fails or takes half of the time that is left, the token that is still valid. */
  async #orElse(renewal: Promise<HeldToken>, tokenKey: string, before: HeldToken): Promise<HeldToken> {
    await settledWithin(before.until('expired') / 2, renewal)
    const held = this.held.get(tokenKey)
    return held?.until('expired') ? held : renewal
  }

  /** After every change, outside of the lock. */
  #settled(): void {
    if (!this.holdsSpent) this.#kept?.end()
    this.options.changed()
    this.#schedule()
  }

  /** Timers only help along (R10): freshness is checked at use. */
  #schedule(): void {
    clearTimeout(this.#timer)
    const { own, asksAgain, client } = this.options
    const held = this.held.get(own.tokenKey)
    let delay = Number.POSITIVE_INFINITY
    const isBehind = this.unsaved || this.#unread
    if (!isBehind) this.#retry.done()
    // Whoever keeps the lock for it has three time-outs.
    if (isBehind) delay = Math.min(this.#retry.left, this.#kept ? client.timeout : delay)
    else if (held && this.record?.refreshToken)
      delay = Math.max(held.until('should'), this.retryAt(own.tokenKey) - Date.now())
    else if (held && !asksAgain) delay = held.until('expired')
    if (delay === Number.POSITIVE_INFINITY || (this.#disposed && (!this.unsaved || this.#retry.isOld))) return
    this.#timer = timerBehind(() => this.#act(), Math.min(delay + 1, 2 ** 31 - 1))
  }

  /** What the timer is for: saves what could not be saved, reads what could not be read, and renews for those who look or have asked. */
  #act(): void {
    const { own, watched, guard } = this.options
    guard()
    const held = this.held.get(own.tokenKey)
    // What a renewal comes to is written, and after it there is a timer again; one of another token may wait for our lock.
    if (this.#flights.size && !this.#kept) return
    const again = () => this.saved.then(() => this.save())
    const tried = () => (this.unsaved ? this.#settled() : this.reload())
    if (this.unsaved || this.#unread) void settledWithin(this.#retry.begin(), again()).then(tried)
    else if (held?.until('should')) this.#schedule()
    else if (!this.record?.refreshToken || watched() || (held?.used && held.until('expired'))) this.#renewBehind()
  }

  #watch(key: string): void {
    try {
      if (!this.#disposed) this.#unwatch ??= this.store?.watch?.(key, () => void this.reload())
    } catch (error) {
      this.options.degraded('the token store cannot tell of changes', error)
    }
  }

  #renewBehind(probe = false): void {
    this.#flight(this.options.own, undefined, probe).catch(() => {}) // recorded
  }
}
