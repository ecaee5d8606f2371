import { HeldToken } from './held-token.ts'
import { ours } from './renewal-errors.ts'
import { type Failed, forbids } from './renewal-policy.ts'
import type { Identity, SessionOptions } from './session-options.ts'
import { emptyRecord, ended, isContinued, nextVersion, parseRecord, type SessionRecord } from './session-record.ts'
import { SharedRefreshTokens } from './shared-refresh-tokens.ts'
import { storageCall } from './storage-call.ts'
import { type TokenStore, versionOf } from './token-store.ts'

/** This process's or page's copy of one record. The store is the truth; the copy is what is served from. */
export class SessionCopy {
  readonly options: SessionOptions
  /** Undefined: the copy is all there is. */
  store: TokenStore | undefined
  /** Tokens by token key, each with its own clocks. */
  readonly held: Map<string, HeldToken> = new Map()
  /** Its version is the one that the store had when it was made, 0: none. */
  record: SessionRecord | undefined
  /**
   * Set while the copy is newer than what the store holds: `renewal`, a write failed, and whatever else is there by then
   * wins; `replacement`, somebody signed in or out here, and that wins.
   */
  unsaved: 'renewal' | 'replacement' | undefined
  /** Counts sign-ins and sign-outs. */
  intent = 0
  /** When the last of them happened, if it was a sign-out, epoch milliseconds; else 0. */
  intentAt = 0
  /** What failed here last, by token key; '' holds for all. */
  readonly failed: Map<string, Failed> = new Map()
  /** Settles when the last thing that was to be saved is, or cannot be. */
  saved: Promise<unknown> = Promise.resolve()
  #identity: Promise<Identity> | undefined
  readonly #shared = new SharedRefreshTokens()
  /** Whether a record of this session was ever seen there, and when the session had begun that was seen last. */
  #owned = false
  #startedAt: number | undefined
  /** Whether the store has failed to take what is unsaved, and the version that was written last, or was to be. */
  #late = false
  #tried = 0
  /** Numbers what happens to the copy, the last of it that changed the copy, and that changed the copy alone. */
  #step = 0
  #changed = 0
  #kept = 0

  constructor(options: SessionOptions) {
    this.options = options
    this.store = options.store
  }

