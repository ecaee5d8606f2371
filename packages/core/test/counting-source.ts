import type { AccessTokenRequest, ConnectionSource, IssuedTokenSet, TokenSource } from '@keyturn/core'

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

/** A source of one's own that asks its server every time, by a clock that is wrong: all that it gives has ended already. */
export function endedTokens(): ConnectionSource {
  let count = 0
  const getTokenSet = async (): Promise<IssuedTokenSet> => ({
    accessToken: `token-${++count}`,
    tokenType: 'Bearer',
    issuedAt: Date.now() - 120_000,
    expiresAt: Date.now() - 60_000,
  })
  return { getTokenSet, getAccessToken: async () => (await getTokenSet()).accessToken }
}
