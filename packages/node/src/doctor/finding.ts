/** What is looked at, and where it is written how it has to be. */
export const SOURCES = {
  address: 'RFC 8414 section 2',
  tls: 'RFC 8414 section 6.1, RFC 9525',
  clock: 'RFC 7519 section 4.1.4, RFC 9449 section 11.1',
  metadata: 'RFC 8414 section 3, OpenID Connect Discovery section 4',
  issuer: 'RFC 8414 section 3.3',
  endpoints: 'RFC 8414 section 2, RFC 6749 section 3',
  keys: 'RFC 7517 section 5, OpenID Connect Core section 10.1.1',
  'code-flow': 'RFC 6749 section 4.1, RFC 9700 section 2.1.2',
  'id-token': 'OpenID Connect Core section 3.1.3.7',
  pkce: 'RFC 7636 section 4, RFC 9700 section 2.1.1',
  'pkce-required': 'RFC 9700 section 2.1.1',
  'pkce-plain': 'RFC 9700 section 2.1.1',
  scope: 'RFC 6749 section 3.3',
  'offline-access': 'OpenID Connect Core section 11',
  'client-id': 'RFC 6749 section 2.2',
  'redirect-uri': 'RFC 6749 section 3.1.2, RFC 8252 section 7',
  'redirect-uri-exact': 'RFC 9700 section 2.1',
  'response-state': 'RFC 6749 section 4.1.2',
  'response-issuer': 'RFC 9207 section 2',
  'token-endpoint': 'RFC 6749 section 5.2',
  'client-authentication': 'RFC 6749 section 2.3',
  'cors-metadata': 'Fetch Standard section 3.3',
  'cors-token': 'Fetch Standard section 3.3',
  'cors-preflight': 'Fetch Standard section 3.3.5',
  'cors-nonce': 'Fetch Standard section 3.3.3, RFC 9449 section 8',
  dpop: 'RFC 9449 section 5',
  'dpop-nonce': 'RFC 9449 section 8',
  rotation: 'RFC 9700 section 4.14.2',
  'rotation-grace': 'RFC 9700 section 4.14.2',
  'rotation-reuse': 'RFC 9700 section 4.14.2',
  revocation: 'RFC 7009 section 2',
} as const

/** What was looked at; docs/doctor.md tells of each. */
export type FindingId = keyof typeof SOURCES
/** `unknown`: could not be looked at. */
export type Level = 'ok' | 'warning' | 'error' | 'unknown'

/** One thing that was looked at; nothing of it is a secret, or can steer a terminal. */
export interface Finding {
  readonly id: FindingId
  readonly level: Level
  readonly sentence: string
  /** What to change, where something is to be. */
  readonly fix?: string | undefined
  readonly source: string
}

function finding(level: Level, id: FindingId, sentence: string, fix?: string): Finding {
  return { id, level, sentence: printable(sentence), fix: fix && printable(fix), source: SOURCES[id] }
}

export const ok = (id: FindingId, sentence: string): Finding => finding('ok', id, sentence)
export const warning = (id: FindingId, sentence: string, fix: string): Finding => finding('warning', id, sentence, fix)
export const error = (id: FindingId, sentence: string, fix: string): Finding => finding('error', id, sentence, fix)
export const unknown = (id: FindingId, sentence: string, fix: string): Finding => finding('unknown', id, sentence, fix)

/** What was found, without a secret that a server repeats. */
export function withoutSecrets(finding: Finding, secrets: readonly string[]): Finding {
  const cleaned = (text: string) => secrets.reduce((rest, secret) => rest.replaceAll(secret, '(not shown)'), text)
  return { ...finding, sentence: cleaned(finding.sentence), fix: finding.fix && cleaned(finding.fix) }
}

/** A text that may hold what a server sent, in one line without characters that steer a terminal or turn text around. */
export function printable(text: string): string {
  return text.slice(0, 500).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, ' ')
}