  /** Found out once; asked again where that failed. */
  identity(): Promise<Identity> {
    this.#identity ??= this.#identify().catch((error) => {
      this.#identity = undefined
      throw ours(error)
    })
    return this.#identity
  }

  async #identify(): Promise<Identity> {
    const identity = await this.options.identity()
    this.#shared.stored = identity.initial?.refreshToken
    return identity
  }

  /** What the next record is made from. */
  get base(): SessionRecord {
    return this.record ?? emptyRecord()
  }

  /** When this token may be asked for again after a failure, epoch milliseconds; 0: at once. */
  retryAt(tokenKey: string): number {
    const known = ['', tokenKey].flatMap((scope) => [this.base.failures?.[scope], this.failed.get(scope)?.failure])
    return Math.max(0, ...known.map((failure) => (failure && forbids(failure) ? failure.retryAt : 0)))
  }

  /** Makes what the store holds the copy. Rejects with a `StoreError`, and leaves the copy as it is. */
  async load(): Promise<void> {
    const { initial } = await this.identity()
    const { store } = this
    const began = ++this.#step
    const found = (await this.#storage('read', (key) => store?.get(key))) ?? undefined
    if (began < this.#changed) return this.load() // it may have been read before that happened
    this.#changed = began
    let mended = false
    const parsed = parseRecord(found, () => {
      mended = true
      this.options.degraded('a stored session was damaged', found)
    })
    const version = versionOf(found) ?? 0
    if (this.unsaved === 'replacement' || (this.unsaved && version === this.record?.version)) return
    // Whatever others noted beside a refresh token that is spent, what took its place is newer.
    if (this.#spent.includes(parsed?.refreshToken)) return this.#take({ ...this.base, version })
    this.unsaved = undefined
    const isNew = initial && parsed?.seed !== initial.seed
    this.#shared.stored = (isNew ? initial : parsed)?.refreshToken
    this.#startedAt = parsed?.startedAt
    if (isNew) {
      // A newer seed has taken the place of ours: that session is not ours to touch, and ours goes on by itself.
      if (parsed && this.#owned) this.store = undefined
      this.#take({ ...(this.record ?? initial), version })
    } else {
      const record = { ...(parsed ?? this.#withoutRecord(found) ?? emptyRecord()), version }
      this.#take(record)
      // A sibling may have had success where this one was refused.
      for (const [scope, { failure }] of this.failed) {
        if (Number(record.lastSuccessAt) > failure.at) this.failed.delete(scope)
      }
      this.#owned ||= parsed !== undefined
      if (mended && parsed) await this.write(record)
    }
  }

  /**
   * Writes `next` where the version that it was made from still is; false where somebody else's is there. When the store
   * fails, it lives in memory until it can be written (R12).
   */
  async write(next: SessionRecord): Promise<boolean> {
    const { store, intent } = this
    const [kept, spent] = [this.#kept, this.base.refreshToken]
    const record = { ...next, version: nextVersion(next.version) }
    let written = false
    this.#tried = record.version
    this.#changed = ++this.#step
    try {
      const expected = next.version === 0 ? undefined : next.version
      const write = () => this.#storage('write', (key) => store?.replace(key, expected, record))
      if (store && !(await this.#shared.during(record.refreshToken, write))) return false
      written = true
      this.#shared.stored = record.refreshToken
      this.#startedAt = record.startedAt
      this.#owned = true
    } catch (error) {
      this.#notSaved(error)
    } finally {
      this.#changed = ++this.#step
    }
    // Somebody signed in or out meanwhile, and writes after this; or it was written over, which is known already.
    const { version, refreshToken } = this.base
    const isOlder = written ? version > record.version : refreshToken !== spent || next.refreshToken === spent
    const isOvertaken = kept !== this.#kept // by a renewal that did not wait for this, and is in memory alone
    const isPast = (version !== next.version || isOvertaken) && isOlder
    if (intent !== this.intent || isPast) return true
    if (!isOvertaken) this.unsaved = written ? undefined : (this.unsaved ?? 'renewal')
    this.#take({ ...(written && isOvertaken ? this.base : next), version: written ? record.version : version })
    return true
  }

  /** Writes what the store does not have yet, and resolves with what was in its place. */
  save(): Promise<SessionRecord | undefined> {
    const saving = this.#save()
    this.saved = saving.catch(() => {}) // who asked for it is told
    return saving
  }

  async #save(): Promise<SessionRecord | undefined> {
    const { intent } = this
    for (let tries = 0; tries < 10; tries++) {
      const { initial } = await this.identity()
      const { unsaved, store } = this
      const read = () => this.#storage('read', (key) => store?.get(key)).catch((error) => this.#notSaved(error))
      const found: unknown = unsaved === 'replacement' ? await read() : undefined
      const before = parseRecord(found) ?? (this.#owned ? undefined : initial) // which may be long spent
      // Something else may have been asked for meanwhile: nobody acts on this before the store knows of that.
      if (intent !== this.intent) return this.saved.then(() => before)
      const { record } = this // only now: a renewal from memory may not have waited for what was read
      if (!record || !this.unsaved) return before
      // Somebody signed in while this could not be written, or it was, and siblings have gone on from there.
      const isKnown = [undefined, record.startedAt, this.#startedAt].includes(before?.startedAt)
      const isBegun = !isKnown && !before?.ended
      const isLater = this.#tried > 0 && Number(before?.version) >= this.#tried
      const isOver = this.#late && (isBegun ? this.#owned || isLater : isLater && isContinued(record, before))
      // An end is that of what it is written over: whose own write nobody has answered knows by that.
      const { startedAt } = (record.ended && before) || record
      const instead = { ...record, startedAt, seed: initial?.seed, version: versionOf(found) ?? 0 }
      const written = !isOver && (await this.write(unsaved === 'replacement' ? instead : record))
      if (isOver) {
        this.unsaved = undefined
        this.#shared.stored = record.refreshToken // others have had it
      }
      if (written && this.unsaved) return before
      // Somebody else may have written meanwhile, and not have been heard.
      const unread = (error: unknown) => this.options.degraded('the token store cannot be read', error)
      const isRead = await this.load().then(() => true, unread)
      if (written || !this.unsaved || !isRead) return before
    }
    return undefined
  }

  /** Whether others may have this refresh token. */
  isShared(refreshToken: string): boolean {
    return this.#shared.has(refreshToken)
  }

  /** Somebody has signed in here, and the store does not know yet. */
  get holdsSignIn(): boolean {
    return this.unsaved === 'replacement' && !this.base.ended
  }

  /** The store may still have a refresh token that was spent, for it has failed to take the next one. */
  get holdsSpent(): boolean {
    return this.#spent.length > 0
  }

  get #spent(): (string | undefined)[] {
    return this.unsaved === 'renewal' ? this.#shared.before(this.record?.refreshToken) : []
  }

  /** Changes the copy alone; the store follows when it can. `intentAt`: somebody signed in (0), or out at this time. */
  keep(record: SessionRecord, intentAt?: number): void {
    if (intentAt !== undefined) {
      this.intent++
      this.intentAt = intentAt
      this.#late = false
      this.unsaved = 'replacement'
    }
    this.unsaved ??= 'renewal'
    this.#kept = this.#changed = ++this.#step
    this.#take(record)
  }

  #notSaved(error: unknown): void {
    this.#late = true
    this.options.degraded('a session could not be written and lives in memory', error)
  }

  #withoutRecord(found: unknown): SessionRecord | undefined {
    const { record: before, store, options } = this
    const damaged = found !== undefined
    if (!store || options.asksAgain || before?.ended || !(this.#owned || damaged)) return before
    const end = { origin: 'storage', at: Date.now(), lastSuccessAt: before?.lastSuccessAt } as const
    return ended(before ?? emptyRecord(), { reason: damaged ? 'damaged' : 'storage-cleared', ...end })
  }

  #take(record: SessionRecord): void {
    this.record = record
    for (const key of this.held.keys()) if (!record.tokens[key]) this.held.delete(key)
    for (const [key, token] of Object.entries(record.tokens)) {
      const held = this.held.get(key)?.stored
      if (held?.accessToken === token.accessToken && held.issuedAt === token.issuedAt) continue
      this.held.set(key, new HeldToken(token, this.options.factor))
    }
  }

  async #storage<T>(what: string, call: (key: string) => Promise<T> | T): Promise<T> {
    const { key } = await this.identity()
    return storageCall(what, () => call(key))
  }
}
