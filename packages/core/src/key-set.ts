import * as oauth from 'oauth4webapi'
import type { Client } from './client.ts'
import type { AuthorizationServer } from './discovery.ts'
import { ServerKeys } from './server-keys.ts'

/** What verifies a signature with oauth4webapi gets: it takes the keys from `options`. */
export interface KeysInUse {
  readonly server: AuthorizationServer
  readonly options: oauth.ValidateSignatureOptions
}

/** The public keys of an authorization server, for oauth4webapi. */
export function keySet(client: Client): ServerKeys<KeysInUse> {
  return new ServerKeys(client, {
    // oauth4webapi keeps keys by the metadata's identity: a copy for each set makes it ask for those that are held here.
    prepare: async (set) => ({
      server: { ...(await client.metadata()) },
      options: {
        [oauth.customFetch]: async () => Response.json(set),
        [oauth.allowInsecureRequests]: true, // nothing is fetched there, and the URL is checked
      },
    }),
    unknownKey: [oauth.KEY_SELECTION],
  })
}
