import { OAuthError } from '@keyturn/core'
import type { AccessTokenClaims } from './access-rules.ts'
import { type ApiRequest, clientUrl } from './api-request.ts'
import { type ClientCertificate, certificateThumbprint } from './client-certificate.ts'
import type { DPoPProofs } from './dpop-proofs.ts'
import type { PresentedToken } from './presented-token.ts'
import type { TokenChallenge } from './token-challenge.ts'

export interface TokenBindingOptions {
  readonly proofs: DPoPProofs
  readonly certificateOf: ClientCertificate
  /** Where clients reach the API. Default: as the request says. */
  readonly origin: string | undefined
}

/** Checks that whoever sends a token is who it is bound to: by a proof (RFC 9449), by a certificate (RFC 8705), or not at all. */
export class TokenBinding {
  readonly #options: TokenBindingOptions

  constructor(options: TokenBindingOptions) {
    this.#options = options
  }

  /** Of a token that is bound, or sent as such. Rejects with a `VerificationError`. Gives a newer nonce where it is time for one. */
  async check(
    { cnf }: AccessTokenClaims,
    presented: PresentedToken,
    request: ApiRequest,
    challenge: TokenChallenge,
  ): Promise<string | undefined> {
    const { scheme } = presented
    const refused = (cause: string, description = 'The token is not good here') =>
      challenge.invalidToken(description, { scheme, cause: new Error(cause) })
    if (cnf === undefined && scheme === 'Bearer') return undefined
    const { jkt, 'x5t#S256': certificate, ...others } = Object(cnf)
    // Another way to be bound is one that nobody here can check (RFC 7800 section 3.1).
    const isKnown = [jkt, certificate].every((each) => each === undefined || typeof each === 'string')
    if (!isKnown || Object.keys(others).length > 0) throw refused('nobody here can check what it is bound to')
    if (jkt === undefined && scheme === 'DPoP') throw refused('it is bound to no key')
    if (jkt === undefined && certificate === undefined) throw refused('nobody here can check what it is bound to')
    if (jkt !== undefined && scheme === 'Bearer') {
      const cause = new Error('it came without its scheme')
      throw challenge.invalidToken('The token is bound to a key', { scheme: 'DPoP', cause })
    }
    if (certificate !== undefined) {
      const shown = await this.#thumbprintOf(request, challenge)
      if (shown === undefined) throw refused('there is no certificate', 'The token is bound to a certificate')
      if (shown !== certificate)
        throw refused('the certificate is another', 'The token is bound to another certificate')
    }
    if (jkt === undefined) return undefined
    const { proofs, origin } = this.#options
    const proven = { method: request.method ?? 'GET', url: clientUrl(request, origin), thumbprint: jkt }
    return proofs.take(presented, proven, challenge)
  }

  async #thumbprintOf(request: ApiRequest, challenge: TokenChallenge): Promise<string | undefined> {
    let certificate: ReturnType<ClientCertificate>
    try {
      certificate = this.#options.certificateOf(request)
    } catch (cause) {
      const failed = new OAuthError('callback-failed', 'The function clientCertificate failed', { cause })
      throw challenge.unavailable(failed)
    }
    return certificateThumbprint(certificate)
  }
}
