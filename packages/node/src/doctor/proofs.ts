import { AuthorizationServerError, dpop } from '@keyturn/core'
import { attempt } from './attempt.ts'
import { type Check, type Examination, listIn } from './examination.ts'
import { error, type Finding, ok, unknown, warning } from './finding.ts'

/** Whether tokens can be bound to a key (RFC 9449), and the server's nonces work. */
export const proofs: Check = {
  id: 'dpop',
  async look(examination) {
    const { options, server } = examination
    const algorithms = listIn(server, 'dpop_signing_alg_values_supported')
    const isWanted = options.dpop === true
    const fix = 'Enable DPoP with ES256, or leave out dpop().'
    if (!algorithms) return isWanted ? [error('dpop', 'The server does not offer DPoP', fix)] : []
    if (!algorithms.includes('ES256')) {
      const sentence = `DPoP is offered with ${algorithms.join(', ') || 'no algorithm'}, not with ES256`
      return [isWanted ? error('dpop', sentence, fix) : warning('dpop', sentence, fix)]
    }
    if (options.clientId === undefined) return [ok('dpop', 'DPoP is offered with ES256')]
    return proven(examination)
  },
}

async function proven(examination: Examination): Promise<Finding[]> {
  const { origin, fetch: send = fetch } = examination.options
  const nonces: Headers[] = []
  const watched: typeof fetch = async (...request) => {
    const response = await send(...request)
    if (response.headers.has('dpop-nonce')) nonces.push(response.headers)
    return response
  }
  const { outcome, error: refusal } = await attempt(examination, {
    ...examination.credentials,
    dpop: dpop(),
    fetch: watched,
  })
  const said = refusal instanceof AuthorizationServerError ? refusal.error : undefined
  if (said === 'use_dpop_nonce') {
    const sentence = nonces.length > 0 ? 'does not take the nonce that it gave' : 'wants a nonce and gives none'
    return [error('dpop-nonce', `The server ${sentence}`, 'Let it send DPoP-Nonce with use_dpop_nonce, and take that.')]
  }
  if (said === 'invalid_dpop_proof') {
    const fix = 'Compare the clocks, and the address of the token endpoint that the server believes to have.'
    return [error('dpop', `The server refuses a good proof: ${refusal?.message}`, fix)]
  }
  if (outcome !== 'known') {
    const why = refusal?.message ?? 'the token endpoint gives tokens to whoever asks'
    const fix =
      outcome === 'other' && said !== undefined
        ? 'Try proofs with the grant that this client has.'
        : 'Mend token-endpoint and client-authentication first.'
    return [unknown('dpop', `Proofs were not tried: ${why}`, fix)]
  }
  const findings = [
    ok('dpop', 'The server takes proofs'),
    ok('dpop-nonce', nonces.length > 0 ? 'The server gives nonces and takes them' : 'The server needs no nonces'),
  ]
  const hidden = nonces.some((headers) => !exposes(headers))
  if (origin !== undefined && hidden && !(await showsNonce(examination, origin))) {
    const fix = 'Name DPoP-Nonce in Access-Control-Expose-Headers.'
    findings.push(error('cors-nonce', `Pages of ${origin} cannot read the server's nonces`, fix))
  }
  return findings
}

function exposes(headers: Headers): boolean {
  const names = `${headers.get('access-control-expose-headers')}`.toLowerCase().split(/[\s,]+/)
  return names.includes('dpop-nonce') || names.includes('*')
}

/** Many servers add these headers for pages only. */
async function showsNonce({ client, options, ask }: Examination, origin: string): Promise<boolean> {
  const body = new URLSearchParams({ grant_type: 'authorization_code', client_id: options.clientId ?? '' })
  const url = await client.requiredEndpoint('token_endpoint')
  return exposes((await ask(url, { method: 'POST', headers: { origin }, body })).headers)
}
