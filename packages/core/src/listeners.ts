/** Who wants to hear of changes. They are told afterwards, so that none is called under a lock. */
export class Listeners {
  readonly #subscriptions = new Set<{ listener: () => void }>()
  readonly #failed: (message: string) => void

  constructor(failed: (message: string) => void) {
    this.#failed = failed
  }

  get size(): number {
    return this.#subscriptions.size
  }

  /** Returns the way to stop. */
  add(listener: () => void): () => void {
    const subscription = { listener }
    this.#subscriptions.add(subscription)
    return () => {
      this.#subscriptions.delete(subscription)
    }
  }

  tell(): void {
    for (const subscription of this.#subscriptions) queueMicrotask(() => this.#call(subscription))
  }

  async #call(subscription: { listener: () => unknown }): Promise<void> {
    if (!this.#subscriptions.has(subscription)) return
    try {
      await subscription.listener() // an async one rejects, and nobody else would handle that
    } catch (error) {
      this.#failed(`A listener failed: ${Object(error).message}`)
    }
  }
}
