import { type Apis, absoluteUrl, apiRoutes } from './api-routes.ts'
import { unlessAborted } from './deadline.ts'
import { OAuthError } from './errors.ts'
import type { TokenSource } from './token-source.ts'

export interface AuthenticatedFetchOptions {
  /** Required: where a token may go, and which. Everything else is fetched without one. */
  apis: Apis
  /** The fetch underneath. Default: the platform's. */
  fetch?: typeof fetch | undefined
}

type Authorization = Awaited<ReturnType<NonNullable<TokenSource['authorize']>>>

/**
 * A fetch that sends a valid token wherever `apis` says so (RFC 6750 section 2.1) and, after a 401, tries once more with
 * another one. It rejects as fetch does, and with an `OAuthError` where no token can be had.
 */
export function authenticatedFetch(source: TokenSource, options: AuthenticatedFetchOptions): typeof fetch {
  const routeOf = apiRoutes(options?.apis)
  const plain: typeof fetch = (input, init) => (options.fetch ?? fetch)(input, init)

  return async (input, init) => {
    const given = input instanceof Request ? input : absoluteUrl(`${input}`)
    const route = given && routeOf('url' in given ? given.url : given.href)
    if (!route) return plain(input, init)
    // Everything is read once: what the caller changes afterwards changes nothing, and both attempts have the same bytes.
    const request = new Request(given, init)
    const { headers, method, signal, url } = request
    // What only the fetch underneath knows is passed on to it.
    const { body, headers: _, ...rest } = init ?? {}
    if (headers.has('authorization')) return plain(request, rest)
    // A stream and, in Node, an async iterable can be read once; FormData and the like are neither.
    const again = !(Symbol.asyncIterator in Object(body))

    const authorize = async (rejectedToken?: string) => {
      signal.throwIfAborted()
      const wanted = rejectedToken === undefined ? route.wanted : { ...route.wanted, rejectedToken }
      const asked = source.authorize?.({ ...wanted, method, url }) ?? source.getAccessToken(wanted)
      const answer = await unlessAborted<string | Authorization>(asked, signal)
      const { accessToken, headers } = typeof answer === 'string' ? { accessToken: answer, headers: {} } : answer
      try {
        return { accessToken, own: new Headers({ authorization: `Bearer ${accessToken}`, ...headers }) }
      } catch {
        throw new OAuthError('invalid-response', 'The source gave a token that no header can carry') // not the token itself
      }
    }
    const send = (attempt: Request, { own }: { own: Headers }) => {
      for (const [name, value] of own) attempt.headers.set(name, value)
      return plain(attempt, rest)
    }

    const first = await authorize()
    const response = await send(again && request.body ? request.clone() : request, first)
    if (!refusesToken(response) || (response.url && routeOf(response.url) !== route) || !again) return response
    try {
      const second = await authorize(first.accessToken)
      if (second.accessToken === first.accessToken) return response
      response.body?.cancel().catch(() => {}) // somebody else reads it, or it is broken: it is of no use to anybody here
      return send(request, second)
    } catch (error) {
      if (signal.aborted) throw error
      return response // R3: no other token can be had, so the API's own answer is the answer
    }
  }
}

/** A 401 that is about the token: its challenge is ours, or it names no scheme (CORS hides it). */
function refusesToken({ status, headers }: Response): boolean {
  const challenge = headers.get('www-authenticate')?.replace(/"(\\.|[^"])*"/g, '') ?? ''
  return status === 401 && /^(?![^\s,=]+([\s,]|$))|(^|[\s,])(bearer|dpop)([\s,]|$)/i.test(challenge)
}
