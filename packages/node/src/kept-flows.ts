import { type AuthorizationCodeFlow, type Claims, StoreError, type TokenStore, versionOf } from '@keyturn/core'

/** Milliseconds after which a flow that nobody has used is let go; its session stays in the store. */
const IDLE = 600_000
/** How many flows are kept at most; of more the one that was used longest ago is let go. */
const MOST = 1000

/** How long until a session that is over and could not be removed is removed again, milliseconds. */
const AGAIN = 5_000
/** How many of them are remembered at most; of more the oldest is let go. */
const MOST_OVER = 10_000

/** The `sessionKey` of all flows; in the store each has its own instead. */
export const ANYBODY = 'keyturn-web-session'

/** One session's place in a store, under which name it was looked for there, and what came of that. */
export interface SessionPlace {
  readonly store: TokenStore
  name?: string
  isRead: boolean
  error?: unknown
}

/** The place of one session, whose key is known by the time that it is needed. What all sessions share stays shared. */
export function placeOf(store: TokenStore, sessionKey: () => string): SessionPlace {
  const named = (key: string) => key.replace(ANYBODY, sessionKey)
  const place: SessionPlace = {
    isRead: false,
    store: {
      async get(key) {
        if (!key.includes(ANYBODY)) return store.get(key)
        place.name ??= key
        try {
          const found = await store.get(named(key))
          place.isRead = true
          return found
        } catch (error) {
          place.error = error
          throw error
        }
      },
      replace: (key, expected, next) => store.replace(named(key), expected, next),
      lock: (key, critical, duration) => store.lock(named(key), critical, duration),
      ...(store.watch && { watch: (key, listener) => store.watch?.(named(key), listener) ?? (() => {}) }),
    },
  }
  return place
}

/** A session, and its place in the store. */
export interface PlacedFlow<C extends Claims> {
  readonly flow: AuthorizationCodeFlow<C>
  readonly place: SessionPlace
}

/** Keeps the sessions of those who are here: one manager for all requests of a person, none for who has left. */
export class KeptFlows<C extends Claims> {
  readonly #open: (sessionKey: string) => PlacedFlow<C>
  /** By session key, the one that was used longest ago first. */
  readonly #kept = new Map<string, PlacedFlow<C> & { usedAt: number }>()
  #timer: NodeJS.Timeout | undefined
  /** Sessions that are over, and may be in the store still. */
  readonly #over = new Set<string>()
  #again: NodeJS.Timeout | undefined

  constructor(open: (sessionKey: string) => PlacedFlow<C>) {
    this.#open = open
  }

  /** The session as it is known, once the store has been read. Rejects with a `StoreError` where that cannot be. */
  async at(sessionKey: string): Promise<AuthorizationCodeFlow<C>> {
    const placed = this.take(sessionKey)
    try {
      return await known(placed)
    } catch (error) {
      this.#drop(sessionKey)
      throw error
    }
  }

  /** Whether no session ever had this key, as far as the store knows. Rejects with a `StoreError`. */
  async isFree(sessionKey: string): Promise<boolean> {
    const placed = this.#open(sessionKey)
    await placed.flow[Symbol.asyncDispose]() // it looks once
    const { session } = await known(placed)
    return session.status === 'signedOut' && !session.ended
  }

  /** The session as far as it is known. */
  take(sessionKey: string): PlacedFlow<C> {
    const placed = this.#kept.get(sessionKey) ?? this.#open(sessionKey)
    this.keep(sessionKey, placed)
    return placed
  }

  keep(sessionKey: string, placed: PlacedFlow<C>): void {
    const { flow, place } = placed
    this.#kept.delete(sessionKey)
    if (!place.store.watch) {
      // What hears of no changes has to look each time: it is not kept, and without timers needs no end.
      void flow[Symbol.asyncDispose]()
      return
    }
    this.#kept.set(sessionKey, { ...placed, usedAt: performance.now() })
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= MOST) break
      this.#drop(oldest)
    }
    this.#timer ??= setTimeout(() => this.#sweep(), IDLE).unref()
  }

  /** Whether the session has ended here, whatever a store says that could not be told. */
  isOver(sessionKey: string): boolean {
    return this.#over.has(sessionKey)
  }

  /** Takes the session out of the store, later where that cannot be now, and then out of memory. */
  async forget(sessionKey: string): Promise<void> {
    this.#over.add(sessionKey)
    for (const oldest of this.#over) {
      if (this.#over.size <= MOST_OVER) break
      this.#over.delete(oldest)
    }
    try {
      const placed = this.take(sessionKey)
      const { client } = await known(placed)
      await client.inTime(() => removed(placed.place), 'The session was not removed')
    } catch (error) {
      this.#again ??= setTimeout(() => this.#forgetAgain(), AGAIN).unref()
      throw error
    }
    this.#over.delete(sessionKey)
    this.#drop(sessionKey)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer)
    clearTimeout(this.#again)
    for (const sessionKey of this.#kept.keys()) this.#drop(sessionKey)
  }

  async #forgetAgain(): Promise<void> {
    this.#again = undefined
    for (const sessionKey of [...this.#over]) {
      try {
        await this.forget(sessionKey)
      } catch {
        return // told when it failed first; the store is away, and all are tried again
      }
    }
  }

  #sweep(): void {
    this.#timer = undefined
    for (const [sessionKey, { usedAt }] of this.#kept) {
      if (performance.now() - usedAt < IDLE) break
      this.#drop(sessionKey)
    }
    if (this.#kept.size > 0) this.#timer = setTimeout(() => this.#sweep(), IDLE).unref()
  }

  #drop(sessionKey: string): void {
    const kept = this.#kept.get(sessionKey)
    this.#kept.delete(sessionKey)
    void kept?.flow[Symbol.asyncDispose]()
  }
}

/** The session once the store has been read, or has failed to be while there is one in memory. */
async function known<C extends Claims>({ flow, place }: PlacedFlow<C>): Promise<AuthorizationCodeFlow<C>> {
  await flow.handleCallback()
  if (place.isRead || flow.session.status === 'signedIn') return flow
  throw new StoreError('The sessions cannot be read', { cause: place.error })
}

async function removed({ store, name = '' }: SessionPlace): Promise<void> {
  // A renewal may write in between; it finds out that the session is gone when it writes again.
  for (let tries = 0; tries < 10; tries++) {
    const found = await store.get(name)
    if (found === undefined || (await store.replace(name, versionOf(found), undefined))) return
  }
}
