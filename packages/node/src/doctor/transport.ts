import { isIP } from 'node:net'
import { connect } from 'node:tls'
import { error, type Finding, ok, unknown, warning } from './finding.ts'

/** What a connection shows; nothing is sent over it. */
interface Look {
  /** Why the certificate cannot be trusted; undefined where it can. */
  readonly problem?: string | undefined
  readonly validTo: number
  readonly protocol: string
}

const DAY = 86_400_000
const ENDS_SOON = 14 * DAY

/** By the codes of OpenSSL and Node. */
const PROBLEMS: Readonly<Record<string, [what: string, fix: string]>> = {
  CERT_HAS_EXPIRED: ['has expired', 'Renew the certificate.'],
  CERT_NOT_YET_VALID: ['is not valid yet', 'Check the clock of this machine, then the certificate.'],
  DEPTH_ZERO_SELF_SIGNED_CERT: ['is signed by nobody but itself', ownAuthority()],
  SELF_SIGNED_CERT_IN_CHAIN: ['comes from an authority that is not known here', ownAuthority()],
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: ['comes without the ones in between', 'Let the server send its whole chain.'],
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: ['comes from an authority that is not known here', ownAuthority()],
  ERR_TLS_CERT_ALTNAME_INVALID: ['is for another host', 'Get a certificate for this host.'],
  CERT_REVOKED: ['was revoked', 'Get a new certificate.'],
}

function ownAuthority(): string {
  return 'Use a certificate of a known authority, or name yours in NODE_EXTRA_CA_CERTS.'
}

/** Whether a host can only be this machine (RFC 8252 section 7.3). */
export function isHere({ hostname }: URL): boolean {
  return /^(localhost|.+\.localhost|127(\.\d+){3}|\[::1\])$/.test(hostname)
}

/** The certificate behind an address. */
export async function transportOf(url: URL, timeout: number): Promise<Finding[]> {
  if (url.protocol !== 'https:') {
    if (isHere(url)) return [ok('tls', `${url.origin} is this machine, which needs no TLS`)]
    return [warning('tls', `${url.origin} is not encrypted`, 'Use https, but for development.')]
  }
  try {
    const { problem, validTo, protocol } = await lookAt(url, timeout)
    if (problem !== undefined) {
      const [what, fix] = PROBLEMS[problem] ?? ['cannot be trusted', ownAuthority()]
      return [error('tls', `The certificate of ${url.host} ${what} (${problem})`, fix)]
    }
    const days = Math.floor((validTo - Date.now()) / DAY)
    if (validTo - Date.now() < ENDS_SOON) {
      return [warning('tls', `The certificate of ${url.host} ends in ${days} days`, 'Renew the certificate.')]
    }
    return [ok('tls', `${url.host} has a certificate for ${days} more days (${protocol})`)]
  } catch (thrown) {
    const { code = 'no answer' } = Object(thrown)
    const sentence = `No TLS connection to ${url.host} (${code})`
    // Behind a proxy only fetch knows the way.
    if (process.env.HTTPS_PROXY || process.env.https_proxy) {
      return [unknown('tls', sentence, 'Look from a place that needs no proxy.')]
    }
    return [error('tls', sentence, 'Check the address, the network and that the server speaks TLS 1.2 or newer.')]
  }
}

async function lookAt({ hostname, port }: URL, timeout: number): Promise<Look> {
  const { promise, resolve, reject } = Promise.withResolvers<Look>()
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  const servername = isIP(host) ? undefined : host
  // The certificate is looked at, not trusted: whatever is wrong with it is to be told.
  const socket = connect({ host, port: Number(port || 443), servername, rejectUnauthorized: false })
  const late = setTimeout(() => socket.destroy(Object.assign(new Error('late'), { code: 'ETIMEDOUT' })), timeout)
  socket.on('error', reject)
  socket.once('secureConnect', () => {
    const problem = socket.authorized ? undefined : codeOf(socket.authorizationError)
    resolve({
      problem,
      validTo: Date.parse(socket.getPeerCertificate().valid_to),
      protocol: socket.getProtocol() ?? 'TLS',
    })
  })
  try {
    return await promise
  } finally {
    clearTimeout(late)
    socket.destroy()
  }
}

/** Node gives the code or, of a few, the error. */
function codeOf(problem: unknown): string {
  return typeof problem === 'string' ? problem : String(Object(problem).code ?? 'not trusted')
}
