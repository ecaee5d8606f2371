import * as oauth from 'oauth4webapi'
import type { Client } from './client.ts'
import type { AuthorizationServer } from './discovery.ts'
import { ServerKeys } from './server-keys.ts'

/** What verifies a signature with oauth4webapi, which takes the keys from `options`. */
type Check<T> = (server: AuthorizationServer, options: oauth.ValidateSignatureOptions) => Promise<T>

/** The public keys of an authorization server, for oauth4webapi. */
export class KeySet {
  readonly #keys: ServerKeys<{ server: AuthorizationServer; options: oauth.ValidateSignatureOptions }>

  constructor(client: Client) {
    this.#keys = new ServerKeys(client, {
      // oauth4webapi keeps keys by the metadata's identity: a copy for each set makes it ask for those that are held here.
      prepare: async (set) => ({
        server: { ...(await client.metadata()) },
        options: {
          [oauth.customFetch]: async () => Response.json(set),
          [oauth.allowInsecureRequests]: true, // nothing is fetched there, and the URL is checked
        },
      }),
      isUnknownKey: (error) => Object(error).code === oauth.KEY_SELECTION,
    })
  }

  /** Rejects with an `OAuthError` where there are no keys: before anything is spent on an answer that needs them. */
  ready(): Promise<void> {
    return this.#keys.ready()
  }

  /** What `check` gives; for a key that is not known the server is asked once more, at most once a minute. */
  verified<T>(check: Check<T>): Promise<T> {
    return this.#keys.verified(({ server, options }) => check(server, options))
  }

  /** Seconds that the server's clock is ahead, by its last answer or by what it has just signed. */
  clockSkew(jwt: string | null): number {
    return this.#keys.clockSkew(jwt)
  }
}
