import { within } from './deadline.ts'
import { OAuthError, StoreError } from './errors.ts'
import { HeldToken } from './held-token.ts'
import { memoryStore } from './memory-store.ts'
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
  /** The refresh token that the store held when it was last seen. */
  #stored: string | undefined
  /** Whether a record of this session was ever seen there. */
  #owned = false
  #writes = 0
  #store: TokenStore

  constructor(options: CopyOptions) {
    this.#options = options
    this.#store = options.store
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
    let mended = false
    const parsed = parseRecord(found, () => {
      mended = true
      this.#options.degraded('a stored session was damaged')
    })
    const version = versionOf(found)
    const damaged = found !== undefined && parsed === undefined
    if (this.unsaved === 'replacement' || (this.unsaved && version === this.#version)) return
    const foreign = initial !== undefined && parsed?.seed !== initial.seed
    // A newer seed has taken the place of ours: that session is not ours to touch, and ours goes on by itself.
    const replaced = foreign && parsed !== undefined && this.#owned
    if (replaced) this.#store = memoryStore()
    this.#version = replaced ? undefined : version
    this.unsaved = undefined
    this.#stored = parsed?.refreshToken
    this.#take(foreign ? (this.record ?? initial) : (parsed ?? this.#withoutRecord(damaged)))
    if (!foreign && parsed) this.#owned = true
    if (mended && parsed && this.record) await this.write(this.record)
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
    this.#writes++
    if (failed) this.unsaved ??= 'renewal'
    else {
      this.#version = record.version
      this.#owned = true
      this.#stored = record.refreshToken
      this.unsaved = undefined
    }
    this.#take(record)
    return true
  }

  /** Puts `next` in place of whatever is stored; until that has worked it lives in memory. Resolves with what was there. */
  async overwrite(next: SessionRecord): Promise<SessionRecord | undefined> {
    this.keep(next, 'replacement')
    for (let tries = 0; tries < 10; tries++) {
      const writes = this.#writes
      const { initial } = await this.identity()
      const found: unknown = await this.#storage('read', (store, key) => store.get(key)).catch((error) => {
        this.#options.degraded('a session could not be written and lives in memory', error)
      })
      if (writes !== this.#writes) return parseRecord(found) // somebody asked for something else meanwhile
      this.#version = versionOf(found)
      if (await this.write({ ...next, seed: initial?.seed })) return parseRecord(found) ?? initial
    }
    return undefined
  }

  /** Whether nobody else can have this refresh token: it came with an answer that could not be written. */
  async isOurs(refreshToken: string): Promise<boolean> {
    const { initial } = await this.identity()
    return refreshToken !== this.#stored && refreshToken !== initial?.refreshToken
  }

  /** Changes the copy alone; the store follows when it can. */
  keep(record: SessionRecord, kind: 'renewal' | 'replacement' = 'renewal'): void {
    this.unsaved = kind
    this.#writes++
    this.#take(record)
  }

  #withoutRecord(damaged: boolean): SessionRecord | undefined {
    const before = this.record
    if (this.#options.asksAgain || before?.ended || !(this.#owned || damaged)) return before
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
      return await within(STORAGE_TIMEOUT, late, async () => call(this.#store, key))
    } catch (cause) {
      throw cause instanceof OAuthError ? cause : new StoreError(`The token store could not ${what}`, { cause })
    }
  }
}

/** Whatever is in its place: it only has to be the same when the record is written over. */
function versionOf(found: unknown): number | undefined {
  return (found as { version?: number } | undefined | null)?.version
}
