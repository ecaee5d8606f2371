import { isAmount, wrong } from './access-rules.ts'
import type { AccessTokenVerifierOptions } from './access-token-verifier.ts'
import { TrustedServer, type TrustedServerOptions } from './trusted-server.ts'

/** One of several authorization servers whose tokens an API takes. */
export interface TrustedIssuer extends TrustedServerOptions {
  /** What `aud` has to name in its tokens. Default: what it has to name in all. */
  audience?: string | readonly string[] | undefined
}

/** What belongs to one server: given to all, the secret of one would be sent to another. */
const OF_ONE = ['clientId', 'clientSecret', 'clientAuthentication', 'metadata', 'discovery', 'profile'] as const

/** The servers that the options name. Throws an `OAuthError` where they are wrong. */
export function trustedServers(options: AccessTokenVerifierOptions, tolerance: number): TrustedServer[] {
  const { issuer, introspectionLifetime = 30_000, fetch, timeout, allowInsecureRequests } = options
  const serverOf = (own: TrustedServerOptions, audience: string | readonly string[]) =>
    new TrustedServer(own, { audiences: checked(audience), tolerance, introspectionLifetime })
  if (!issuer || issuer.length === 0) throw wrong('No issuer is given', 'Set issuer.')
  if (!isAmount(introspectionLifetime)) {
    throw wrong('introspectionLifetime cannot be used', 'Give milliseconds, as a number.')
  }
  if (typeof issuer === 'string') return [serverOf({ ...options, issuer }, options.audience)]
  const misplaced = OF_ONE.find((name) => options[name] !== undefined)
  if (misplaced) {
    throw wrong(`${misplaced} is of one issuer`, `Put ${misplaced} beside the issuer that it belongs to.`)
  }
  const shared = { fetch, timeout, allowInsecureRequests }
  const servers = [issuer].flat().map((own) => serverOf({ ...shared, ...own }, own.audience ?? options.audience))
  if (new Set(servers.map((server) => server.issuer)).size < servers.length) {
    throw wrong('An issuer is given twice', 'Name each issuer once.')
  }
  if (servers.filter(({ introspects }) => introspects).length > 1) {
    // Such a token names nobody; to show it to one server after the other would tell it to those whose it is not.
    throw wrong('More than one issuer has a clientId', 'Give clientId to the one whose tokens are no JWTs.')
  }
  return servers
}

function checked(audience: string | readonly string[]): readonly string[] {
  const audiences = [audience].flat()
  if (audiences.length > 0 && audiences.every((name) => typeof name === 'string' && name !== '')) return audiences
  throw wrong('audience cannot be used', 'Set audience: what aud has to name.')
}
