import * as oauth from 'oauth4webapi'
import type { Client } from './client.ts'
import type { AuthorizationServer } from './discovery.ts'
import { TokenUnavailableError } from './errors.ts'
import { clockSkew } from './server-answers.ts'

/** Milliseconds that the keys are used without asking again. */
const FRESH = 300_000
/** Milliseconds between two looks for a key that is not known. */
const REFETCH = 60_000

/** What verifies a signature with oauth4webapi, which takes the keys from `options`. */
type Check<T> = (server: AuthorizationServer, options: oauth.ValidateSignatureOptions) => Promise<T>

/** The public keys of an authorization server, fetched within the limits of its client (RFC 7517 section 5). */
export class KeySet {
  readonly #client: Client
  #keys: unknown
  #fetchedAt = 0
  #skew = 0
  #refetchedAt = 0
  #fetching: Promise<void> | undefined

  constructor(client: Client) {
    this.#client = client
  }

  /** Rejects with an `OAuthError` where there are no keys: before anything is spent on an answer that needs them. */
  async ready(): Promise<void> {
    if (!isWithin(FRESH, this.#fetchedAt)) await this.#fetch()
  }

  /** What `check` gives; for a key that is not known the server is asked once more, at most once a minute. */
  async verified<T>(check: Check<T>): Promise<T> {
    await this.ready()
    const attempt = async () =>
      // oauth4webapi keeps keys by the metadata's identity: a copy makes it ask for those that are held here.
      check(
        { ...(await this.#client.metadata()) },
        {
          [oauth.customFetch]: async () => Response.json(this.#keys),
          [oauth.allowInsecureRequests]: true, // nothing is fetched there, and the URL is checked
        },
      )
    try {
      return await attempt()
    } catch (error) {
      if (Object(error).code !== oauth.KEY_SELECTION || isWithin(REFETCH, this.#refetchedAt)) throw error
      this.#refetchedAt = Date.now()
      await this.#fetch()
      return attempt()
    }
  }

  /** Seconds that the server's clock is ahead, by its last answer or by what it has just signed. */
  clockSkew(jwt: string | null): number {
    return this.#skew || clockSkew(new Headers(), jwt)
  }

  #fetch(): Promise<void> {
    this.#fetching ??= this.#request().finally(() => {
      this.#fetching = undefined
    })
    return this.#fetching
  }

  async #request(): Promise<void> {
    const url = await this.#client.requiredEndpoint('jwks_uri')
    const { response, json } = await this.#client.send(url, { redirect: 'manual' })
    const keys = json?.keys
    if (response.status !== 200 || !Array.isArray(keys) || !keys.every((key) => Object(key) === key)) {
      throw new TokenUnavailableError('invalid-response', `No keys at jwks_uri (status ${response.status})`, {
        fix: 'Check what answers at jwks_uri.',
      })
    }
    this.#keys = { keys }
    this.#fetchedAt = Date.now()
    this.#skew = clockSkew(response.headers, undefined)
  }
}

/** Also when a clock was set back since. */
function isWithin(span: number, since: number): boolean {
  return Math.abs(Date.now() - since) < span
}
