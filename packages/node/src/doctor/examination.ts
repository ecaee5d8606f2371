import {
  type AssertionKey,
  type AuthorizationServer,
  type Client,
  type ClientAuthentication,
  clientCredentials,
  OAuthError,
  privateKeyJwt,
  type SourceOptions,
} from '@keyturn/core'
import { type Answer, ask } from './ask.ts'
import { error, type Finding, type FindingId, withoutSecrets } from './finding.ts'

/** Whom to look at. What is not given is not looked at. */
export interface DoctorOptions {
  /** The authorization server's issuer identifier (RFC 8414 section 2). */
  issuer: string
  clientId?: string | undefined
  /** Default: a public client. */
  clientSecret?: string | undefined
  /** Of a client that signs who it is (`privateKeyJwt()`). Default: it has no key. */
  privateKey?: AssertionKey | undefined
  /** Of a client that proves who it is in yet another way: `tlsClientAuth()`, with the `fetch` that has the certificate. */
  clientAuthentication?: ClientAuthentication | undefined
  /** As it is registered (RFC 6749 section 3.1.2). */
  redirectUri?: string | undefined
  /** What the client is to ask for (RFC 6749 section 3.3). */
  scope?: string | undefined
  /** The origin of a page that is to use the server. */
  origin?: string | undefined
  /** Whether tokens are to be bound to a key. Default: DPoP is looked at where the server offers it. */
  dpop?: boolean | undefined
  /** Spent, and the session with it. */
  refreshToken?: string | undefined
  /** Milliseconds for one request, ten minutes at most. Default: 10 000. */
  timeout?: number | undefined
  /** Default: the platform's. */
  fetch?: typeof fetch | undefined
  /** Lets http pass for other hosts than this machine. Only for development. */
  allowInsecureRequests?: boolean | undefined
}

/** A server whose metadata are known, and how to talk to it. */
export interface Examination {
  readonly options: DoctorOptions
  readonly server: AuthorizationServer
  /** A request without credentials. */
  readonly ask: (url: URL, init?: RequestInit) => Promise<Answer>
  /** What every source that talks to this server needs. */
  readonly source: Pick<
    SourceOptions,
    'issuer' | 'metadata' | 'discovery' | 'fetch' | 'timeout' | 'allowInsecureRequests' | 'onWarning'
  > & { clientId: string }
  readonly client: Client
  /** How the client proves who it is; nothing of it of a public client. */
  readonly credentials: Credentials
}

export type Credentials = Partial<Pick<SourceOptions, 'clientSecret' | 'clientAuthentication'>>

function credentialsOf({ clientSecret, privateKey, clientAuthentication }: DoctorOptions): Credentials {
  if (clientAuthentication) return { clientAuthentication }
  if (privateKey !== undefined) return { clientAuthentication: privateKeyJwt(privateKey) }
  return clientSecret === undefined ? {} : { clientSecret }
}

export function isConfidential({ credentials }: Examination): boolean {
  return Object.keys(credentials).length > 0
}

/** Looks at one thing; what it rejects with becomes a finding. */
export interface Check {
  /** What it is about, where it fails as a whole. */
  readonly id: FindingId
  readonly look: (examination: Examination) => Promise<Finding[]>
}

/** Stands for a client whose identifier is not known. */
const NOBODY = 'keyturn-doctor'

export function sourceOptions(options: DoctorOptions): Examination['source'] {
  const { issuer, clientId = NOBODY, fetch, timeout, allowInsecureRequests } = options
  return { issuer, clientId, fetch, timeout, allowInsecureRequests, onWarning: () => {} }
}

export function examinationOf(options: DoctorOptions, server: AuthorizationServer): Examination {
  const source = { ...sourceOptions(options), issuer: server.issuer, metadata: server, discovery: false as const }
  const { fetch: send = fetch, timeout = 10_000 } = options
  return {
    options,
    server,
    source,
    client: clientCredentials(source).client,
    credentials: credentialsOf(options),
    ask: (url, init = {}) => ask(send, url, init, timeout),
  }
}

/** What a check finds; a server that does not let it end has something wrong. */
export async function findingsOf({ id, look }: Check, examination: Examination): Promise<Finding[]> {
  const { clientSecret = '', refreshToken = '' } = examination.options
  const secrets = [clientSecret, refreshToken].filter(({ length }) => length > 3)
  try {
    const findings = await look(examination)
    return findings.map((finding) => withoutSecrets(finding, secrets))
  } catch (thrown) {
    if (!(thrown instanceof OAuthError)) throw thrown
    return [error(id, thrown.message, thrown.fix ?? 'Check what answers there.')]
  }
}

/** A member of the metadata that has to be a list of texts; undefined where it is not. */
export function listIn(server: AuthorizationServer, name: keyof AuthorizationServer): string[] | undefined {
  const value: unknown = server[name]
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : undefined
}
