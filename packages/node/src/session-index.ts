import { type LoggedOut, nextVersion, StoreError, type TokenStore, versionOf } from '@keyturn/core'

/** How many sessions are known of one person, or of one sign-in at the server; of more the oldest are forgotten. */
const MOST = 100

/** What the server calls a session by. */
interface Named {
  readonly sub?: unknown
  readonly sid?: unknown
}

/** A session that may have to be found; until when, epoch milliseconds. */
export interface NamedSession extends Named {
  readonly sessionKey: string
  readonly until: number
}

export interface SessionIndexOptions {
  readonly store: TokenStore
  /** Whose sessions they are. */
  readonly client: readonly string[]
  /** How long a session lives at most, milliseconds. */
  readonly life: number
  /** Gives a storage call up in time. */
  readonly inTime: <T>(call: () => Promise<T>) => Promise<T>
}

/**
 * Finds the sessions that the authorization server says are over, whichever process they began in: those of one sign-in
 * there (`sid`), or all of a person (`sub`). Each of the two names has a record of its own, which is no session.
 */
export class SessionIndex {
  readonly #options: SessionIndexOptions

  constructor(options: SessionIndexOptions) {
    this.#options = options
  }

  async add(claims: Named | undefined, sessionKey: string): Promise<void> {
    const { sub, sid } = { ...claims }
    const session = { sub, sid, sessionKey, until: Date.now() + this.#options.life }
    await this.#changeAll(session, (sessions) => [...sessions, session])
  }

  async remove(claims: Named | undefined, sessionKey: string): Promise<void> {
    await this.#changeAll(claims, (sessions) => sessions.filter((one) => one.sessionKey !== sessionKey))
  }

  /** The sessions that are meant (OpenID Connect Back-Channel Logout 1.0 section 2.7). */
  async of({ sub, sid }: LoggedOut): Promise<NamedSession[]> {
    const [name] = this.#names(sid ? { sid } : { sub })
    const found = name && (await this.#options.inTime(() => this.#options.store.get(name)))
    return sessionsIn(found)
  }

  async #changeAll(claims: Named | undefined, change: (sessions: NamedSession[]) => NamedSession[]): Promise<void> {
    const { sub, sid } = { ...claims }
    await Promise.all(this.#names({ sub, sid }).map((name) => this.#change(name, change)))
  }

  #names(names: Record<string, unknown>): string[] {
    const all = Object.entries(names).filter(([, name]) => name && typeof name === 'string')
    return all.map(([kind, name]) => JSON.stringify([...this.#options.client, `sessions of a ${kind}`, name]))
  }

  /** By compare-and-set: nobody who shares the store undoes what another did. */
  async #change(name: string, change: (sessions: NamedSession[]) => NamedSession[]): Promise<void> {
    const { store, inTime } = this.#options
    for (let tries = 0; tries < 10; tries++) {
      const found = await inTime(() => store.get(name))
      const sessions = change(sessionsIn(found)).slice(-MOST)
      const version = versionOf(found)
      const next = { format: 1, version: nextVersion(version), tokens: {}, sessions } as const
      if (sessions.length === 0 && found === undefined) return
      if (await inTime(() => store.replace(name, version, sessions.length > 0 ? next : undefined))) return
    }
    throw new StoreError('The store was busy')
  }
}

/** What a store gave, believed in nothing: those that may still live. */
function sessionsIn(found: unknown): NamedSession[] {
  const { sessions } = Object(found)
  return (Array.isArray(sessions) ? sessions : []).flatMap((one: unknown): NamedSession[] => {
    const { sessionKey, until, sub, sid } = Object(one)
    return typeof sessionKey === 'string' && until > Date.now() ? [{ sessionKey, until, sub, sid }] : []
  })
}
