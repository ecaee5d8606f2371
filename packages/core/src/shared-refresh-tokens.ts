/** Which refresh tokens of a session others may have, as far as is known here. */
export class SharedRefreshTokens {
  /** The store's when it was last seen or, where it has none, the seed. */
  #stored: string | undefined
  /** The one that is being written. */
  #writing: string | undefined
  /** Those whose writes failed, and may have been done all the same. */
  readonly #tried: Set<string | undefined> = new Set()

  get stored(): string | undefined {
    return this.#stored
  }

  set stored(refreshToken: string | undefined) {
    this.#stored = refreshToken
    this.#tried.clear()
  }

  /** It is being written, until `write` settles. */
  async during<T>(refreshToken: string | undefined, write: () => Promise<T>): Promise<T> {
    this.#writing = refreshToken
    try {
      return await write()
    } catch (error) {
      this.#tried.add(refreshToken)
      throw error
    } finally {
      this.#writing = undefined
    }
  }

  /** Whether others have it, or will in a moment. */
  has(refreshToken: string): boolean {
    return refreshToken === this.#stored || refreshToken === this.#writing
  }

  /** Those that others may have, and that were spent if this is the newest one. */
  before(newest: string | undefined): (string | undefined)[] {
    return [this.#stored, ...this.#tried].filter((one) => one !== undefined && one !== newest)
  }
}
