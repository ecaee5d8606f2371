/** Values that are known until a time of their own, and no more than `most` of them: the oldest are forgotten first. */
export class Remembered<T> {
  readonly #most: number
  readonly #entries = new Map<string, { value: T; until: number }>()

  constructor(most: number) {
    this.#most = most
  }

  get(key: string): T | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined || Date.now() < entry.until) return entry?.value
    this.#entries.delete(key)
    return undefined
  }

  delete(key: string): void {
    this.#entries.delete(key)
  }

  /** `until`: epoch milliseconds. Gives what had to be forgotten before its time, if anything. */
  set(key: string, value: T, until: number): T | undefined {
    this.#entries.delete(key)
    this.#entries.set(key, { value, until })
    let forgotten: T | undefined
    for (const [oldest, entry] of this.#entries) {
      const isKnown = Date.now() < entry.until
      if (this.#entries.size <= this.#most && isKnown) break
      if (isKnown) forgotten = entry.value
      this.#entries.delete(oldest)
    }
    return forgotten
  }
}
