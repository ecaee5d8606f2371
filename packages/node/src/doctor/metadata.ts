import { type AuthorizationServer, clientCredentials, OAuthError } from '@keyturn/core'
import { type Answer, ask, objectIn, wellKnownOf } from './ask.ts'
import { type Check, type DoctorOptions, type Examination, listIn, sourceOptions } from './examination.ts'
import { error, type Finding, ok, warning } from './finding.ts'
import { isHere } from './transport.ts'

const ENDPOINTS = ['authorization_endpoint', 'token_endpoint', 'jwks_uri'] as const
const OTHER_ENDPOINTS = [
  'revocation_endpoint',
  'end_session_endpoint',
  'userinfo_endpoint',
  'introspection_endpoint',
  'device_authorization_endpoint',
  'pushed_authorization_request_endpoint',
] as const

/** The server's metadata, found as every source finds them; without them where there is nothing to go on with. */
export async function discovered(
  options: DoctorOptions,
): Promise<{ server?: AuthorizationServer; findings: Finding[] }> {
  try {
    const server = await clientCredentials(sourceOptions(options)).client.metadata()
    const isSame = server.issuer === options.issuer
    const metadata = ok('metadata', 'The metadata can be read')
    return {
      server,
      findings: [
        metadata,
        isSame
          ? ok('issuer', `The issuer is ${server.issuer}`)
          : warning('issuer', `The metadata write the issuer ${server.issuer}`, 'Write issuer exactly like that.'),
      ],
    }
  } catch (thrown) {
    if (!(thrown instanceof OAuthError)) throw thrown
    const { code, message, fix = 'Check issuer and network.' } = thrown
    if (code === 'insecure-url') return { findings: [error('address', message, fix)] }
    if (code !== 'issuer-mismatch') return { findings: [error('metadata', message, fix)] }
    const says = await claimedIssuer(options)
    return { findings: [error('issuer', `The metadata at ${options.issuer} are of the issuer ${says}`, fix)] }
  }
}

/** Who the metadata say that they are of. */
async function claimedIssuer(options: DoctorOptions): Promise<string> {
  const { issuer, timeout = 10_000, fetch: send = fetch } = options
  const answers = await Promise.allSettled(wellKnownOf(issuer).map((url) => ask(send, url, {}, timeout)))
  const said = answers.map((answer) => issuerIn(answer)).find((name) => name !== undefined)
  return said ?? 'somebody else'
}

function issuerIn(answer: PromiseSettledResult<Answer>): string | undefined {
  const said = answer.status === 'fulfilled' ? objectIn(answer.value)?.issuer : undefined
  return typeof said === 'string' ? said : undefined
}

/**
 * Endpoints on this machine, of a server that is elsewhere: behind a proxy some servers believe to be there, and whoever
 * is hostile could have requests sent to what runs here. Nothing is to be asked of such a server.
 */
export function astray({ issuer }: DoctorOptions, server: AuthorizationServer): Finding[] {
  if (isHere(new URL(issuer))) return []
  const addresses = [server, Object(server.mtls_endpoint_aliases)]
  return [...ENDPOINTS, ...OTHER_ENDPOINTS].flatMap((name) => {
    const url = addresses.map((members) => urlIn(members[name])).find((parsed) => parsed && isHere(parsed))
    const fix = `Let the server publish ${name} as others reach it.`
    return url ? [error('endpoints', `${name} is on this machine (${url.host}), the server is not`, fix)] : []
  })
}

function urlIn(value: unknown): URL | null {
  return typeof value === 'string' ? URL.parse(value) : null
}

/** Where its endpoints are. */
export const endpoints: Check = {
  id: 'endpoints',
  async look({ client, server }) {
    const wrong: Finding[] = []
    for (const name of ENDPOINTS) {
      if (!server[name] && isNeeded(name, server)) {
        wrong.push(error('endpoints', `The metadata have no ${name}`, `Let the server publish ${name}.`))
      }
    }
    for (const name of [...ENDPOINTS, ...OTHER_ENDPOINTS]) {
      try {
        await client.endpoint(name)
      } catch (thrown) {
        if (!(thrown instanceof OAuthError)) throw thrown
        wrong.push(error('endpoints', `${name}: ${thrown.message}`, thrown.fix ?? `Let the server mend ${name}.`))
      }
    }
    return wrong.length > 0 ? wrong : [ok('endpoints', 'All endpoints that the metadata name are safe to use')]
  },
}

function isNeeded(name: (typeof ENDPOINTS)[number], server: AuthorizationServer): boolean {
  if (name === 'authorization_endpoint') return !isForMachinesOnly(server)
  // Only who signs something has keys: a server without OpenID Connect need not.
  return name === 'token_endpoint' || listIn(server, 'id_token_signing_alg_values_supported') !== undefined
}

