import { clockSkew, validateJwtAuthResponse } from 'oauth4webapi'
import type { Client } from '../client.ts'
import { jwtPart } from '../jwt-part.ts'
import { type KeysInUse, keySet } from '../key-set.ts'
import type { ServerKeys } from '../server-keys.ts'
import { type AuthorizationResponse, authorizationResponseIn } from './authorization-response.ts'

/** Authorization responses that the server signs (JARM: JWT Secured Authorization Response Mode). */
export interface Jarm {
  /** The response in an address at the redirect URI, be it signed or not (JARM section 2.3.1). */
  responseIn(address: string, redirectUri: string): AuthorizationResponse | undefined
  /** Its parameters, once it is known to be the server's answer to `state`; rejects otherwise (JARM section 2.4). */
  validated(client: Client, response: URLSearchParams, state: string): Promise<URLSearchParams>
}

/**
 * Authorization responses are signed by the server: `login()` asks for that, and a response that is not signed, or not by
 * the server, is refused with an `InvalidCallbackError` (JARM: JWT Secured Authorization Response Mode, section 2.4).
 */
export function jarm(): Jarm {
  const keySets = new WeakMap<Client, ServerKeys<KeysInUse>>()
  return {
    responseIn: (address, redirectUri) =>
      signedResponseIn(address, redirectUri) ?? authorizationResponseIn(address, redirectUri),
    async validated(client, response, state) {
      const keys = keySets.get(client) ?? keySet(client)
      keySets.set(client, keys)
      return keys.verified(({ server, options }) => {
        const who = { client_id: client.clientId, [clockSkew]: keys.clockSkew(response.get('response')) }
        return validateJwtAuthResponse(server, who, response, state, options)
      })
    },
  }
}

function signedResponseIn(address: string, redirectUri: string): AuthorizationResponse | undefined {
  const url = URL.parse(address)
  const jwts = url?.searchParams.getAll('response') ?? []
  // What is not even shaped like a JWT is the app's own.
  if (!url || !jwts.some((jwt) => /^[\w-]+(\.[\w-]*){2,4}$/.test(jwt))) return undefined
  const own = url.search.slice(1).split('&')
  const others = own.filter((pair) => !/^response(=|$)/.test(pair))
  // With what a plain response has it is found like one.
  url.search = [`code&${new URLSearchParams({ state: stateIn(jwts[0]) })}`, ...others].join('&')
  const found = authorizationResponseIn(url.href, redirectUri)
  for (const jwt of jwts) found?.response.append('response', jwt)
  return found
}

/** Which login it claims to answer: enough to find that, and no more. */
function stateIn(jwt: unknown): string {
  try {
    return String(jwtPart(jwt, 1).state)
  } catch {
    return ''
  }
}
