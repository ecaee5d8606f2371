import type { Client } from './client.ts'
import { TokenUnavailableError } from './errors.ts'
import { ours } from './renewal-errors.ts'
import { isSendable, lifetimeOf } from './token-response.ts'
import type { TokenSet } from './token-set.ts'
import type { AccessTokenRequest } from './token-source.ts'

/** What to do when there is nothing to refresh: ask again, or reject with a `LoginRequiredError`. */
export type Grant = (client: Client, request: TokenRequest) => Promise<TokenSet>

/** What a grant is asked for: the caller's wishes, completed with the source's own. */
export type TokenRequest = Pick<AccessTokenRequest, 'scope' | 'parameters'> & {
  resource?: string | string[] | undefined
}

/** A token set of which is known when it was asked for. */
export type Issued = TokenSet & { issuedAt: number }

/** What the grant yields, complete: grants of others may leave out when, and err about until when. */
export async function completed(request: () => Promise<TokenSet>): Promise<Issued> {
  const before = Date.now()
  const tokenSet = await request().catch((error) => {
    throw ours(error)
  })
  const { accessToken, issuedAt = before, expiresAt } = tokenSet
  if (!isSendable(accessToken)) {
    throw new TokenUnavailableError('invalid-response', 'The grant yielded no access token')
  }
  return { ...tokenSet, issuedAt, expiresAt: issuedAt + lifetimeOf((expiresAt - issuedAt) / 1000) * 1000 }
}
