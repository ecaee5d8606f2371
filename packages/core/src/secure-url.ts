import { OAuthError } from './errors.ts'

/** Whether a URL's host can only be this machine (RFC 8252 section 7.3). */
export function isLoopback({ hostname }: URL): boolean {
  return /^(localhost|.+\.localhost|127(\.\d+){3}|\[::1\])$/.test(hostname)
}

/** `url` parsed, if it is https or http to this machine; `allowInsecure` lets every http URL pass. */
export function secureUrl(url: string, allowInsecure = false): URL {
  const parsed = URL.parse(url)
  const trusted =
    parsed?.protocol === 'https:' || (parsed?.protocol === 'http:' && (allowInsecure || isLoopback(parsed)))
  if (parsed && trusted && !parsed.username && !parsed.password) return parsed
  throw new OAuthError(
    'insecure-url',
    `Not an https URL: ${parsed ? parsed.origin + parsed.pathname : 'no URL at all'}`,
    {
      fix: 'Use https, without user information; http is for loopback hosts, or set allowInsecureRequests while developing.',
    },
  )
}
