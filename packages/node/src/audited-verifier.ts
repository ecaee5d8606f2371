import { OAuthError } from '@keyturn/core'
import { publish } from './audit-events.ts'

/** Whatever verifies requests, such as `accessTokenVerifier()`. */
interface Verifier<Request, Rules, Claims> {
  verify(request: Request, rules?: Rules): Promise<Claims>
}

/**
 * The same verifier, which tells of every request that it refuses on the channel `keyturn:verification:refused` of
 * `node:diagnostics_channel`. Nothing of the request is told: it is from somebody who could not prove who they are.
 */
export function auditedVerifier<Request, Rules, Claims, More extends object>(
  verifier: More & Verifier<Request, Rules, Claims>,
): More & Verifier<Request, Rules, Claims> {
  const verify = async (request: Request, rules?: Rules): Promise<Claims> => {
    const began = performance.now()
    try {
      return await verifier.verify(request, rules)
    } catch (error) {
      if (error instanceof OAuthError) {
        const { status } = Object(error)
        const { scope } = Object(rules)
        const duration = Math.round(performance.now() - began)
        publish('keyturn:verification:refused', { at: Date.now(), code: error.code, status, scope, duration })
      }
      throw error
    }
  }
  return Object.assign({ ...verifier }, { verify })
}
