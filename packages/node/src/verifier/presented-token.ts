import { type ApiRequest, sentHeader, sentTarget } from './api-request.ts'
import type { TokenChallenge } from './token-challenge.ts'

/** The access token of a request (RFC 6750 section 2.1, RFC 9449 section 7.1). */
export interface PresentedToken {
  readonly scheme: 'Bearer' | 'DPoP'
  readonly token: string
  /** The `DPoP` header, where there is one. */
  readonly proof: string | undefined
}

/** Characters of the longest access token, and of the longest proof. */
const LONGEST = 16_384

/** The token in the `Authorization` header, the only place for one. Throws a `VerificationError`. */
export function presentedToken(request: ApiRequest, challenge: TokenChallenge): PresentedToken {
  const target = sentTarget(request)
  const query = target.indexOf('?')
  if (query >= 0 && new URLSearchParams(target.slice(query)).has('access_token')) {
    // RFC 9700 section 4.3.2: it is in logs and histories by now.
    throw challenge.malformed('The access token belongs in the Authorization header')
  }
  const authorization = sentHeader(request, 'authorization') ?? ''
  const proof = sentHeader(request, 'dpop')
  const [, said = ''] = /^(bearer|dpop)(?= |$)/i.exec(authorization) ?? []
  if (!said) throw challenge.missing()
  const scheme = said.toLowerCase() === 'dpop' ? 'DPoP' : 'Bearer'
  const longest = Math.max(authorization.length - said.length, proof?.length ?? 0)
  if (longest > LONGEST) throw challenge.invalidToken('The token is too long', { scheme })
  const [, token] = /^ +([\w\-.~+/]+=*) *$/.exec(authorization.slice(said.length)) ?? []
  if (token) return { scheme, token, proof }
  throw challenge.malformed('The Authorization header has to hold one access token', scheme)
}
