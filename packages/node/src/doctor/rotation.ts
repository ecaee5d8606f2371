import { AuthorizationServerError, type Client, clientCredentials, OAuthError } from '@keyturn/core'
import type { Check } from './examination.ts'
import { error, type Finding, ok, warning } from './finding.ts'

/** What the server does with refresh tokens. The one that is given is spent, and the session ended. */
export const rotation: Check = {
  id: 'rotation',
  async look({ options, source }) {
    const { refreshToken, clientSecret } = options
    if (refreshToken === undefined) return []
    const { client } = clientCredentials({ ...source, clientSecret })
    const first = await refreshed(client, refreshToken)
    if (first instanceof OAuthError) {
      const fix = 'Give a refresh token of this client that is good and used by nobody else.'
      return [error('rotation', `The refresh token is refused: ${first.message}`, fix)]
    }
    const next = first.refreshToken ?? refreshToken
    const findings =
      next === refreshToken ? [kept(clientSecret !== undefined)] : await replayed(client, refreshToken, next)
    return [...findings, await revoked(client, next)]
  },
}

async function refreshed(client: Client, token: string): Promise<{ refreshToken?: string | undefined } | OAuthError> {
  try {
    return await client.tokenRequest('refresh_token', new URLSearchParams({ refresh_token: token }))
  } catch (thrown) {
    if (thrown instanceof AuthorizationServerError) return thrown
    throw thrown
  }
}

function kept(isConfidential: boolean): Finding {
  if (isConfidential) return ok('rotation', 'The refresh token stays the same, which a client with a secret may have')
  const fix = 'Let the server rotate the refresh tokens of public clients, or bind them to a key (dpop()).'
  return warning('rotation', 'The refresh token of a public client stays the same', fix)
}

/** What a client does whose answer got lost: it sends the spent one again. */
async function replayed(client: Client, spent: string, next: string): Promise<Finding[]> {
  const findings = [ok('rotation', 'A refresh token is good once')]
  const again = await refreshed(client, spent)
  if (!(again instanceof OAuthError)) {
    return [...findings, ok('rotation-grace', 'A spent refresh token is good for a moment longer')]
  }
  const fix = 'Give spent refresh tokens some seconds: an answer that gets lost ends the session otherwise.'
  findings.push(warning('rotation-grace', 'A spent refresh token is refused at once', fix))
  const after = await refreshed(client, next)
  if (after instanceof OAuthError) {
    return [...findings, ok('rotation-reuse', 'Reuse of a spent refresh token ends the session')]
  }
  const end = 'Let the server end a session whose spent refresh token comes again: it may be stolen.'
  return [...findings, warning('rotation-reuse', 'Reuse of a spent refresh token has no consequence', end)]
}

async function revoked(client: Client, token: string): Promise<Finding> {
  const fix = 'Let the server publish a revocation_endpoint: a sign-out does not reach it otherwise.'
  if (!(await client.endpoint('revocation_endpoint'))) {
    return warning('revocation', 'Tokens cannot be revoked', fix)
  }
  await client.revoke(token, 'refresh_token')
  return ok('revocation', 'The refresh token was revoked')
}
