import { AuthorizationServerError, clientSecretBasic, clientSecretPost, none, type OAuthError } from '@keyturn/core'
import { attempt } from './attempt.ts'
import { type Check, type Examination, listIn } from './examination.ts'
import { error, type Finding, ok, unknown } from './finding.ts'

/** Who the client is, as it proves it at the token endpoint. */
export const clientAuthentication: Check = {
  id: 'token-endpoint',
  async look(examination) {
    const { options, server } = examination
    const { clientId, clientSecret } = options
    const methods = listIn(server, 'token_endpoint_auth_methods_supported') ?? ['client_secret_basic']
    const supported = `The server supports ${methods.join(', ') || 'none that it names'}`
    if (clientId === undefined) {
      return [unknown('client-authentication', `No client was looked at. ${supported}`, 'Give --client-id.')]
    }
    const { outcome, error: refusal } = await attempt(examination, { clientSecret })
    if (outcome === 'other') return unexpected(refusal)
    const answers = ok('token-endpoint', 'The token endpoint answers as it should')
    if (outcome === 'known') {
      const how = clientSecret === undefined ? 'as a public client' : 'with its secret'
      return [answers, ok('client-authentication', `The server knows the client ${how}`)]
    }
    return [answers, clientSecret === undefined ? secretMissing(supported) : await otherwise(examination, supported)]
  },
}

function unexpected(refusal: OAuthError | undefined): Finding[] {
  if (!refusal) {
    const fix = 'Stop the server: whoever asks gets tokens.'
    return [error('token-endpoint', 'The token endpoint gives tokens for a code that nobody has', fix)]
  }
  if (!(refusal instanceof AuthorizationServerError)) {
    return [error('token-endpoint', refusal.message, refusal.fix ?? 'Check what answers at token_endpoint.')]
  }
  const sentence = `Whether the server knows the client cannot be told: it says ${refusal.error}${said(refusal)}`
  const fix = 'For a client without the code grant that is as it should be; try it with its own grant.'
  return [
    ok('token-endpoint', 'The token endpoint answers as it should'),
    unknown('client-authentication', sentence, fix),
  ]
}

function said({ errorDescription }: AuthorizationServerError): string {
  return errorDescription === undefined ? '' : ` (${errorDescription})`
}

function secretMissing(supported: string): Finding {
  const fix = 'Give the secret (KEYTURN_CLIENT_SECRET, --client-secret-file), or register a public client.'
  return error('client-authentication', `The server refuses the client without authentication. ${supported}`, fix)
}

/** The secret was refused: perhaps it is to be sent in another way. */
async function otherwise(examination: Examination, supported: string): Promise<Finding> {
  const { clientSecret } = examination.options
  const ways = [
    {
      clientAuthentication: clientSecretBasic(),
      clientSecret,
      fix: "Set clientAuthentication: 'client_secret_basic'.",
    },
    { clientAuthentication: clientSecretPost(), clientSecret, fix: "Set clientAuthentication: 'client_secret_post'." },
    {
      clientAuthentication: clientSecretBasic({ encoding: 'none' }),
      clientSecret,
      fix: "Set clientAuthentication: clientSecretBasic({ encoding: 'none' }).",
    },
    { clientAuthentication: none(), fix: 'Leave out clientSecret: the client is registered as a public one.' },
  ]
  for (const { fix, ...way } of ways) {
    const { outcome } = await attempt(examination, way)
    if (outcome === 'known') {
      return error('client-authentication', `The server wants the client in another way. ${supported}`, fix)
    }
  }
  const fix = 'Check client and secret, and which method the client is registered with.'
  return error('client-authentication', `The server refuses the client and its secret. ${supported}`, fix)
}
