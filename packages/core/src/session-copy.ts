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
  /** The version that the store was last seen with, 0: nothing was there. */
  #seen = 0
  /** The refresh token that the store held when it was last seen. */
  #stored: string | undefined
  /** Whether a record of this session was ever seen there. */
  #owned = false
  #writes = 0
  /** Counts sign-ins and sign-outs. */
  #intent = 0
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

  /** What the next record is made from. Its version is what the write of that has to find, 0: nothing. */
  get base(): SessionRecord {
    return this.record ?? { ...emptyRecord(), version: this.#seen }
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
    if (this.unsaved === 'replacement' || (this.unsaved && version === this.base.version)) return
    const foreign = initial !== undefined && parsed?.seed !== initial.seed
    // A newer seed has taken the place of ours: that session is not ours to touch, and ours goes on by itself.
    const replaced = foreign && parsed !== undefined && this.#owned
    if (replaced) this.#store = memoryStore()
    this.#seen = replaced ? 0 : version
    this.unsaved = undefined
    this.#stored = parsed?.refreshToken
    const record = foreign ? (this.record ?? initial) : (parsed ?? this.#withoutRecord(found !== undefined))
    this.#take(record && { ...record, version: this.#seen })
    if (!foreign && parsed) this.#owned = true
    if (mended && parsed && this.record) await this.write(this.record)
  }

  /**
   * Writes `next` where the version that it was made from still is. Resolves with the record as it is now, undefined
   * where somebody else's is there. When the store fails, it lives in memory until it can be written (R12).
   */
  async write(next: SessionRecord): Promise<SessionRecord | undefined> {
    const intent = this.#intent
    const written = await this.#put(next)
    if (written === undefined) return undefined
    if (intent !== this.#intent) return written // somebody signed in or out meanwhile, and writes after this
    if (written === next) this.unsaved ??= 'renewal'
    else this.unsaved = undefined
    this.#take(written)
    return written
  }

  /** Writes again what could not be written; false where something else is there by now, and wins. */
  async save(): Promise<boolean> {
    const { record, unsaved } = this
    if (record === undefined) return true
    let next = record
    if (unsaved === 'replacement') {
      const found: unknown = await this.#storage('read', (store, key) => store.get(key)).catch(() => undefined)
      if (record !== this.record) return true // there is something newer to save by now
      next = { ...record, version: versionOf(found) }
    }
    const written = await this.#put(next)
    if (written && written !== next && record === this.record) {
      this.unsaved = undefined
      this.#take(written)
    }
    return written !== undefined || unsaved === 'replacement'
  }

  /** The record with its new version; as it was, where the store failed; undefined where something else is there. */
  async #put(next: SessionRecord): Promise<SessionRecord | undefined> {
    const record = { ...next, version: nextVersion(next.version) }
    this.#writes++
    try {
      const put = (store: TokenStore, key: string) =>
        store.replace(key, next.version === 0 ? undefined : next.version, record)
      if (!(await this.#storage('write', put))) return undefined
      this.#stored = record.refreshToken
      this.#owned = true
      return record
    } catch (error) {
      this.#options.degraded('a session could not be written and lives in memory', error)
      return next
    } finally {
      this.#writes++
    }
  }

  /** Puts `next` in place of whatever is stored; until that has worked it lives in memory. Resolves with what was there. */
  async overwrite(next: SessionRecord): Promise<SessionRecord | undefined> {
    this.keep(next, 'replacement')
    const intent = this.#intent
    for (let tries = 0; tries < 10; tries++) {
      const { initial } = await this.identity()
      const found: unknown = await this.#storage('read', (store, key) => store.get(key)).catch((error) => {
        this.#options.degraded('a session could not be written and lives in memory', error)
      })
      // Something else may have been asked for meanwhile.
      if (intent !== this.#intent || this.unsaved !== 'replacement') return parseRecord(found)
      if (await this.write({ ...next, seed: initial?.seed, version: versionOf(found) }))
        return parseRecord(found) ?? initial
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
    if (this.unsaved !== 'replacement') this.unsaved = kind
    if (kind === 'replacement') this.#intent++
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
      const held = this.held.get(key)?.stored
      if (held?.accessToken === token.accessToken && held.issuedAt === token.issuedAt) continue
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

/** Whatever is in its place: it only has to be the same when the record is written over. 0: nothing. */
function versionOf(found: unknown): number {
  return found === undefined || found === null ? 0 : (found as { version: number }).version
}
