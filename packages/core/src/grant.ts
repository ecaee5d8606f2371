import type { Client } from './client.ts'
import { TokenUnavailableError } from './errors.ts'
import { ours } from './renewal-errors.ts'
import { isSendable } from './session-record.ts'
import { lifetimeOf } from './token-response.ts'
import type { Issued, TokenSet } from './token-set.ts'
import type { AccessTokenRequest } from './token-source.ts'

/** What to do when there is nothing to refresh: ask again, or reject with a `LoginRequiredError`. */
export type Grant = (client: Client, request: TokenRequest) => Promise<TokenSet>

/** What a grant is asked for: the caller's wishes, completed with the source's own. */
export type TokenRequest = Pick<AccessTokenRequest, 'scope' | 'parameters'> & {
  resource?: string | string[] | undefined
}

/** What a grant yields, in order: grants of others may leave out when and what kind, and err about until when. */
export async function completed(request: () => Promise<TokenSet & Pick<Issued, 'key'>>): Promise<Issued> {
  const before = Date.now()
  const tokenSet = await request().catch((error) => {
    throw ours(error)
  })
  if (!isSendable(tokenSet?.accessToken)) {
    throw new TokenUnavailableError('invalid-response', 'The grant yielded no access token')
  }
  const { expiresAt, tokenType, claims } = tokenSet
  const issuedAt = Number(tokenSet.issuedAt) || before
  return {
    ...tokenSet,
    tokenType: tokenType === 'DPoP' ? tokenType : 'Bearer',
    issuedAt,
    expiresAt: issuedAt + lifetimeOf((expiresAt - issuedAt) / 1000) * 1000,
    claims: typeof claims?.sub === 'string' ? claims : undefined,
    refreshToken: tokenSet.refreshToken || undefined,
    idToken: tokenSet.idToken || undefined,
  }
}
