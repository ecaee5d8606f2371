import { free, type Hold } from './lease.ts'

/** Leases under which a write failed: they are given back when it is made good, or end by themselves. */
export class KeptLeases {
  readonly #kept = new Map<string, Hold>()

  /** How many there are. */
  get size(): number {
    return this.#kept.size
  }

  keep(name: string, hold: Hold): void {
    this.#forgetEnded()
    this.#kept.delete(name)
    this.#kept.set(name, hold)
  }

  async free(name: string): Promise<void> {
    this.#forgetEnded()
    const hold = this.#kept.get(name)
    this.#kept.delete(name)
    if (hold) await free(hold)
  }

  /** The oldest come first: an outage costs no more than the leases of one lease time, however many users it hits. */
  #forgetEnded(): void {
    for (const [name, hold] of this.#kept) {
      if (hold.valid()) return
      this.#kept.delete(name)
    }
  }
}
