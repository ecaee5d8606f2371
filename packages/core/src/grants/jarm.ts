import { clockSkew, validateJwtAuthResponse } from 'oauth4webapi'
import type { Client } from '../client.ts'
import { KeySet } from '../key-set.ts'
import { type AuthorizationResponse, authorizationResponseIn } from './authorization-response.ts'

/** Finds the signed authorization response in an address at the redirect URI (JARM section 2.3.1). */
export type Jarm = (address: string, redirectUri: string, client: Client) => AuthorizationResponse | undefined

/**
 * Authorization responses are signed by the server: `login()` asks for that, and a response that is not signed, or not by
 * the server, is refused with an `InvalidCallbackError` (JARM: JWT Secured Authorization Response Mode, section 2.4).
 */
export function jarm(): Jarm {
  const keySets = new WeakMap<Client, KeySet>()
  return (address, redirectUri, client) => {
    const found = signedResponseIn(address, redirectUri) ?? authorizationResponseIn(address, redirectUri)
    const keys = keySets.get(client) ?? new KeySet(client)
    keySets.set(client, keys)
    const validate: AuthorizationResponse['validate'] = (_, { client_id }, response, state) =>
      keys.verified((server, options) => {
        const who = { client_id, [clockSkew]: keys.clockSkew(response.get('response')) }
        return validateJwtAuthResponse(server, who, response, state, options)
      })
    return found && { ...found, validate }
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
function stateIn(jwt = ''): string {
  try {
    const payload = `${jwt.split('.')[1]}`.replace(/-/g, '+').replace(/_/g, '/')
    return String(JSON.parse(atob(payload)).state)
  } catch {
    return ''
  }
}