/** Nobody signs in there. */
function isForMachinesOnly(server: AuthorizationServer): boolean {
  const grants = listIn(server, 'grant_types_supported')
  return grants !== undefined && !grants.includes('authorization_code')
}

/** What it says that it can do. */
export const capabilities: Check = {
  id: 'code-flow',
  async look({ server }) {
    const responseTypes = listIn(server, 'response_types_supported')
    const grants = listIn(server, 'grant_types_supported') ?? ['authorization_code']
    const findings: Finding[] = []
    if (isForMachinesOnly(server)) {
      findings.push(
        warning(
          'code-flow',
          'The server signs nobody in: it has no code flow',
          'Use a grant that it has, or enable it.',
        ),
      )
    } else if (responseTypes && !responseTypes.includes('code')) {
      findings.push(error('code-flow', 'The response type code is not supported', 'Let the server support code.'))
    } else findings.push(ok('code-flow', 'People can sign in with the code flow'))
    if (grants.includes('authorization_code')) findings.push(pkceIn(server))
    return [...findings, ...idTokensIn(server)]
  },
}

function pkceIn(server: AuthorizationServer): Finding {
  const methods = listIn(server, 'code_challenge_methods_supported')
  const fix = 'Let the server support S256, and say so in code_challenge_methods_supported.'
  if (methods?.includes('S256')) return ok('pkce', 'PKCE with S256 is supported')
  if (methods) return error('pkce', `PKCE with S256 is not supported, only ${methods.join(', ') || 'nothing'}`, fix)
  return warning('pkce', 'The metadata do not say whether PKCE is supported', fix)
}

function idTokensIn(server: AuthorizationServer): Finding[] {
  const algorithms = listIn(server, 'id_token_signing_alg_values_supported')
  if (!algorithms) return []
  const signed = algorithms.filter((name) => /^((RS|PS|ES)(256|384|512)|EdDSA|Ed25519)$/.test(name))
  if (signed.length > 0) return [ok('id-token', `ID tokens are signed (${signed.join(', ')})`)]
  const fix = 'Let the server sign ID tokens with ES256, RS256 or another asymmetric algorithm.'
  return [error('id-token', `ID tokens are signed with ${algorithms.join(', ') || 'nothing'} only`, fix)]
}

/** The keys that its tokens are verified with. */
export const keys: Check = {
  id: 'keys',
  async look({ client, server, ask: get }: Examination) {
    if (server.jwks_uri === undefined) return [] // said already
    const url = await client.requiredEndpoint('jwks_uri')
    const answer = await get(url)
    const set = answer.status === 200 ? objectIn(answer)?.keys : undefined
    const published: unknown[] = Array.isArray(set) ? set : []
    if (published.some((key) => ['d', 'k', 'p', 'q'].some((member) => Object.hasOwn(Object(key), member)))) {
      const fix = 'Take the key out of use now: whoever has it can make tokens. Publish public parts only.'
      return [error('keys', 'A private key is published at jwks_uri', fix)]
    }
    const count = published.filter(canVerify).length
    if (count === 0) {
      const sentence = `No keys for signatures at ${url.href} (status ${answer.status})`
      return [error('keys', sentence, 'Let jwks_uri answer with the public keys.')]
    }
    return [ok('keys', `${count === 1 ? 'One key is' : `${count} keys are`} published`)]
  },
}

/** Whether a key can be one of those that signatures are verified with (RFC 7517 section 4). */
function canVerify(key: unknown): boolean {
  const { kty, use } = Object(key)
  return typeof kty === 'string' && kty !== 'oct' && use !== 'enc'
}

/** Seconds. */
const NOTICEABLE = 5
const HARMFUL = 60

/** Whether its clock and this one agree. */
export const clock: Check = {
  id: 'clock',
  async look({ server, ask: get }) {
    const [url] = wellKnownOf(server.issuer) // whatever is wrong with the rest, this was found
    const before = Date.now()
    const { headers } = await get(url)
    // A cache gives the answer of another time (RFC 9111 section 5.1).
    const told = Date.parse(`${headers.get('date')}`) + (Number(headers.get('age')) || 0) * 1000
    if (Number.isNaN(told)) return [warning('clock', 'The server does not tell its time', 'Let it send a Date header.')]
    // The header counts whole seconds, and the answer took its time.
    const ahead = told - Date.now()
    const behind = before - told - 1000
    const seconds = Math.round(Math.max(ahead, behind, 0) / 1000)
    if (seconds < NOTICEABLE) return [ok('clock', 'The clocks agree')]
    const sentence = `The server's clock is ${seconds} s ${ahead > 0 ? 'ahead of' : 'behind'} this machine's`
    const fix = 'Set both clocks by NTP: times in tokens and proofs are compared with them.'
    return [seconds < HARMFUL ? warning('clock', sentence, fix) : error('clock', sentence, fix)]
  },
}
