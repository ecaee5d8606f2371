import { type ApiRequest, sentHeader, sentTarget } from './api-request.ts'
import type { JwtHeaders } from './jwt-headers.ts'
import type { TokenChallenge } from './token-challenge.ts'

/** The access token of a request (RFC 6750 section 2.1, RFC 9449 section 7.1). */
export interface PresentedToken {
  readonly scheme: 'Bearer' | 'DPoP'
  readonly token: string
  /** As far as it can be seen. */
  readonly isJwt: boolean
  /** The `DPoP` header, where there is one. */
  readonly proof: string | undefined
}

/** Characters of the longest access token, and of the longest proof. */
const LONGEST = 16_384

/** However it is written: an escape may stand for any letter. */
function hasTokenInQuery(target: string): boolean {
  const query = target.indexOf('?')
  if (query < 0 || !(target.includes('%', query) || target.includes('access_token', query))) return false
  return new URLSearchParams(target.slice(query)).has('access_token')
}

/** The token in the `Authorization` header, the only place for one. Throws a `VerificationError`. */
export function presentedToken(request: ApiRequest, jwts: JwtHeaders, challenge: TokenChallenge): PresentedToken {
  if (hasTokenInQuery(sentTarget(request))) {
    // RFC 9700 section 4.3.2: it is in logs and histories by now.
    throw challenge.malformed('The access token belongs in the Authorization header')
  }
  const authorization = sentHeader(request, 'authorization') ?? ''
  const proof = sentHeader(request, 'dpop')
  const usual = authorization.startsWith('Bearer ') && authorization.length < LONGEST && !authorization.includes(' ', 7)
  if (usual && proof === undefined) {
    const token = authorization.slice(7)
    // What is no character of a JWT jose finds; to look for it here takes longer than all the rest.
    if (jwts.areOf(token)) return { scheme: 'Bearer', token, proof, isJwt: true }
  }
  const [, said = ''] = /^(bearer|dpop)(?= |$)/i.exec(authorization) ?? []
  if (!said) throw challenge.missing()
  const scheme = said.toLowerCase() === 'dpop' ? 'DPoP' : 'Bearer'
  const longest = Math.max(authorization.length - said.length, proof?.length ?? 0)
  if (longest > LONGEST) throw challenge.invalidToken('The token is too long', { scheme })
  const [, token] = /^ +([\w\-.~+/]+=*) *$/.exec(authorization.slice(said.length)) ?? []
  if (token) return { scheme, token, proof, isJwt: jwts.areOf(token) }
  throw challenge.malformed('The Authorization header has to hold one access token', scheme)
}
