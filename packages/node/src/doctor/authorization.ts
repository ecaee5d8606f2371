import { AuthorizationServerError, authorizationCode, pushedAuthorizationRequests } from '@keyturn/core'
import { type AuthorizationAnswer, authorizationAnswer, isAccepted, pushedAnswer } from './authorization-answer.ts'
import { type Check, type Examination, listIn } from './examination.ts'
import { error, type Finding, type FindingId, ok, unknown, warning } from './finding.ts'

/** What the registration says: redirect URI, scope, PKCE. Nobody signs in: the requests ask for no page (`prompt=none`). */
export const authorization: Check = {
  id: 'redirect-uri',
  async look(examination) {
    const { options, server } = examination
    const { clientId, redirectUri } = options
    if (server.authorization_endpoint === undefined) return []
    const scopes = scopesOf(examination)
    if (clientId === undefined || redirectUri === undefined) {
      const fix = 'Give --client-id and --redirect-uri.'
      return [...scopes, unknown('redirect-uri', 'The registration was not looked at', fix)]
    }
    const form = formOf(redirectUri, options.allowInsecureRequests)
    if (form?.level === 'error') return [...scopes, form]
    const request = await requestOf(examination, redirectUri)
    if (request instanceof AuthorizationServerError) return [...scopes, refusalOfPushed(request, redirectUri)]
    const answer = await asked(examination, request, redirectUri)
    if (!isAccepted(answer)) return [...scopes, refusalOf(answer, redirectUri)]
    const findings = [
      form ?? ok('redirect-uri', `${redirectUri} is registered`),
      ok('client-id', `The client ${clientId} can ask people to sign in`),
      ...returnedBy(answer, request, examination),
    ]
    if (!request.searchParams.has('code_challenge')) {
      const fix = 'Look at the settings of the server: this request was sent in advance.'
      return [...scopes, ...findings, unknown('pkce-required', 'Whether PKCE is required was not looked at', fix)]
    }
    const wrong = unregistered(redirectUri)
    const elsewhere = await asked(examination, withRedirectUri(request, wrong), wrong)
    if (answer.kind === 'sign-in' && elsewhere.kind === 'sign-in') {
      const sentence = 'Whatever is asked, the server shows a page: the registration can only be seen by signing in'
      return [...scopes, unknown('redirect-uri', sentence, 'Sign in once by hand.')]
    }
    return [
      ...scopes,
      ...findings,
      await withoutChallenge(examination, request, redirectUri),
      ...(await withPlainChallenge(examination, request, redirectUri)),
      exactness(elsewhere, wrong),
    ]
  },
}

function scopesOf({ options, server }: Examination): Finding[] {
  const asked = options.scope?.split(/\s+/).filter(Boolean) ?? []
  const known = listIn(server, 'scopes_supported')
  const grants = listIn(server, 'grant_types_supported')
  const findings: Finding[] = []
  const missing = known ? asked.filter((name) => name !== 'offline_access' && !known.includes(name)) : []
  if (missing.length > 0) {
    findings.push(
      warning('scope', `The metadata do not name the scope ${missing.join(' ')}`, 'Check how the scope is written.'),
    )
  }
  if (grants && !grants.includes('refresh_token')) {
    const fix = 'Let the server give refresh tokens, or people sign in anew whenever an access token ends.'
    findings.push(warning('offline-access', 'The server gives no refresh tokens', fix))
  } else if (known && !known.includes('offline_access') && asked.includes('offline_access')) {
    const fix = 'Leave the scope out if the server gives refresh tokens without it; else enable it there.'
    findings.push(warning('offline-access', 'The server does not know the scope offline_access', fix))
  } else if (known?.includes('offline_access') && asked.includes('openid') && !asked.includes('offline_access')) {
    const fix = 'Ask for offline_access, and for consent where the server wants that (prompt=consent).'
    findings.push(warning('offline-access', 'Without the scope offline_access there may be no refresh token', fix))
  } else if (known?.includes('offline_access')) {
    findings.push(ok('offline-access', 'The scope offline_access is supported'))
  }
  return findings
}

