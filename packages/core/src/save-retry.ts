/** Milliseconds until something that could not be written is tried again: at first, and at last. */
const FIRST = 1000
const LAST = 60_000

/** When something that could not be written is tried again: later each time, and no news puts it off. */
export class SaveRetry {
  #delay = FIRST
  #at: number | undefined

  /** Milliseconds until then. */
  get left(): number {
    const now = performance.now()
    this.#at ??= now + this.#delay
    return Math.max(0, this.#at - now)
  }

  /** Whether it has been tried for a minute. */
  get isOld(): boolean {
    return this.#delay === LAST
  }

  /** It is tried now. Returns how long that may take, milliseconds. */
  begin(): number {
    this.#at = undefined
    this.#delay = Math.min(2 * this.#delay, LAST)
    return LAST
  }

  /** It is written. */
  done(): void {
    this.#at = undefined
    this.#delay = FIRST
  }
}
