import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import type { AssertionKey } from '@keyturn/core'
import { diagnose } from './doctor.ts'
import type { DoctorOptions } from './examination.ts'
import { printable } from './finding.ts'
import { asJson, counted, readable } from './report.ts'

export const USAGE = `Usage: keyturn doctor ISSUER [options]

Looks at an authorization server and a client's registration: what is wrong, and how to mend it.

  --client-id ID            the client
  --redirect-uri URI        its redirect URI
  --scope "NAME NAME"       what it asks for
  --origin ORIGIN           of a page that is to use the server (CORS)
  --dpop                    tokens are to be bound to a key (RFC 9449)
  --client-secret-file FILE holds the client's secret; or set KEYTURN_CLIENT_SECRET
  --private-key-file FILE   holds the key that the client signs with (private_key_jwt): a JWK, or PKCS#8 in PEM
  --spend-refresh-token     looks at rotation; ends the session of the refresh token in KEYTURN_REFRESH_TOKEN,
  --refresh-token-file FILE or in this file
  --timeout SECONDS         for one request; default 10
  --allow-insecure-requests lets http pass for other hosts than this machine
  --json                    for programs

Exit status: 0 nothing is wrong (there may be warnings), 1 something is, 2 the command cannot be understood.
`

/** What cannot be understood. */
export class UsageError extends Error {
  override name = 'UsageError'
}

interface Terminal {
  readonly env: NodeJS.ProcessEnv
  readonly write: (text: string) => void
  /** Whether words may be coloured. */
  readonly color: boolean
}

/** Runs the doctor as the arguments say; resolves with the exit status. Rejects with a `UsageError`. */
export async function doctor(args: string[], { env, write, color }: Terminal): Promise<number> {
  const { values, positionals } = parsed(args)
  const [issuer, ...more] = positionals
  if (issuer === undefined || more.length > 0) throw new UsageError('One issuer is to be looked at')
  const timeout = Number(values.timeout ?? 10) * 1000
  if (!(timeout > 0 && timeout <= 600_000)) throw new UsageError('--timeout is not a number of seconds up to 600')
  const options: DoctorOptions = {
    issuer,
    clientId: values['client-id'],
    clientSecret: await secretIn(values['client-secret-file'], env.KEYTURN_CLIENT_SECRET),
    privateKey: await keyIn(values['private-key-file']),
    redirectUri: values['redirect-uri'],
    scope: values.scope,
    origin: originIn(values.origin),
    dpop: values.dpop,
    refreshToken: await refreshTokenIn(values, env),
    timeout,
    allowInsecureRequests: values['allow-insecure-requests'],
  }
  const findings = await diagnose(options)
  const shown = printable(withoutCredentials(issuer))
  write(values.json ? asJson(shown, findings) : readable(shown, findings, color))
  return counted(findings).error > 0 ? 1 : 0
}

function parsed(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        'client-id': { type: 'string' },
        'redirect-uri': { type: 'string' },
        scope: { type: 'string' },
        origin: { type: 'string' },
        dpop: { type: 'boolean' },
        'client-secret-file': { type: 'string' },
        'private-key-file': { type: 'string' },
        'spend-refresh-token': { type: 'boolean' },
        'refresh-token-file': { type: 'string' },
        timeout: { type: 'string' },
        'allow-insecure-requests': { type: 'boolean' },
        json: { type: 'boolean' },
      },
    })
  } catch (thrown) {
    // Node's own words may repeat what was typed, and that may be a secret.
    const isSecret = args.some((argument) => /^--(client-secret|private-key|refresh-token)(=|$)/.test(argument))
    if (isSecret) throw new UsageError('A secret is no argument: others see those. Use a file or the environment.')
    const unknown = /^Unknown option '(--?[a-z-]+)/.exec(Object(thrown).message)?.[1]
    throw new UsageError(unknown ? `There is no option ${unknown}` : 'An option lacks its value, or has one too many')
  }
}

async function refreshTokenIn(
  values: Partial<Record<'client-id' | 'refresh-token-file', string | undefined>> & {
    'spend-refresh-token'?: boolean | undefined
  },
  env: NodeJS.ProcessEnv,
): Promise<string | undefined> {
  const file = values['refresh-token-file']
  if (!values['spend-refresh-token']) {
    if (file) throw new UsageError('A refresh token is looked at with --spend-refresh-token only, for that spends it')
    return undefined
  }
  if (values['client-id'] === undefined) throw new UsageError('--spend-refresh-token needs --client-id: whose it is')
  const token = await secretIn(file, env.KEYTURN_REFRESH_TOKEN)
  if (token === undefined) throw new UsageError('There is no refresh token to spend')
  return token
}

async function keyIn(file: string | undefined): Promise<AssertionKey | undefined> {
  const text = await secretIn(file, undefined)
  if (!text?.trimStart().startsWith('{')) return text
  try {
    return JSON.parse(text)
  } catch {
    // What the parser says repeats a piece of the key.
    throw new UsageError(`${printable(String(file))} is no JSON`)
  }
}

/** Without the line's end that editors and `echo` leave. */
async function secretIn(file: string | undefined, variable: string | undefined): Promise<string | undefined> {
  if (file === undefined) return variable || undefined
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (thrown) {
    throw new UsageError(`${printable(file)} cannot be read (${Object(thrown).code})`)
  }
  const secret = text.replace(/\r?\n$/, '')
  // Nothing else is looked at instead: that would be another client.
  if (secret === '') throw new UsageError(`${printable(file)} is empty`)
  return secret
}

/** Nobody should have written some, and nobody else is to see them. */
function withoutCredentials(issuer: string): string {
  const { protocol, username, password } = URL.parse(issuer) ?? {}
  const isPlain = /^https?:$/.test(`${protocol}`) && !username && !password
  return isPlain ? issuer : issuer.replace(/^(https?:\/\/)?.*@/is, '$1')
}

function originIn(text: string | undefined): string | undefined {
  if (text === undefined) return undefined
  const url = URL.parse(text)
  if (!url || url.origin === 'null' || url.pathname !== '/' || url.search || url.hash || url.username) {
    throw new UsageError('--origin is no origin, such as https://app.example.com')
  }
  return url.origin
}
