import type { TokenChallenge } from './token-challenge.ts'

/** What is looked at of a request to an API; a standard `Request` is one. */
export interface VerifiableRequest {
  readonly method: string
  /** Absolute, as the client knows it: a DPoP proof is made for it. */
  readonly url: string
  readonly headers: Headers
}

/** The access token of a request (RFC 6750 section 2.1, RFC 9449 section 7.1). */
export interface PresentedToken {
  readonly scheme: 'Bearer' | 'DPoP'
  readonly token: string
}

/** Characters of the longest access token, and of the longest proof. */
const LONGEST = 16_384

/** The token in the `Authorization` header, the only place for one. Throws a `VerificationError`. */
export function presentedToken({ url, headers }: VerifiableRequest, challenge: TokenChallenge): PresentedToken {
  const { searchParams } = URL.parse(url) ?? {}
  if (searchParams?.has('access_token')) {
    // RFC 9700 section 4.3.2: it is in logs and histories by now.
    throw challenge.malformed('The access token belongs in the Authorization header')
  }
  const authorization = headers.get('authorization') ?? ''
  const [, said = ''] = /^(bearer|dpop)(?= |$)/i.exec(authorization) ?? []
  if (!said) throw challenge.missing()
  const scheme = said.toLowerCase() === 'dpop' ? 'DPoP' : 'Bearer'
  const longest = Math.max(authorization.length - said.length, headers.get('dpop')?.length ?? 0)
  if (longest > LONGEST) throw challenge.invalidToken('The token is too long', { scheme })
  const [, token] = /^ +([\w\-.~+/]+=*) *$/.exec(authorization.slice(said.length)) ?? []
  if (token) return { scheme, token }
  throw challenge.malformed('The Authorization header has to hold one access token', scheme)
}
