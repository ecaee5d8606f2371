import { type Answer, isUnavailable, wellKnownOf } from './ask.ts'
import { type Check, type Examination, listIn } from './examination.ts'
import { error, type Finding, type FindingId, ok, unknown, warning } from './finding.ts'

/** What a page of `origin` may see of the server. */
export const crossOrigin: Check = {
  id: 'cors-token',
  async look(examination) {
    const { options, client, server } = examination
    const { origin } = options
    if (origin === undefined) {
      return [unknown('cors-token', 'Whether pages may use the server was not looked at', 'For a page give --origin.')]
    }
    const token = await client.requiredEndpoint('token_endpoint')
    const usesProofs = options.dpop ?? listIn(server, 'dpop_signing_alg_values_supported') !== undefined
    const findings = [await metadataFrom(examination, origin), await tokenFrom(examination, token, origin)]
    if (usesProofs) findings.push(await preflightFrom(examination, token, origin))
    return findings
  },
}

function allows({ headers }: { headers: Headers }, origin: string): boolean {
  const allowed = headers.get('access-control-allow-origin')
  return allowed === '*' || allowed === origin
}

function refused(id: FindingId, what: string, answer: Answer, origin: string): Finding {
  if (isUnavailable(answer)) return unseen(id, answer)
  const allowed = answer.headers.get('access-control-allow-origin')
  const sentence = `Pages of ${origin} cannot read ${what} (Access-Control-Allow-Origin: ${allowed ?? 'missing'})`
  return error(id, sentence, `Allow the origin ${origin} where the client is registered.`)
}

/** What refuses for want of time often knows nothing of pages. */
function unseen(id: FindingId, { status }: Answer): Finding {
  return unknown(id, `What pages may do could not be seen (status ${status})`, 'Look again later.')
}

/** As discovery does it: a page that cannot read the first answer, or a redirect, does not get to the next. */
async function metadataFrom({ server, ask }: Examination, origin: string): Promise<Finding> {
  for (const address of wellKnownOf(server.issuer)) {
    let url: URL | null = address
    for (let hops = 0; url?.origin === address.origin && hops < 4; hops++) {
      const answer: Answer = await ask(url, { headers: { origin } })
      if (!allows(answer, origin)) return refused('cors-metadata', `what is at ${url.pathname}`, answer, origin)
      if (answer.status === 200) return ok('cors-metadata', `Pages of ${origin} can read the metadata`)
      const location = answer.headers.get('location')
      url = location === null ? null : URL.parse(location, url.href)
    }
  }
  return unknown('cors-metadata', 'The metadata were not there any more', 'Look again later.')
}

/** The simple request that a page sends, about a code that nobody has: an error is a good answer. */
async function tokenFrom({ options, ask }: Examination, token: URL, origin: string): Promise<Finding> {
  const body = new URLSearchParams({ grant_type: 'authorization_code', code: 'keyturn-doctor' })
  if (options.clientId !== undefined) body.set('client_id', options.clientId)
  if (options.redirectUri !== undefined) body.set('redirect_uri', options.redirectUri)
  const answer = await ask(token, { method: 'POST', headers: { origin }, body })
  if (allows(answer, origin)) return ok('cors-token', `Pages of ${origin} can read what the token endpoint answers`)
  return refused('cors-token', 'what the token endpoint answers', answer, origin)
}

/** A proof travels in a header that browsers ask for first. */
async function preflightFrom({ options, ask }: Examination, token: URL, origin: string): Promise<Finding> {
  const asked = { 'access-control-request-method': 'POST', 'access-control-request-headers': 'dpop' }
  const answer = await ask(token, { method: 'OPTIONS', headers: { origin, ...asked } })
  const names = `${answer.headers.get('access-control-allow-headers')}`.toLowerCase().split(/[\s,]+/)
  const isLet = answer.status >= 200 && answer.status < 300 && allows(answer, origin)
  if (isLet && (names.includes('dpop') || names.includes('*'))) {
    return ok('cors-preflight', `Pages of ${origin} can send proofs (DPoP)`)
  }
  if (isUnavailable(answer)) return unseen('cors-preflight', answer)
  const sentence = `Pages of ${origin} cannot send proofs: the preflight of the token endpoint does not allow DPoP`
  const fix = 'Answer OPTIONS with Access-Control-Allow-Origin, and DPoP in Access-Control-Allow-Headers.'
  return options.dpop ? error('cors-preflight', sentence, fix) : warning('cors-preflight', sentence, fix)
}
