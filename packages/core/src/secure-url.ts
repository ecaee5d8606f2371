import { OAuthError } from './errors.ts'

/** Hosts that can only be this machine (RFC 8252 section 7.3). */
const LOOPBACK = /^(localhost|.+\.localhost|127(\.\d+){3}|\[::1\])$/

/**
 * `url` parsed, if it is https or http to this machine, without user information or fragment (RFC 6749 section 3), else
 * an error that names it as the app, or the metadata, does; `allowInsecure` lets every http URL pass; where it may not be
 * local, none to this machine does either.
 */
export function secureUrl(url: string, name: string, allowInsecure = false, mayBeLocal = true): URL {
  const parsed = typeof url === 'string' ? URL.parse(url) : null // metadata may hold anything
  const { protocol, hostname, username, password, hash } = parsed ?? {}
  const trusted =
    protocol === 'https:' || (protocol === 'http:' && (allowInsecure || (mayBeLocal && LOOPBACK.test(`${hostname}`))))
  if (parsed && trusted && !username && !password && !hash) return parsed
  throw new OAuthError('insecure-url', `${name} is no plain https URL: ${hostname}`, {
    fix: 'Use https, no user or fragment; http is for loopback hosts, or with allowInsecureRequests.',
  })
}
