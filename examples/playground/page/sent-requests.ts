/** How long before a request is sent its token's life may begin, milliseconds. */
const NEAR = 1000

/** The token requests that this page sent: a token that came of none of them is another tab's doing. */
export class SentRequests {
  readonly #sent: { resource: string; isLogin: boolean; at: number }[] = []
  readonly #fetch: typeof fetch
  readonly #own: string

  /** `own`: the resource of a source that asks for one; a refresh does not name it again. */
  constructor(underneath: typeof fetch = (...request) => fetch(...request), own = '') {
    this.#fetch = underneath
    this.#own = own
  }

  /** For `authorizationCode({ fetch })`, which every request goes through. */
  readonly fetch: typeof fetch = async (input, init) => {
    const at = Date.now()
    const response = await this.#fetch(input, init)
    const body = new URLSearchParams(init?.body instanceof URLSearchParams ? init.body : '')
    if (response.ok && body.has('grant_type')) {
      const isLogin = body.get('grant_type') === 'authorization_code'
      this.#sent.push({ resource: body.get('resource') ?? this.#own, isLogin, at })
    }
    return response
  }

  /** The one that a token for this resource that was issued then came of. */
  behind(resource: string, issuedAt: number): { isLogin: boolean } | undefined {
    return this.#sent.find((one) => one.resource === resource && Math.abs(one.at - issuedAt) < NEAR)
  }
}
