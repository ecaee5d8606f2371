import type { Client } from './client.ts'
import { TokenUnavailableError } from './errors.ts'
import { clockSkew } from './server-answers.ts'

/** Milliseconds that the keys are used without asking again. */
const FRESH = 300_000
/** Milliseconds that nobody waits for newer ones, if they are asked for. */
const BEHIND = 2 * FRESH
/** Milliseconds between two requests, once there are keys. */
const REFETCH = 60_000
/** And before there are any: no longer than until a renewal that failed for that is tried again. */
const AGAIN = 500

/** A JWK Set, as far as it has been looked at (RFC 7517 section 5). */
export interface FetchedKeySet {
  readonly keys: readonly Readonly<Record<string, unknown>>[]
}

/** How keys are used; which library does that is the affair of who makes it. */
export interface KeyUse<Keys extends object> {
  /** Called once for each set that is fetched. */
  prepare(set: FetchedKeySet): Keys | Promise<Keys>
  /** The `code` of errors that say that none of the keys is the right one. */
  unknownKey: readonly unknown[]
  /** Milliseconds that keys stay good while the server cannot tell newer ones. Default: five minutes. */
  longest?: number | undefined
}

/** The public keys of an authorization server, fetched within the limits of its client (RFC 7517 section 5). */
export class ServerKeys<Keys extends object> {
  readonly #client: Client
  readonly #use: KeyUse<Keys>
  #keys: Keys | undefined
  #fetchedAt = 0
  #skew = 0
  #refetchedAt = 0
  #fetching: Promise<Keys> | undefined
  /** Why the last request brought no keys. */
  #failure: { error: unknown; at: number } | undefined

  constructor(client: Client, use: KeyUse<Keys>) {
    this.#client = client
    this.#use = use
  }

  /** Rejects with an `OAuthError` where there are no keys: before anything is spent on an answer that needs them. */
  async ready(): Promise<void> {
    await this.#current()
  }

  /** What `check` gives; for a key that is not known the server is asked once more, at most once a minute. */
  async verified<T>(check: (keys: Keys) => Promise<T>): Promise<T> {
    const keys = await this.#current()
    try {
      return await check(keys)
    } catch (error) {
      if (!this.#use.unknownKey.includes(Object(error).code)) throw error
      if (keys === this.#keys) {
        if (!this.#fetching && isWithin(REFETCH, this.#refetchedAt)) throw this.#failure ? this.#failure.error : error
        await this.#fetch()
      }
      return check(this.#keys ?? keys)
    }
  }

  /** Seconds that the server's clock is ahead, by its last answer or by what it has just signed. */
  clockSkew(jwt: string | null): number {
    return this.#skew || clockSkew(new Headers(), jwt)
  }

  #current(): Keys | Promise<Keys> {
    const held = this.#keys
    if (held && isWithin(FRESH, this.#fetchedAt)) return held
    // Whoever verifies for others is asked more often than a server that is away should be.
    if (!held && this.#failure && isWithin(AGAIN, this.#failure.at)) throw this.#failure.error
    const isHeld = held && isWithin(this.#use.longest ?? FRESH, this.#fetchedAt)
    if (isHeld && !this.#fetching && isWithin(REFETCH, this.#refetchedAt)) return held
    const mayLag = isHeld && (this.#failure || isWithin(BEHIND, this.#fetchedAt))
    const fetched = this.#fetch().catch((error) => {
      if (!isHeld) throw error // else #failure tells it to whom the held keys do not help
      return held
    })
    return mayLag ? held : fetched
  }

  #fetch(): Promise<Keys> {
    this.#fetching ??= this.#request()
      .catch((error) => {
        this.#failure = { error, at: Date.now() }
        throw error
      })
      .finally(() => {
        this.#fetching = undefined
      })
    return this.#fetching
  }

  async #request(): Promise<Keys> {
    if (this.#keys) this.#refetchedAt = Date.now()
    const url = await this.#client.requiredEndpoint('jwks_uri')
    const { response, json } = await this.#client.send(url, { redirect: 'manual' })
    const keys = json?.keys
    if (response.status !== 200 || !Array.isArray(keys) || !keys.every((key) => Object(key) === key)) {
      throw new TokenUnavailableError('invalid-response', `No keys at jwks_uri (status ${response.status})`, {
        fix: 'Check what answers at jwks_uri.',
      })
    }
    const prepared = await this.#use.prepare({ keys })
    this.#keys = prepared
    this.#failure = undefined
    this.#fetchedAt = Date.now()
    this.#skew = clockSkew(response.headers, undefined)
    return prepared
  }
}

/** Also when a clock was set back since. */
function isWithin(span: number, since: number): boolean {
  return Math.abs(Date.now() - since) < span
}
