import { clientCredentials, OAuthError } from '@keyturn/core'
import { authorization } from './authorization.ts'
import { clientAuthentication } from './client-authentication.ts'
import { crossOrigin } from './cross-origin.ts'
import { type DoctorOptions, examinationOf, findingsOf, sourceOptions } from './examination.ts'
import { error, type Finding } from './finding.ts'
import { astray, capabilities, clock, discovered, endpoints, keys } from './metadata.ts'
import { proofs } from './proofs.ts'
import { rotation } from './rotation.ts'
import { transportOf } from './transport.ts'

const CHECKS = [endpoints, capabilities, keys, clock, authorization, clientAuthentication, crossOrigin, proofs]

/**
 * Looks at an authorization server and a client's registration: what is wrong, and how to mend it. Nobody signs in, and
 * nothing is changed, but that a refresh token that is given is spent. Resolves in any case: what cannot be looked at is
 * a finding, too.
 */
export async function diagnose(options: DoctorOptions): Promise<Finding[]> {
  const { issuer, timeout = 10_000 } = options
  try {
    clientCredentials(sourceOptions(options))
  } catch (thrown) {
    if (!(thrown instanceof OAuthError)) throw thrown
    return [error('address', thrown.message, thrown.fix ?? 'Check the address.')]
  }
  const transport = await transportOf(new URL(issuer), timeout)
  if (transport.some(({ level }) => level === 'error')) return transport
  const { server, findings } = await discovered(options)
  if (!server) return [...transport, ...findings]
  const wrong = astray(options, server)
  if (wrong.length > 0) return [...transport, ...findings, ...wrong]
  const examination = examinationOf(options, server)
  const looked = await Promise.all(CHECKS.map((check) => findingsOf(check, examination)))
  return [...transport, ...findings, ...looked.flat(), ...(await findingsOf(rotation, examination))]
}
