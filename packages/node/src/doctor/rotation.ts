import { AuthorizationServerError, type Client, clientCredentials, OAuthError } from '@keyturn/core'
import { type Check, isConfidential } from './examination.ts'
import { error, type Finding, ok, unknown, warning } from './finding.ts'

/** What the server does with refresh tokens. The one that is given is spent, and the session ended. */
export const rotation: Check = {
  id: 'rotation',
  async look(examination) {
    const { options, source, credentials } = examination
    const { refreshToken, clientId } = options
    if (refreshToken === undefined) return []
    if (clientId === undefined) {
      // A server may take it for stolen, and end the session.
      return [unknown('rotation', 'Rotation was not looked at: the token is of a client', 'Give --client-id.')]
    }
    const { client } = clientCredentials({ ...source, ...credentials })
    const session: Session = { client, tokens: [refreshToken] }
    const findings: Finding[] = []
    try {
      for await (const finding of turned(session, isConfidential(examination))) findings.push(finding)
    } catch (thrown) {
      if (!(thrown instanceof OAuthError)) throw thrown
      findings.push(error('rotation', thrown.message, thrown.fix ?? 'Look again when the server is well.'))
    }
    // Who was refused at once has nothing to end.
    return session.tokens.length > 1 || !findings.some(isError) ? [...findings, await ended(session)] : findings
  },
}

interface Session {
  readonly client: Client
  /** All its refresh tokens, the newest last: each of them may still be good. */
  readonly tokens: string[]
}

const isError = ({ level }: Finding) => level === 'error'

async function* turned(session: Session, hasCredentials: boolean): AsyncGenerator<Finding> {
  const [token = ''] = session.tokens
  const refusal = await refused(session, token)
  if (refusal) {
    const fix = 'Give a refresh token of this client that is good and used by nobody else.'
    yield error('rotation', `The refresh token is refused: ${refusal.message}`, fix)
  } else if (session.tokens.length === 1) yield kept(hasCredentials)
  else yield* replayed(session)
}

/** Spends a refresh token; what comes instead is of the session, too. Gives the refusal where there is one. */
async function refused({ client, tokens }: Session, token: string): Promise<OAuthError | undefined> {
  try {
    const { refreshToken = token } = await client.tokenRequest(
      'refresh_token',
      new URLSearchParams({ refresh_token: token }),
    )
    if (!tokens.includes(refreshToken)) tokens.push(refreshToken)
    return undefined
  } catch (thrown) {
    if (thrown instanceof AuthorizationServerError) return thrown
    throw thrown
  }
}

function kept(hasCredentials: boolean): Finding {
  if (hasCredentials) return ok('rotation', 'The refresh token stays the same, as it may for who proves who they are')
  const fix = 'Let the server rotate the refresh tokens of public clients, or bind them to a key (dpop()).'
  return warning('rotation', 'The refresh token of a public client stays the same', fix)
}

/** What a client does whose answer got lost: it sends the spent one again. */
async function* replayed(session: Session): AsyncGenerator<Finding> {
  const [spent = '', next = ''] = session.tokens
  yield ok('rotation', 'A refresh token is good once')
  if (!(await refused(session, spent))) {
    yield ok('rotation-grace', 'A spent refresh token is good for a moment longer')
    return
  }
  const fix = 'Give spent refresh tokens some seconds: an answer that gets lost ends the session otherwise.'
  yield warning('rotation-grace', 'A spent refresh token is refused at once', fix)
  if (await refused(session, next)) {
    yield ok('rotation-reuse', 'Reuse of a spent refresh token ends the session')
    return
  }
  const end = 'Let the server end a session whose spent refresh token comes again: it may be stolen.'
  yield warning('rotation-reuse', 'Reuse of a spent refresh token has no consequence', end)
}

/** Revokes all its tokens, for not every server takes one for all, and looks whether that is so. */
async function ended(session: Session): Promise<Finding> {
  const { client, tokens } = session
  const mend = 'Let the server revoke refresh tokens: a sign-out does not reach it otherwise.'
  try {
    const url = await client.endpoint('revocation_endpoint')
    if (!url) {
      const fix = 'Let the server publish a revocation_endpoint: a sign-out does not reach it otherwise.'
      return warning('revocation', 'Tokens cannot be revoked', fix)
    }
    for (const token of tokens.toReversed()) {
      const body = new URLSearchParams({ token, token_type_hint: 'refresh_token' })
      const { status } = (await client.post(url, body)).response
      if (status >= 300) return error('revocation', `The refresh token was not revoked (status ${status})`, mend)
    }
    if (await refused(session, tokens.at(-1) ?? '')) return ok('revocation', 'The refresh token was revoked')
    return error('revocation', 'A refresh token is taken although the server says that it revoked it', mend)
  } catch (thrown) {
    if (!(thrown instanceof OAuthError)) throw thrown
    return error('revocation', thrown.message, thrown.fix ?? mend)
  }
}