/** What can be said of a redirect URI without asking. */
function formOf(redirectUri: string, allowInsecure = false): Finding | undefined {
  const url = URL.parse(redirectUri)
  const fix = 'Register an https URL, for programs on a machine http://127.0.0.1/…, and give exactly that.'
  if (!url) return error('redirect-uri', 'The redirect URI is no absolute URI', fix)
  if (url.hash || redirectUri.endsWith('#')) return error('redirect-uri', 'The redirect URI has a fragment', fix)
  const isHere = /^(127(\.\d+){3}|\[::1\])$/.test(url.hostname)
  if (url.protocol === 'http:' && url.hostname === 'localhost') {
    const use = 'For a program on a machine register 127.0.0.1: localhost may be something else there.'
    return warning('redirect-uri', `${redirectUri} is registered, and names localhost`, use)
  }
  if (url.protocol === 'http:' && !isHere && !allowInsecure)
    return error('redirect-uri', `${redirectUri} is not encrypted`, fix)
  return undefined
}

/** What the library sends, as `login()` makes it. */
async function requestOf(
  { options, source, server, credentials }: Examination,
  redirectUri: string,
): Promise<URL | AuthorizationServerError> {
  let address = ''
  const navigate = (url: string) => {
    address = url
  }
  const isPushed = server.require_pushed_authorization_requests === true
  const flow = authorizationCode({
    ...source,
    ...credentials,
    redirectUri,
    scope: options.scope,
    userAgent: { url: '', navigate, replaceUrl() {} },
    ...(isPushed && { par: pushedAuthorizationRequests() }),
  })
  try {
    await flow.login({ prompt: 'none' })
    return new URL(address)
  } catch (thrown) {
    if (thrown instanceof AuthorizationServerError) return thrown
    throw thrown
  }
}

async function asked({ ask }: Examination, request: URL, redirectUri: string): Promise<AuthorizationAnswer> {
  return authorizationAnswer(request, redirectUri, await ask(request))
}

function refusalOfPushed(refusal: AuthorizationServerError, redirectUri: string): Finding {
  if (refusal.code !== 'client-refused') return refusalOf(pushedAnswer(refusal), redirectUri)
  const sentence = 'The registration was not looked at: the pushed request was refused for its client'
  return unknown('redirect-uri', sentence, 'Mend client-authentication first.')
}

function refusalOf(answer: AuthorizationAnswer, redirectUri: string): Finding {
  const unclear = 'Check --client-id and --redirect-uri, and what the log of the server says.'
  if (answer.kind === 'unavailable') {
    const sentence = `The authorization endpoint is out of order (${answer.said})`
    return error('code-flow', sentence, 'Look again later, and at the log of the server.')
  }
  if (answer.kind === 'sign-in') return unknown('redirect-uri', 'The server says nothing of the request', unclear)
  if (answer.kind === 'refused') {
    if (answer.about === 'client') {
      return error(
        'client-id',
        'The server does not know this client',
        'Check --client-id, and that it is of this issuer.',
      )
    }
    const register = `Register ${redirectUri}, character by character.`
    if (answer.about === 'redirect-uri') {
      return error('redirect-uri', `${redirectUri} is not registered for this client`, register)
    }
    const sentence = `The server refuses the client or its redirect URI (status ${answer.status})`
    return error('redirect-uri', sentence, `${register} ${unclear}`)
  }
  const said = answer.parameters.get('error') ?? 'nothing that can be understood'
  const description = answer.parameters.get('error_description')
  const sentence = `The server answers ${said}${description ? `: ${description}` : ''}`
  switch (said) {
    case 'invalid_scope':
      return error('scope', sentence, 'Ask for scopes that this client may have.')
    case 'unauthorized_client':
    case 'unsupported_response_type':
      return error('client-id', sentence, 'Allow this client the authorization code grant.')
    default:
      return error('code-flow', sentence, 'Check what the server demands of this client.')
  }
}

