import { StoreError } from './errors.ts'
import { newProofKey, type ProofKey, proofKeyFrom } from './proof-key.ts'
import type { BoundSource } from './proof-of-possession.ts'
import { emptyRecord, nextVersion, type StoredKey } from './session-record.ts'
import { storageCall } from './storage-call.ts'
import { versionOf } from './token-store.ts'

/**
 * The keys of one source. Every session carries the one that it is bound to; the one for the next session has a record of
 * its own, so that a login finds it when it comes back, and all who share the store have the same.
 */
export class ProofKeys {
  readonly #source: BoundSource
  /** By thumbprint: those of this process or page. */
  readonly #held = new Map<string, ProofKey>()
  #made: Promise<ProofKey> | undefined
  #next: Promise<ProofKey> | undefined
  /** Whether a page that is loaded anew will find the key for the next session, as far as the store is there for that. */
  isKept = true

  constructor(source: BoundSource) {
    this.#source = source
  }

  /** The key for the next session: from the store, else made, and then all adopt what was written there first. */
  next(): Promise<ProofKey> {
    this.#next ??= this.#found().catch((cause) => {
      this.isKept = false
      this.#source.warnings.degraded('the key for DPoP could not be stored and lives in memory', cause)
      return this.#own()
    })
    return this.#next
  }

  /** The same, looked for anew: storage may have been cleared since, or work again. */
  lookedFor(): Promise<ProofKey> {
    this.#next = undefined
    return this.next()
  }

  /** A key that a session is bound to. Rejects where it is gone. */
  async of(stored: StoredKey): Promise<ProofKey> {
    const key = this.#held.get(stored.thumbprint) ?? (await proofKeyFrom(stored))
    this.#held.set(stored.thumbprint, key)
    return key
  }

  async #found(): Promise<ProofKey> {
    const { issuer, clientId, sessionKey = 'default', store } = this.#source.options
    const { name: grant, principal } = this.#source.kind
    if (!store?.keys) return this.#own()
    const name = JSON.stringify([issuer, clientId, grant, principal ? await principal() : sessionKey, 'DPoP'])
    return storageCall('answer', async () => {
      for (let tries = 0; tries < 3; tries++) {
        const found = await store.get(name)
        const { key } = Object(found)
        const version = versionOf(found)
        const kept = await this.of(Object(key)).catch(() => undefined) // none, or none that can be used
        const own = kept ?? (await this.#own())
        const record = { ...emptyRecord(), version: nextVersion(version), key: own.stored }
        if (kept || (await store.replace(name, version, record))) {
          this.isKept = true
          return own
        }
      }
      throw new StoreError('The token store could not write')
    })
  }

  #own(): Promise<ProofKey> {
    this.#made ??= newProofKey(this.#source.options.store?.keys).then(
      (key) => {
        this.#held.set(key.stored.thumbprint, key)
        return key
      },
      (error) => {
        this.#made = this.#next = undefined // the next one who needs a key has it made anew
        throw error
      },
    )
    return this.#made
  }
}
