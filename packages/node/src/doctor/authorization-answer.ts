import type { AuthorizationServerError } from '@keyturn/core'
import { type Answer, isUnavailable } from './ask.ts'

/** What an authorization request led to, as far as it can be told without a person. */
export type AuthorizationAnswer =
  /** Back to the redirect URI (RFC 6749 section 4.1.2). */
  | { readonly kind: 'returned'; readonly parameters: URLSearchParams }
  /** On to the pages where a person signs in. */
  | { readonly kind: 'sign-in' }
  /** An error that is shown to the person, for the client or the redirect URI cannot be trusted (RFC 6749 section 4.1.2.1). */
  | { readonly kind: 'refused'; readonly status: number; readonly about: 'client' | 'redirect-uri' | undefined }
  /** No answer to what was asked: the server is out of order, or was asked too often. */
  | { readonly kind: 'unavailable'; readonly said: string }

/** Nobody is signed in, which is as it should be (OpenID Connect Core section 3.1.2.6). */
const NEEDS_PERSON = [
  'login_required',
  'interaction_required',
  'consent_required',
  'account_selection_required',
  'interaction_denied',
]

/** Whether a request was good, but for the person that is missing. */
export function isAccepted(answer: AuthorizationAnswer): boolean {
  if (answer.kind !== 'returned') return answer.kind === 'sign-in'
  const said = answer.parameters.get('error')
  return said === null ? answer.parameters.has('code') : NEEDS_PERSON.includes(said)
}

/** A refusal of a pushed request says what the redirect URI, or a page, would have said (RFC 9126 section 2.3). */
export function pushedAnswer({ error, errorDescription = '', status }: AuthorizationServerError): AuthorizationAnswer {
  const about = aboutIn(errorDescription)
  if (about) return { kind: 'refused', status, about }
  return { kind: 'returned', parameters: new URLSearchParams({ error, error_description: errorDescription }) }
}

export function authorizationAnswer(asked: URL, redirectUri: string, answer: Answer): AuthorizationAnswer {
  const { status, headers, text } = answer
  if (isUnavailable(answer)) return { kind: 'unavailable', said: `status ${status}` }
  const target = URL.parse(headers.get('location') ?? '', asked.href)
  if (status >= 300 && status < 400 && target) {
    const { origin, pathname } = new URL(redirectUri)
    if (target.origin === origin && target.pathname === pathname) return returned(saidIn(target))
    if (!isErrorPage(target, asked)) return { kind: 'sign-in' }
    return { kind: 'refused', status, about: aboutIn(decoded(target.search)) }
  }
  // Entra ID shows its errors with status 200.
  if (status >= 400 || /AADSTS\d+/.test(text)) return { kind: 'refused', status, about: aboutIn(text) }
  return { kind: 'sign-in' }
}

/** That these come back at all is no sign that the request was good (RFC 6749 section 4.1.2.1). */
const PASSING = ['server_error', 'temporarily_unavailable']

function returned(parameters: URLSearchParams): AuthorizationAnswer {
  const said = parameters.get('error') ?? ''
  return PASSING.includes(said) ? { kind: 'unavailable', said } : { kind: 'returned', parameters }
}

/** Some servers lead to an error page of their own. What was asked, or a tenant of the server, may be named like one. */
function isErrorPage({ pathname, searchParams }: URL, asked: URL): boolean {
  const own = asked.pathname.split('/')
  const steps = pathname.split('/').filter((step) => !own.includes(step))
  return [...steps, ...searchParams.keys()].some((name) => /error/i.test(name))
}

function saidIn({ search, hash }: URL): URLSearchParams {
  return new URLSearchParams(search.length > 1 ? search : hash.slice(1))
}

/** Pages are for people, yet nearly all servers name what is wrong; some repeat what was asked, too. */
function aboutIn(page: string): 'client' | 'redirect-uri' | undefined {
  const text = page.replace(/\b(client_id|redirect_uri)(=|%3D)[^\s"'<>]*/gi, '')
  if (/redirect[ _-]?ur[il]|callback ur[il]|AADSTS50011/i.test(text)) return 'redirect-uri'
  if (/invalid[ _-]?client|unknown client|client (id|is|not)|client_id|unauthorized_client|AADSTS700016/i.test(text)) {
    return 'client'
  }
  return undefined
}

function decoded(search: string): string {
  return [...new URLSearchParams(search).values()].join(' ')
}
