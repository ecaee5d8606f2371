/** Those who want to know of changes. Told later, each on its own: none holds up, or breaks, what changed. */
export class Listeners {
  readonly #all = new Set<{ listener: () => void }>()
  readonly #failed: (message: string) => void

  constructor(failed: (message: string) => void) {
    this.#failed = failed
  }

  get any(): boolean {
    return this.#all.size > 0
  }

  /** Once more for every call, even with the same listener; returns the way to stop that. */
  add(listener: () => void): () => void {
    const subscription = { listener }
    this.#all.add(subscription)
    return () => {
      this.#all.delete(subscription)
    }
  }

  tell(): void {
    for (const subscription of this.#all) queueMicrotask(() => this.#tell(subscription))
  }

  #tell(subscription: { listener: () => void }): void {
    if (!this.#all.has(subscription)) return
    try {
      subscription.listener()
    } catch (error) {
      this.#failed(`A listener failed: ${Object(error).message}`)
    }
  }
}