/** Whether what came back is what a client has to see. */
function returnedBy(answer: AuthorizationAnswer, request: URL, { server }: Examination): Finding[] {
  if (answer.kind !== 'returned') return []
  const { parameters } = answer
  const sent = request.searchParams.get('state')
  const findings: Finding[] = []
  if (parameters.has('code')) {
    const fix = 'Let the server ask who is there, unless it knows that by the network.'
    findings.push(warning('code-flow', 'The server gives a code, and nobody has signed in', fix))
  }
  if (sent !== null && parameters.get('state') !== sent) {
    findings.push(
      error(
        'response-state',
        'The server does not give `state` back as it was',
        'Let the server return state unchanged.',
      ),
    )
  }
  const issuer = parameters.get('iss')
  if (issuer === server.issuer) findings.push(ok('response-issuer', 'Authorization responses name their issuer'))
  else if (issuer !== null || server.authorization_response_iss_parameter_supported === true) {
    const sentence = `Authorization responses name ${issuer ?? 'no'} issuer, the metadata ${server.issuer}`
    findings.push(error('response-issuer', sentence, 'Let the server send iss exactly like its issuer.'))
  } else {
    const fix = 'Enable iss (RFC 9207), or use one redirect URI per server.'
    findings.push(warning('response-issuer', 'Authorization responses do not name their issuer', fix))
  }
  return findings
}

/** Only a refusal of what is wrong says that it is refused. */
function unseen(id: FindingId, said: string): Finding {
  return unknown(id, `This could not be seen, for the server was out of order (${said})`, 'Look again later.')
}

async function withoutChallenge(examination: Examination, request: URL, redirectUri: string): Promise<Finding> {
  const url = new URL(request)
  url.searchParams.delete('code_challenge')
  url.searchParams.delete('code_challenge_method')
  const answer = await asked(examination, url, redirectUri)
  if (answer.kind === 'unavailable') return unseen('pkce-required', answer.said)
  if (!isAccepted(answer)) return ok('pkce-required', 'PKCE is required')
  const fix = 'Require PKCE of this client: a code that is injected is of no use then.'
  return warning('pkce-required', 'The server lets this client do without PKCE', fix)
}

async function withPlainChallenge(examination: Examination, request: URL, redirectUri: string): Promise<Finding[]> {
  const url = new URL(request)
  url.searchParams.set('code_challenge_method', 'plain')
  const answer = await asked(examination, url, redirectUri)
  if (answer.kind === 'unavailable') return [unseen('pkce-plain', answer.said)]
  if (!isAccepted(answer)) return []
  return [warning('pkce-plain', 'The server takes PKCE without a hash (plain)', 'Let the server take S256 only.')]
}

/** A redirect URI that nobody registered, and that begins like the one that is. */
function unregistered(redirectUri: string): string {
  const wrong = new URL(redirectUri)
  wrong.pathname = `${wrong.pathname.replace(/\/$/, '')}/keyturn-doctor`
  return wrong.href
}

function withRedirectUri(request: URL, redirectUri: string): URL {
  const url = new URL(request)
  url.searchParams.set('redirect_uri', redirectUri)
  return url
}

function exactness(answer: AuthorizationAnswer, wrong: string): Finding {
  if (answer.kind === 'unavailable') return unseen('redirect-uri-exact', answer.said)
  if (answer.kind === 'refused') return ok('redirect-uri-exact', 'Redirect URIs are compared character by character')
  const sentence = `The server takes ${wrong}, too`
  const fix = 'Register whole redirect URIs, without patterns: codes can be sent elsewhere.'
  return answer.kind === 'returned'
    ? error('redirect-uri-exact', sentence, fix)
    : warning('redirect-uri-exact', `${sentence}, or does not look before somebody signs in`, fix)
}
