/** The DPoP proofs that this page sends, all of which pass through here on their way. */
export class Proofs {
  sent = 0
  /** How often a server wanted a nonce first (RFC 9449 sections 8 and 9). */
  asked = 0
  /** Of the key that signs them (RFC 7638). */
  thumbprint: string | undefined
  /** The last one that went along with an access token. */
  last: { authorization: string; dpop: string } | undefined

  readonly fetch: typeof fetch = async (input, init) => {
    const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined))
    const [dpop, authorization] = [headers.get('dpop'), headers.get('authorization')]
    if (dpop) {
      this.sent += 1
      this.thumbprint = await thumbprintOf(dpop)
      if (authorization) this.last = { authorization, dpop }
    }
    const response = await fetch(input, init)
    if (dpop && [400, 401].includes(response.status) && response.headers.has('dpop-nonce')) this.asked += 1
    return response
  }
}

async function thumbprintOf(proof: string): Promise<string> {
  const { crv, kty, x, y } = Object(partOf(proof, 0).jwk)
  const bytes = new TextEncoder().encode(JSON.stringify({ crv, kty, x, y }))
  const hash = String.fromCharCode(...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)))
  return btoa(hash).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}

/** The thumbprint of the key that an access token is bound to (RFC 9449 section 6.1). */
export function boundTo(accessToken: string): unknown {
  return Object(partOf(accessToken, 1).cnf).jkt
}

/** One part of a JWT. A client should not read its access tokens: this is here to show what an API sees in them. */
function partOf(jwt: string, index: number): Record<string, unknown> {
  return JSON.parse(atob((jwt.split('.')[index] ?? '').replaceAll('-', '+').replaceAll('_', '/')))
}
