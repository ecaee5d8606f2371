import { within } from './deadline.ts'
import { OAuthError, StoreError } from './errors.ts'
import { HeldToken } from './held-token.ts'
import { ours } from './renewal-errors.ts'
import { emptyRecord, ended, nextVersion, parseRecord, type SessionRecord } from './session-record.ts'
import type { TokenStore } from './token-store.ts'

/** Milliseconds after which a storage call is given up. */
const STORAGE_TIMEOUT = 5000

/** Where a session is kept, and what it starts from where nothing is stored: a refresh token obtained elsewhere. */
export interface Identity {
  readonly key: string
  readonly initial?: SessionRecord | undefined
}

/** What a copy needs to know of its session. */
export interface CopyOptions {
  readonly identity: () => Promise<Identity>
  readonly store: TokenStore
  /** Drawn once per manager (R2). */
  readonly factor: number
  /** Whether the grant can ask again by itself: then a record that is gone ends nothing. */
  readonly asksAgain: boolean
  /** Told what went wrong with the storage, without the app noticing otherwise. */
  readonly degraded: (what: string, cause?: unknown) => void
}

/** This process's or page's copy of one record. The store is the truth; the copy is what is served from. */
export class SessionCopy {
  readonly #options: CopyOptions
  #identity: Promise<Identity> | undefined
  /** Tokens by token key, each with its own clocks. */
  readonly held: Map<string, HeldToken> = new Map()
  record: SessionRecord | undefined
  /**
   * Set while the copy is newer than what the store holds: `renewal`, a write failed, and whatever else is there by then
   * wins; `replacement`, somebody signed in or out here, and that wins.
   */
  unsaved: 'renewal' | 'replacement' | undefined
  /** The version that the next write has to find. */
  #version: number | undefined
  #writes = 0

  constructor(options: CopyOptions) {
    this.#options = options
  }

  /** Found out once; asked again where that failed. */
  identity(): Promise<Identity> {
    this.#identity ??= this.#options.identity().catch((error) => {
      this.#identity = undefined
      throw ours(error)
    })
    return this.#identity
  }

  /** Makes what the store holds the copy. Rejects with a `StoreError`, and leaves the copy as it is. */
  async refresh(): Promise<void> {
    const { initial } = await this.identity()
    const writes = this.#writes
    const found: unknown = await this.#storage('read', (store, key) => store.get(key))
    if (writes !== this.#writes) return this.refresh()
    const parsed = parseRecord(found)
    const version = versionOf(found)
    if (found !== undefined && parsed === undefined)
      this.#options.degraded('a stored session was damaged and is not used')
    if (this.unsaved === 'replacement' || (this.unsaved && version === this.#version)) return
    const known = this.#version !== undefined
    this.#version = version
    this.unsaved = undefined
    const foreign = initial !== undefined && parsed?.seed !== initial.seed
    this.#take(foreign ? (this.record ?? initial) : (parsed ?? this.#withoutRecord(known, found !== undefined)))
  }

  /**
   * Writes `next` over the version that was read last; tells whether it was still there. When the store fails, `next`
   * lives in memory until it can be written (R12).
   */
  async write(next: SessionRecord): Promise<boolean> {
    const record = { ...next, version: nextVersion(this.#version) }
    const writes = ++this.#writes
    let failed = false
    try {
      if (!(await this.#storage('write', (store, key) => store.replace(key, this.#version, record)))) return false
    } catch (error) {
      failed = true
      this.#options.degraded('a session could not be written and lives in memory', error)
    }
    if (writes !== this.#writes) return true // somebody signed in or out meanwhile, and writes after this
    if (!failed) this.#version = record.version
    if (!failed) this.unsaved = undefined
    else this.unsaved ??= 'renewal'
    this.#take(record)
    return true
  }

  /** Puts `next` in place of whatever is stored; until that has worked it lives in memory. Resolves with what was there. */
  async overwrite(next: SessionRecord): Promise<SessionRecord | undefined> {
    this.keep(next, 'replacement')
    for (let tries = 0; tries < 10; tries++) {
      const found: unknown = await this.#storage('read', (store, key) => store.get(key)).catch((error) => {
        this.#options.degraded('a session could not be written and lives in memory', error)
      })
      this.#version = versionOf(found)
      if (await this.write(next)) return parseRecord(found)
    }
    return undefined
  }

  /** Changes the copy alone; the store follows when it can. */
  keep(record: SessionRecord, kind: 'renewal' | 'replacement' = 'renewal'): void {
    this.unsaved = kind
    this.#writes++
    this.#take(record)
  }

  #withoutRecord(known: boolean, damaged: boolean): SessionRecord | undefined {
    const before = this.record
    if (this.#options.asksAgain || before?.ended || !(known || damaged)) return before
    const end = { origin: 'storage', at: Date.now(), lastSuccessAt: before?.lastSuccessAt } as const
    return ended(before ?? emptyRecord(), { reason: damaged ? 'damaged' : 'storage-cleared', ...end })
  }

  #take(record: SessionRecord | undefined): void {
    this.record = record
    for (const key of this.held.keys()) if (!record?.tokens[key]) this.held.delete(key)
    for (const [key, token] of Object.entries(record?.tokens ?? {})) {
      if (this.held.get(key)?.stored.accessToken === token.accessToken) continue
      this.held.set(key, new HeldToken(token, this.#options.factor))
    }
  }

  async #storage<T>(what: string, call: (store: TokenStore, key: string) => Promise<T>): Promise<T> {
    const { key } = await this.identity()
    const late = () => new StoreError(`The token store did not ${what} within ${STORAGE_TIMEOUT} ms`)
    try {
      return await within(STORAGE_TIMEOUT, late, async () => call(this.#options.store, key))
    } catch (cause) {
      throw cause instanceof OAuthError ? cause : new StoreError(`The token store could not ${what}`, { cause })
    }
  }
}

function versionOf(found: unknown): number | undefined {
  const version = (found as { version?: unknown } | undefined | null)?.version
  return typeof version === 'number' ? version : undefined
}
