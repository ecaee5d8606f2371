import { type Apis, absoluteUrl, apiRoutes } from './api-routes.ts'
import { unlessAborted } from './deadline.ts'
import { OAuthError } from './errors.ts'
import { replayable } from './replayable.ts'
import type { AccessTokenRequest, TokenSource } from './token-source.ts'

export interface AuthenticatedFetchOptions {
  /** Required: where a token may go, and which. Everything else is fetched without one. */
  apis: Apis
  /** The fetch underneath. Default: the platform's. */
  fetch?: typeof fetch | undefined
}

/**
 * A fetch that sends a valid token wherever `apis` says so (RFC 6750 section 2.1) and, after a 401, tries once more with
 * another one. It rejects as fetch does, and with an `OAuthError` where no token can be had.
 */
export function authenticatedFetch(source: TokenSource, options: AuthenticatedFetchOptions): typeof fetch {
  const routeOf = apiRoutes(options?.apis)
  const plain: typeof fetch = (input, init) => (options.fetch ?? fetch)(input, init)

  return async (resource, wishes) => {
    // Everything is read once: what the caller changes afterwards changes nothing.
    const given = resource instanceof Request ? resource : undefined
    const address = given?.url ?? String(resource)
    const url = absoluteUrl(address)?.href ?? address
    const input = given ?? url
    const init = snapshotOf(wishes)
    const route = routeOf(url)
    const own = new Headers(init?.headers ?? given?.headers)
    if (route === undefined || own.has('authorization')) return plain(resource, wishes)

    const signal = (init?.signal === undefined ? given?.signal : init.signal) ?? undefined
    const method = wireMethod(init?.method ?? given?.method ?? 'GET')
    const attempts = replayable(input, init)

    const authorize = async (rejectedToken?: string) => {
      const special = signal !== undefined || rejectedToken !== undefined
      const request: AccessTokenRequest | undefined = special
        ? { ...route.request, signal, rejectedToken }
        : route.request
      if (source.authorize) return source.authorize({ ...request, method, url })
      return { accessToken: await unlessAborted(source.getAccessToken(request), signal), headers: {} }
    }
    const send = ({ accessToken, headers: proof }: Awaited<ReturnType<typeof authorize>>) => {
      const [target, rest, headers] = attempts.next(own)
      try {
        headers.set('authorization', `Bearer ${accessToken}`)
      } catch {
        throw new OAuthError('invalid-response', 'The source gave a token that no header can carry') // not the token itself
      }
      for (const [name, value] of Object.entries(proof)) headers.set(name, value)
      return plain(target, rest)
    }

    const first = await authorize()
    const response = await send(first)
    if (!refusesToken(response) || (response.url && routeOf(response.url) !== route) || !attempts.again) return response
    let second: typeof first
    try {
      second = await authorize(first.accessToken)
    } catch (error) {
      if (signal?.aborted) throw error
      return response // R3: no other token can be had, so the API's own answer is the answer
    }
    if (second.accessToken === first.accessToken) return response
    response.body?.cancel().catch(() => {}) // somebody else reads it, or it is broken: it is of no use to anybody here
    return send(second)
  }
}

/** A 401 that is about the token: its challenge is ours, or it shows none (CORS hides it). */
function refusesToken({ status, headers }: Response): boolean {
  if (status !== 401) return false
  const challenge = headers.get('www-authenticate')?.replace(/"(?:[^"\\]|\\.)*"/g, '""') ?? ''
  const namesScheme = /^\s*[\w!#$%&'*+.^`|~-]+(\s|,|$)/.test(challenge)
  return !namesScheme || /(^|[\s,])(bearer|dpop)(\s|,|$)/i.test(challenge)
}

/** As fetch sends it: only these are put in capitals (Fetch Standard, methods). */
function wireMethod(method: string): string {
  return /^(delete|get|head|options|post|put)$/i.test(method) ? method.toUpperCase() : method
}

/** The options as fetch reads them: inherited ones too, for they may be a Request. */
function snapshotOf(options: RequestInit | undefined): RequestInit | undefined {
  if (!options) return undefined
  const snapshot: Record<string, unknown> = {}
  for (const name in options) snapshot[name] = options[name as keyof RequestInit]
  return snapshot
}
