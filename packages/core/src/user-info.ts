import { processUserInfoResponse, skipSubjectCheck, WWWAuthenticateChallengeError } from 'oauth4webapi'
import { OAuthError, TokenUnavailableError } from './errors.ts'
import type { TokenManager } from './token-manager.ts'
import type { Claims } from './token-set.ts'

/**
 * What the authorization server tells of the person who is signed in (OpenID Connect Core section 5.3): its `sub` is
 * that of the ID token. A token that is refused is renewed and the request tried once more. Rejects with an `OAuthError`:
 * what `getAccessToken()` rejects with, `invalid-metadata` without an endpoint, `invalid-response` for an answer about
 * somebody else or in another form than JSON.
 */
export async function fetchUserInfo(auth: TokenManager): Promise<Claims> {
  const { client } = auth
  const server = await client.metadata()
  const url = await client.endpoint('userinfo_endpoint')
  if (!url) {
    throw new OAuthError('invalid-metadata', 'The metadata has no userinfo_endpoint', {
      fix: 'Set metadata.userinfo_endpoint.',
    })
  }
  const ask = async (rejectedToken?: string) => {
    const { accessToken, claims } = await auth.getTokenSet({ rejectedToken })
    const answer = await client.send(url, { redirect: 'manual' }, async (headers) => {
      headers.set('authorization', `Bearer ${accessToken}`)
    })
    return { ...answer, accessToken, subject: claims?.sub }
  }
  let answer = await ask()
  if (answer.response.status === 401) answer = await ask(answer.accessToken)
  const { response, json, subject = skipSubjectCheck } = answer
  try {
    const status = response.status < 200 ? 500 : response.status
    return await processUserInfoResponse(
      server,
      { client_id: client.clientId },
      subject,
      Response.json(json, { status }),
    )
  } catch (cause) {
    const refused = cause instanceof WWWAuthenticateChallengeError || response.status !== 200
    throw new TokenUnavailableError('invalid-response', `No user info (status ${response.status})`, {
      cause,
      fix: refused ? 'Ask for scope openid, and for no resource of an API.' : 'Have userinfo answer as JSON.',
    })
  }
}
