import { clientCredentials, OAuthError } from '@keyturn/core'
import { authorization } from './authorization.ts'
import { clientAuthentication } from './client-authentication.ts'
import { crossOrigin } from './cross-origin.ts'
import { type DoctorOptions, examinationOf, findingsOf, sourceOptions } from './examination.ts'
import { error, type Finding, unknown } from './finding.ts'
import { astray, capabilities, clock, discovered, endpoints, keys } from './metadata.ts'
import { proofs } from './proofs.ts'
import { rotation } from './rotation.ts'
import { transportOf } from './transport.ts'

const CHECKS = [endpoints, capabilities, keys, clock, authorization, clientAuthentication, crossOrigin, proofs]

/** Milliseconds. */
const LONGEST = 600_000

/**
 * Looks at an authorization server and a client's registration: what is wrong, and how to mend it. Nobody signs in, and
 * nothing is changed, but that a refresh token that is given is spent. Resolves in any case: what cannot be looked at is
 * a finding, too.
 */
export async function diagnose(given: DoctorOptions): Promise<Finding[]> {
  const { issuer, timeout = 10_000, origin } = given
  const options = {
    ...given,
    timeout: Math.min(Math.ceil(timeout), LONGEST),
    origin: origin && (URL.parse(origin)?.origin ?? origin),
  }
  try {
    clientCredentials(sourceOptions(options))
  } catch (thrown) {
    if (!(thrown instanceof OAuthError)) throw thrown
    return [error('address', thrown.message, thrown.fix ?? 'Check the address.')]
  }
  const shown = await transportOf(new URL(issuer), options.timeout)
  const transport = options.fetch ? shown.map(inDoubt) : shown
  if (transport.some(({ level }) => level === 'error')) return transport
  const { server, findings } = await discovered(options)
  if (!server) return [...transport, ...findings]
  const wrong = astray(options, server)
  if (wrong.length > 0) return [...transport, ...findings, ...wrong]
  const examination = examinationOf(options, server)
  const looked = await Promise.all(CHECKS.map((check) => findingsOf(check, examination)))
  return [...transport, ...findings, ...looked.flat(), ...(await findingsOf(rotation, examination))]
}

/** A fetch that is given may go another way, and trust others. */
function inDoubt(finding: Finding): Finding {
  if (finding.level !== 'error') return finding
  return unknown(
    'tls',
    finding.sentence,
    'If the fetch that was given goes there, too, and trusts nobody else, mend that.',
  )
}
