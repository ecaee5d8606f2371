import { OAuthError, StoreError } from './errors.ts'
import type { TimelineEvent } from './session-record.ts'

/** Says once each what does not break anything yet and should be known. */
export class Warnings {
  readonly #said = new Set<string>()
  readonly #say: (message: string) => void
  /** The last times that the store failed. */
  readonly degradations: TimelineEvent[] = []
  /** How often the store failed. */
  count = 0

  constructor(say: (message: string) => void = (message) => console.warn(`keyturn: ${message}`)) {
    this.#say = say
  }

  warn(message: string, about: string = message): void {
    if (this.#said.has(about)) return
    this.#said.add(about)
    // However it fails: an async one rejects, and nobody else would handle that.
    const said = new Promise((resolve) => resolve(this.#say(message)))
    said.catch((error) => console.warn('keyturn: onWarning failed', error))
  }

  degraded(what: string, cause?: unknown): void {
    this.count++
    this.degradations.push({ at: Date.now(), event: 'degraded', detail: what })
    this.degradations.splice(0, this.degradations.length - 20)
    // However it shows, a store that fails for a while is one thing to know, and so is each lasting trouble.
    if (cause instanceof StoreError) this.warn(`${what}: ${cause.message}`, cause.retryable ? 'storage' : cause.message)
    else this.warn(cause instanceof OAuthError ? `${what}: ${cause.message}` : what)
  }
}
