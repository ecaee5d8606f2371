const LONGEST_TIMER = 2 ** 31 - 1

/** Lets those of this process who want the same thing have it one after another, first come, first served. */
export class Turns {
  readonly #tails = new Map<string, Promise<void>>()

  /** Runs `act` when it is its turn; the turn ends with it, or before, when it calls `leave`. */
  async take<T>(name: string, act: (leave: () => void) => Promise<T>): Promise<T> {
    const { promise: left, resolve: leave } = Promise.withResolvers<void>()
    const before = this.#tails.get(name)
    this.#tails.set(name, left) // not before `before` is, for each waits for the one before it
    // What ends another's turn may be a timer that keeps no process alive; who waits for it must.
    const awake = setInterval(() => {}, LONGEST_TIMER)
    await before
    clearInterval(awake)
    try {
      return await act(leave)
    } finally {
      leave()
      if (this.#tails.get(name) === left) this.#tails.delete(name)
    }
  }
}
