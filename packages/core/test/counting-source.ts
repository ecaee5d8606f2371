import type { AccessTokenRequest, TokenSource } from '@keyturn/core'

/** A source whose every token is a new one after a refusal, and that remembers what it was asked for. */
export class CountingSource implements TokenSource {
  readonly asked: AccessTokenRequest[] = []
  #count = 1
  #token = 'token-1'

  async getAccessToken(request: AccessTokenRequest = {}): Promise<string> {
    this.asked.push(request)
    request.signal?.throwIfAborted()
    if (request.rejectedToken === this.#token) this.#token = `token-${++this.#count}`
    return [this.#token, request.resource, request.scope].filter(Boolean).join('@')
  }

  /** How often a refusal was reported. */
  get refusals(): number {
    return this.asked.filter(({ rejectedToken }) => rejectedToken !== undefined).length
  }
}
