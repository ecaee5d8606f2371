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

  /** `until`: epoch milliseconds. */
  set(key: string, value: T, until: number): void {
    this.#entries.delete(key)
    this.#entries.set(key, { value, until })
    for (const [oldest, entry] of this.#entries) {
      if (this.#entries.size <= this.#most && Date.now() < entry.until) break
      this.#entries.delete(oldest)
    }
  }
}
