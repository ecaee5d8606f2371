import { processUserInfoResponse } from 'oauth4webapi'
import { unlessAborted } from './deadline.ts'
import { OAuthError, TokenUnavailableError } from './errors.ts'
import type { EndpointAnswer } from './server-answers.ts'
import type { TokenManager } from './token-manager.ts'
import type { Claims } from './token-set.ts'
import type { AccessTokenRequest } from './token-source.ts'

/**
 * What the authorization server tells of the person who is signed in, asked anew at every call; `request` names the
 * token for it where it is not the source's own. Rejects with an `OAuthError`, such as for the claims of somebody else
 * than the ID token is about (OpenID Connect Core section 5.3).
 */
export function fetchUserInfo(auth: TokenManager, request: AccessTokenRequest = {}): Promise<Claims> {
  return unlessAborted(userInfo(auth, request), request.signal)
}

async function userInfo(auth: TokenManager, request: AccessTokenRequest): Promise<Claims> {
  const { client } = auth
  const url = await client.requiredEndpoint('userinfo_endpoint')
  const ask = async (
    rejectedToken = request.rejectedToken,
    mayProveAgain = true,
  ): Promise<EndpointAnswer & { accessToken: string; sub: string }> => {
    const wanted = { ...request, ...(rejectedToken && { rejectedToken }) }
    const { claims, accessToken: token } = await auth.getTokenSet(wanted)
    if (!claims) {
      throw new OAuthError('invalid-options', 'No ID token says who is signed in', { fix: 'Ask for scope openid.' })
    }
    const signed = await auth.authorize?.({ ...wanted, method: 'GET', url: url.href })
    const { accessToken, headers: own } = signed ?? { accessToken: token, headers: {} }
    const authorize = async (headers: Headers) => {
      for (const [name, value] of Object.entries({ authorization: `Bearer ${accessToken}`, ...own })) {
        headers.set(name, value)
      }
    }
    const answer = await client.send(url, { redirect: 'manual' }, authorize)
    // Every answer may bring the next nonce; another proof is made once for each token.
    const isOfProof = auth.observe?.({ url: url.href, response: answer.response })
    return isOfProof && mayProveAgain ? ask(rejectedToken, false) : { ...answer, accessToken, sub: claims.sub }
  }
  let answer = await ask()
  if (answer.response.status === 401) answer = await ask(answer.accessToken)
  return claimsIn(answer, answer.sub, auth)
}

async function claimsIn({ response, json }: EndpointAnswer, sub: string, { client }: TokenManager): Promise<Claims> {
  const { status, headers } = response
  if (status === 401) {
    throw new TokenUnavailableError('token-rejected', 'The UserInfo endpoint refuses every token', {
      fix: 'Ask for scope openid, and for no resource.',
    })
  }
  if (/^application\/jwt/i.test(`${headers.get('content-type')}`)) {
    throw new OAuthError('invalid-response', 'Signed UserInfo is not supported', {
      fix: 'Register the client without userinfo_signed_response_alg.',
    })
  }
  try {
    if (status !== 200) throw new Error('unexpected status')
    return await processUserInfoResponse(
      await client.metadata(),
      { client_id: client.clientId },
      sub,
      Response.json(json),
    )
  } catch (cause) {
    const said = cause instanceof Error ? cause.message : cause
    throw new OAuthError('invalid-response', `No UserInfo of this user (status ${status}): ${said}`, {
      cause,
      fix: 'Check what answers at userinfo_endpoint.',
    })
  }
}
