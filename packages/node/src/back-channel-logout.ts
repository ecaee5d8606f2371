import { type ClientOptions, type LoggedOut, logoutTokenVerifier, OAuthError } from '@keyturn/core'

/** What `backChannelLogout` takes. */
export interface BackChannelLogoutOptions extends ClientOptions {
  /** Ends the sessions of `sub`, or the one that is `sid`. Where it rejects, the server is told that it failed. */
  onLogout: (loggedOut: LoggedOut) => void | Promise<void>
  /** Told why sessions could not be ended. Default: `console.warn`. */
  onWarning?: ((message: string) => void) | undefined
}

/** Of a request's body, bytes. */
const LONGEST = 100_000

/**
 * Answers what the authorization server posts to the registered `backchannel_logout_uri` (OpenID Connect Back-Channel
 * Logout 1.0 sections 2.5 to 2.8): 200 when the sessions are over, 400 with a JSON that says why not. Never rejects.
 */
export function backChannelLogout(options: BackChannelLogoutOptions): (request: Request) => Promise<Response> {
  const { onLogout, onWarning = (message) => console.warn(`keyturn: ${message}`), ...client } = options
  const verify = logoutTokenVerifier(client)
  return async (request) => {
    try {
      await verify(await logoutTokenOf(request), onLogout)
      return new Response(null, { headers: { 'cache-control': 'no-store' } })
    } catch (error) {
      return failed(error, onWarning)
    }
  }
}

function failed(thrown: unknown, warn: (message: string) => void): Response {
  const isOfToken = thrown instanceof OAuthError && thrown.code === 'invalid-logout-token'
  try {
    if (!isOfToken) warn(`A logout token came, and sessions could not be ended: ${Object(thrown).message}`)
  } catch (error) {
    console.warn('keyturn: onWarning failed', error)
  }
  const body = isOfToken
    ? { error: 'invalid_request', error_description: thrown.message }
    : { error: 'server_error', error_description: 'The sessions could not be ended' }
  return Response.json(body, { status: 400, headers: { 'cache-control': 'no-store' } })
}

async function logoutTokenOf(request: Request): Promise<string> {
  const type = `${request.headers.get('content-type')}`
  const isForm = request.method === 'POST' && /^application\/x-www-form-urlencoded *(;|$)/i.test(type)
  const [token, ...more] = isForm ? new URLSearchParams(await textOf(request)).getAll('logout_token') : []
  if (token && more.length === 0) return token
  throw new OAuthError('invalid-logout-token', 'The logout token is refused: there has to be one, posted as a form')
}

async function textOf({ body }: Request): Promise<string> {
  let text = ''
  for await (const part of body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += part
    if (text.length > LONGEST) throw new OAuthError('invalid-logout-token', 'The logout token is refused: too long')
  }
  return text
}
