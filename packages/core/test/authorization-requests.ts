import { type KeyObject, verify } from 'node:crypto'

/** Where an authorization server finds the parameters of an authorization request, strictly. */
export class AuthorizationRequests {
  readonly #pushed = new Map<string, URLSearchParams>()
  /** Whose signatures are taken. */
  clientKey: KeyObject | undefined

  /** Keeps a request (RFC 9126 section 2); gives its `request_uri`, which can be used once. */
  push(body: URLSearchParams): string {
    const uri = `urn:ietf:params:oauth:request_uri:${this.#pushed.size + 1}`
    this.#pushed.set(uri, this.#signed(body))
    return uri
  }

  /** What an address at the authorization endpoint asks for. */
  at(address: string): URLSearchParams {
    const { searchParams } = new URL(address)
    for (const name of searchParams.keys()) {
      if (name !== 'resource' && searchParams.getAll(name).length > 1) throw new Error(`${name} comes twice`)
    }
    const uri = searchParams.get('request_uri')
    if (uri === null) return this.#signed(searchParams)
    only(searchParams, ['client_id', 'request_uri'])
    const pushed = this.#pushed.get(uri)
    if (!pushed) throw new Error('request_uri')
    this.#pushed.delete(uri)
    return pushed
  }

  /** RFC 9101 section 6. */
  #signed(parameters: URLSearchParams): URLSearchParams {
    const request = parameters.get('request')
    if (request === null) return parameters
    only(parameters, ['client_id', 'request'])
    const [header = '', payload = '', signature = ''] = request.split('.')
    const decoded = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString())
    const { alg, typ } = decoded(header)
    if (alg !== 'ES256' || typ !== 'oauth-authz-req+jwt' || !this.clientKey) throw new Error('header')
    const key = { key: this.clientKey, dsaEncoding: 'ieee-p1363' as const }
    const good = verify('sha256', Buffer.from(`${header}.${payload}`), key, Buffer.from(signature, 'base64url'))
    if (!good) throw new Error('signature')
    const { iss, aud, exp, iat, nbf, jti, resource, ...claims } = decoded(payload)
    if (iss !== 'app' || claims.client_id !== 'app' || aud !== 'https://as.example') throw new Error('claims')
    if (!jti || !(exp > Date.now() / 1000) || !(nbf <= Date.now() / 1000 + 1) || !iat) throw new Error('time')
    const result = new URLSearchParams(Object.entries(claims).map(([name, value]) => [name, String(value)]))
    for (const one of [resource ?? []].flat()) result.append('resource', one)
    return result
  }
}

function only(parameters: URLSearchParams, names: string[]): void {
  if ([...parameters.keys()].some((name) => !names.includes(name))) throw new Error('more than the request')
}
