import {
  AuthorizationServerError,
  clientSecretBasic,
  clientSecretJwt,
  clientSecretPost,
  none,
  privateKeyJwt,
} from '@keyturn/core'
import { type Attempt, attempt } from './attempt.ts'
import { type Check, type Credentials, type Examination, isConfidential, listIn } from './examination.ts'
import { error, type Finding, ok, unknown } from './finding.ts'

/** Who the client is, as it proves it at the token endpoint. */
export const clientAuthentication: Check = {
  id: 'token-endpoint',
  async look(examination) {
    const { options, server, credentials } = examination
    const methods = listIn(server, 'token_endpoint_auth_methods_supported') ?? ['client_secret_basic']
    const supported = `The server supports ${methods.join(', ') || 'none that it names'}`
    if (options.clientId === undefined) {
      return [unknown('client-authentication', `No client was looked at. ${supported}`, 'Give --client-id.')]
    }
    const attempted = await attempt(examination, credentials)
    const trouble = troubleOf(attempted)
    if (trouble) return [trouble]
    const answers = ok('token-endpoint', 'The token endpoint answers as it should')
    if (attempted.outcome !== 'refused') return [answers, await recognized(examination, attempted)]
    if (!isConfidential(examination)) return [answers, credentialsMissing(methods, supported)]
    return [answers, await otherwise(examination, methods, supported)]
  },
}

/** What kept the server from looking at the client. */
function troubleOf({ outcome, error: refusal }: Attempt): Finding | undefined {
  if (outcome !== 'other' || refusal instanceof AuthorizationServerError) return undefined
  if (!refusal) {
    const fix = 'Stop the server: whoever asks gets tokens.'
    return error('token-endpoint', 'The token endpoint gives tokens for a code that nobody has', fix)
  }
  const { message, code, fix = 'Check what answers at token_endpoint.' } = refusal
  return error(code === 'invalid-options' ? 'client-authentication' : 'token-endpoint', message, fix)
}

/** Whether the server looked at who asks: to somebody else it has to say something else (RFC 6749 section 4.1.3). */
async function recognized(examination: Examination, { outcome, error: refusal }: Attempt): Promise<Finding> {
  const { how, otherwise, credentials } = counterpart(examination.credentials)
  const counter = await attempt(examination, credentials)
  if (counter.outcome === 'refused' || (outcome === 'known' && counter.outcome !== 'known')) {
    return ok('client-authentication', `The server knows the client ${how}`)
  }
  const { message = '' } = refusal ?? {}
  const sentence = `Whether the server knows the client cannot be told: it answers alike ${otherwise} (${message})`
  const fix = 'Let the server look at who asks before it looks at the code, or try the client with its own grant.'
  return unknown('client-authentication', sentence, fix)
}

/** How the client was known, and as whom it should not be. */
function counterpart({ clientSecret, clientAuthentication }: Credentials) {
  const other = `keyturn-doctor-${crypto.randomUUID()}`
  if (clientSecret !== undefined) {
    return { how: 'with its secret', otherwise: 'with another secret', credentials: { clientSecret: other } }
  }
  const how = clientAuthentication ? 'as it authenticates' : 'as a public client'
  return { how, otherwise: 'to one that nobody registered', credentials: { clientAuthentication, clientId: other } }
}

function credentialsMissing(methods: string[], supported: string): Finding {
  const secret = '(KEYTURN_CLIENT_SECRET, --client-secret-file)'
  const fix = `Give the secret ${secret} or the private key (--private-key-file), or register a public client.`
  const isCertificate = methods.some((method) => method.endsWith('tls_client_auth'))
  const certificate = isCertificate ? ' The command shows no certificate: for that give diagnose() a fetch.' : ''
  const sentence = `The server refuses the client without authentication. ${supported}`
  return error('client-authentication', sentence, fix + certificate)
}

/** Another way to authenticate, and how to choose it. */
type Way = Credentials & { readonly fix: string }

/** What was given was refused: perhaps it is to be sent in another way. */
async function otherwise(examination: Examination, methods: string[], supported: string): Promise<Finding> {
  for (const { fix, ...way } of waysOf(examination, methods)) {
    const { outcome } = await attempt(examination, way)
    if (outcome === 'known') {
      return error('client-authentication', `The server wants the client in another way. ${supported}`, fix)
    }
  }
  const what = examination.credentials.clientAuthentication ? 'key' : 'secret'
  const fix = `Check client and ${what}, and which method the client is registered with.`
  return error('client-authentication', `The server refuses the client and its ${what}. ${supported}`, fix)
}

function waysOf({ options }: Examination, methods: string[]): Way[] {
  const { clientSecret, privateKey, clientAuthentication: own } = options
  if (own) return []
  if (privateKey !== undefined) {
    const audience = 'token_endpoint'
    const fix = "Set clientAuthentication: privateKeyJwt(key, { audience: 'token_endpoint' })."
    return [{ clientAuthentication: privateKeyJwt(privateKey, { audience }), fix }]
  }
  const set = (how: string) => `Set clientAuthentication: ${how}.`
  const ways: Way[] = [
    { clientAuthentication: clientSecretBasic(), clientSecret, fix: set("'client_secret_basic'") },
    { clientAuthentication: clientSecretPost(), clientSecret, fix: set("'client_secret_post'") },
    {
      clientAuthentication: clientSecretBasic({ encoding: 'none' }),
      clientSecret,
      fix: set("clientSecretBasic({ encoding: 'none' })"),
    },
    { clientAuthentication: none(), fix: 'Leave out clientSecret: the client is registered as a public one.' },
  ]
  const signs = { clientAuthentication: clientSecretJwt(), clientSecret, fix: set('clientSecretJwt()') }
  return methods.includes('client_secret_jwt') ? [...ways, signs] : ways
}
