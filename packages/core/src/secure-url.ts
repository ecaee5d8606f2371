import { OAuthError } from './errors.ts'

/** Hosts that can only be this machine (RFC 8252 section 7.3). */
const LOOPBACK = /^(localhost|.+\.localhost|127(\.\d+){3}|\[::1\])$/

/** `url` parsed, if it is https or http to this machine; `allowInsecure` lets every http URL pass. */
export function secureUrl(url: string, allowInsecure = false): URL {
  const parsed = URL.parse(url)
  const { protocol, hostname, username, password } = parsed ?? {}
  const trusted = protocol === 'https:' || (protocol === 'http:' && (allowInsecure || LOOPBACK.test(`${hostname}`)))
  if (parsed && trusted && !username && !password) return parsed
  throw new OAuthError('insecure-url', `Not an https URL: ${hostname}`, {
    fix: 'Use https; http is for loopback hosts, or with allowInsecureRequests.',
  })
}
