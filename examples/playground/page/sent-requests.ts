/** How long before a request is sent its token's life may begin, milliseconds. */
const NEAR = 1000

/** The token requests that this page sent: a token that came of none of them is another tab's doing. */
export class SentRequests {
  readonly #sent: { resource: string; at: number }[] = []

  /** For `authorizationCode({ fetch })`, which every request goes through. */
  readonly fetch: typeof fetch = async (input, init) => {
    const at = Date.now()
    const response = await fetch(input, init)
    const body = new URLSearchParams(init?.body instanceof URLSearchParams ? init.body : '')
    if (response.ok && body.has('grant_type')) this.#sent.push({ resource: body.get('resource') ?? '', at })
    return response
  }

  /** Whether a token for this resource that was issued then came of one of them. */
  includes(resource: string, issuedAt: number): boolean {
    return this.#sent.some((one) => one.resource === resource && Math.abs(one.at - issuedAt) < NEAR)
  }
}
