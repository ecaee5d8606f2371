import * as oauth from 'oauth4webapi'
import type { Client } from './client.ts'
import type { AuthorizationServer } from './discovery.ts'
import { TokenUnavailableError } from './errors.ts'
import { clockSkew } from './server-answers.ts'

/** Milliseconds that the keys are used without asking again. */
const FRESH = 300_000
/** Milliseconds that nobody waits for newer ones, if they are asked for. */
const BEHIND = 2 * FRESH
/** Milliseconds between two requests, once there are keys. */
const REFETCH = 60_000

/** What verifies a signature with oauth4webapi, which takes the keys from `options`. */
type Check<T> = (server: AuthorizationServer, options: oauth.ValidateSignatureOptions) => Promise<T>

/** The public keys of an authorization server, fetched within the limits of its client (RFC 7517 section 5). */
export class KeySet {
  readonly #client: Client
  readonly #longest: number
  #keys: unknown
  #server: AuthorizationServer | undefined
  #fetchedAt = 0
  #skew = 0
  #refetchedAt = 0
  #fetching: Promise<void> | undefined
  /** Why the last request brought no keys. */
  #failure: { error: unknown } | undefined

  /** `longest`: milliseconds that keys stay good while the server cannot tell newer ones. Default: five minutes. */
  constructor(client: Client, longest: number = FRESH) {
    this.#client = client
    this.#longest = longest
  }

  /** Rejects with an `OAuthError` where there are no keys: before anything is spent on an answer that needs them. */
  async ready(): Promise<void> {
    if (isWithin(FRESH, this.#fetchedAt)) return
    const isHeld = isWithin(this.#longest, this.#fetchedAt)
    if (isHeld && !this.#fetching && isWithin(REFETCH, this.#refetchedAt)) return
    const mayLag = isHeld && (this.#failure || isWithin(BEHIND, this.#fetchedAt))
    const fetched = this.#fetch().catch((error) => {
      if (!isHeld) throw error // else #failure tells it to whom the held keys do not help
    })
    if (!mayLag) await fetched
  }

  /** What `check` gives; for a key that is not known the server is asked once more, at most once a minute. */
  async verified<T>(check: Check<T>): Promise<T> {
    await this.ready()
    const keys = this.#keys
    const attempt = async () => {
      // oauth4webapi keeps keys by the metadata's identity: a copy for each answer makes it ask for those that are held here.
      this.#server ??= { ...(await this.#client.metadata()) }
      return check(this.#server, {
        [oauth.customFetch]: async () => Response.json(this.#keys),
        [oauth.allowInsecureRequests]: true, // nothing is fetched there, and the URL is checked
      })
    }
    try {
      return await attempt()
    } catch (error) {
      if (Object(error).code !== oauth.KEY_SELECTION) throw error
      if (keys === this.#keys) {
        if (!this.#fetching && isWithin(REFETCH, this.#refetchedAt)) throw this.#failure ? this.#failure.error : error
        await this.#fetch()
      }
      return attempt()
    }
  }

  /** Seconds that the server's clock is ahead, by its last answer or by what it has just signed. */
  clockSkew(jwt: string | null): number {
    return this.#skew || clockSkew(new Headers(), jwt)
  }

  #fetch(): Promise<void> {
    this.#fetching ??= this.#request()
      .catch((error) => {
        this.#failure = { error }
        throw error
      })
      .finally(() => {
        this.#fetching = undefined
      })
    return this.#fetching
  }

  async #request(): Promise<void> {
    if (this.#keys) this.#refetchedAt = Date.now()
    const url = await this.#client.requiredEndpoint('jwks_uri')
    const { response, json } = await this.#client.send(url, { redirect: 'manual' })
    const keys = json?.keys
    if (response.status !== 200 || !Array.isArray(keys) || !keys.every((key) => Object(key) === key)) {
      throw new TokenUnavailableError('invalid-response', `No keys at jwks_uri (status ${response.status})`, {
        fix: 'Check what answers at jwks_uri.',
      })
    }
    this.#keys = { keys }
    this.#server = undefined
    this.#failure = undefined
    this.#fetchedAt = Date.now()
    this.#skew = clockSkew(response.headers, undefined)
  }
}

/** Also when a clock was set back since. */
function isWithin(span: number, since: number): boolean {
  return Math.abs(Date.now() - since) < span
}
