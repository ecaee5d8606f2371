import { type ApiRoute, type Apis, absoluteUrl, apiRoutes } from './api-routes.ts'
import { unlessAborted } from './deadline.ts'
import { LoginRequiredError, OAuthError } from './errors.ts'
import type { AccessTokenRequest, TokenSource } from './token-source.ts'

export interface AuthenticatedFetchOptions {
  /** Required: where a token may go, and which. Everything else is fetched without one. */
  apis: Apis
  /** The fetch underneath. Default: the platform's. */
  fetch?: typeof fetch | undefined
  /** What turns an API's challenge into another token: `stepUp()`. Default: the challenge is the answer. */
  stepUp?: StepUp | undefined
}

/** An API's answer, which may be a challenge, and what it is an answer to. */
export interface Answered {
  /** Its body is not to be read. */
  readonly response: Response
  readonly url: string
  readonly accessToken: string
  /** Which token that is; undefined: the source's own. */
  readonly wanted: AccessTokenRequest | undefined
  /** Ends this caller's wait. */
  readonly signal: AbortSignal | undefined
}

/** Gives which token is worth one more attempt; undefined: the answer stays. What it rejects with, the fetch does. */
export type StepUp = (answered: Answered) => Promise<AccessTokenRequest | undefined>

/** What a token's headers are made for, and depend on. */
export type Target = Pick<Request, 'url' | 'method' | 'headers' | 'redirect' | 'referrer' | 'referrerPolicy'>

/** Sends to one URL, with the token that its route wants. */
type Send = (target: Target, init: RequestInit, route: ApiRoute, submit: Submit) => Promise<Response>

/** Hands one attempt to the fetch underneath, with the headers of its token laid over those of the request. */
export type Submit = (own: Headers, init: RequestInit) => Promise<Response>

/** How a platform is used that shows redirects. */
export interface Redirects {
  /** What may stand for a Request until one is needed; undefined: only the Request says it all. */
  addressOf(input: Parameters<typeof fetch>[0], init: RequestInit | undefined, url: string): Target | undefined
  follow(first: {
    /** A Request, or what `addressOf` gave. */
    target: Target | Request
    /** What only the fetch underneath knows of it. */
    init: RequestInit
    route: ApiRoute
    /** Whether the body of the request can be sent again. */
    canSendAgain: boolean
    routeOf: (url: string) => ApiRoute | undefined
    send: Send
    /** Submits a request, and leaves its body unread where that can be sent again. */
    asRequest: (request: Request) => Submit
    /** The fetch underneath. */
    plain: typeof fetch
  }): Promise<Response>
}

type Authorization = Awaited<ReturnType<NonNullable<TokenSource['authorize']>>>

/**
 * What the `authenticatedFetch` of every package is made of (RFC 6750 section 2.1, RFC 9449 section 7). Without `redirects`
 * the platform follows them by itself; what is signed for one URL then follows none.
 */
export function tokenFetch(
  source: TokenSource,
  options: AuthenticatedFetchOptions,
  redirects?: Redirects,
): typeof fetch {
  const routeOf = apiRoutes(options?.apis)
  const plain: typeof fetch = (input, init) => (options.fetch ?? fetch)(input, init)

  return async (input, init) => {
    const given = input instanceof Request ? input : absoluteUrl(`${input}`)
    const url = given && ('url' in given ? given.url : given.href)
    const route = url && routeOf(url)
    if (!route) return plain(input, init)
    // Everything is read once: what the caller changes afterwards changes nothing, and all attempts have the same bytes.
    const target = redirects?.addressOf(input, init, url) ?? new Request(given, init)
    // What only the fetch underneath knows is passed on to it.
    const { body, headers: _, ...rest } = init ?? {}
    if (target.headers.has('authorization')) return plain(target as Request, rest)
    // A stream and, in Node, an async iterable can be read once; FormData and the like are neither.
    const canSendAgain = !(Symbol.asyncIterator in Object(body))

    // That of a request which nobody can abort costs a platform more than all the rest here.
    const signal = init?.signal ?? (given === input ? (target as Request).signal : undefined)

    let person = personOf(source)

    const asRequest =
      (request: Request): Submit =>
      (own, init) => {
        // Never the request itself: whoever follows a redirect makes the next one of its headers.
        const sent = canSendAgain ? request.clone() : new Request(request)
        for (const [name, value] of own) sent.headers.set(name, value)
        return plain(sent, init)
      }

    const send: Send = async ({ method, redirect, referrer, referrerPolicy, url }, init, route, submit) => {
      let token = ''
      let mayProveAgain = canSendAgain
      const attempt = async (wanted: AccessTokenRequest | undefined, last?: Response): Promise<Response> => {
        let own: Headers
        try {
          signal?.throwIfAborted()
          const asked = source.authorize?.({ ...wanted, method, url }) ?? source.getAccessToken(wanted)
          const answer = await unlessAborted<string | Authorization>(asked, signal)
          const given: Partial<Authorization> & { accessToken: string } =
            typeof answer === 'string' ? { accessToken: answer } : answer
          if (last && wanted?.rejectedToken === given.accessToken) return last
          person ??= personOf(source)
          // What one person asked for is not done as another, who has signed in meanwhile.
          if (personOf(source) !== person) throw new LoginRequiredError('session-ended', 'Somebody else has signed in')
          token = given.accessToken
          own = headersOf(token, given.headers)
        } catch (error) {
          if (!last || signal?.aborted) throw error
          return last // R3: no other token can be had, so the API's own answer is the answer
        }
        last?.body?.cancel().catch(() => {}) // somebody else reads it, or it is broken: it is of no use to anybody here
        // A proof is for one URL, and a platform that follows redirects takes it along. Options take the referrer away.
        const isSigned = [...own].length > 1 && (init.redirect ?? redirect) === 'follow'
        const how = isSigned ? { ...init, redirect: 'error' as const, referrer, referrerPolicy } : init
        const response = await submit(own, how)
        if (!source.observe?.({ url, response }) || !mayProveAgain) return response
        mayProveAgain = false
        return attempt(wanted, response)
      }

      const { wanted } = route
      let response = await attempt(wanted)
      // Where a redirect has led is nobody to judge the token.
      const isElsewhere = response.url !== url && response.url && routeOf(response.url) !== route
      if (!canSendAgain || isElsewhere) return response
      if (refusesToken(response)) response = await attempt({ ...wanted, rejectedToken: token }, response)
      const other = await options.stepUp?.({ response, url, accessToken: token, wanted, signal })
      return other ? attempt(other, response) : response
    }
    if (redirects) return redirects.follow({ target, init: rest, route, canSendAgain, routeOf, send, asRequest, plain })
    return send(target, rest, route, asRequest(target as Request))
  }
}

/** Whose tokens a source gives, where the server says so. */
export function personOf(source: TokenSource): unknown {
  return Object(source).session?.claims?.sub
}

/** Those that carry a token: its own, else as `Bearer` (RFC 6750 section 2.1). */
export function headersOf(accessToken: string, headers?: Record<string, string>): Headers {
  try {
    const own = new Headers(headers)
    if (!own.has('authorization')) own.set('authorization', `Bearer ${accessToken}`)
    return own
  } catch {
    throw new OAuthError('invalid-response', 'The source gave a token that no header can carry') // not the token itself
  }
}

/** A 401 that is about the token: its challenge is ours, or it names no scheme (CORS hides it). */
function refusesToken({ status, headers }: Response): boolean {
  const challenge = headers.get('www-authenticate') ?? ''
  // insufficient_user_authentication (RFC 9470) is about the person, use_dpop_nonce (RFC 9449) about the proof.
  if (status !== 401 || /insufficient_user_auth|use_dpop_nonce/.test(challenge)) return false
  // Quoted strings are gone first, unfinished ones to the end, so that none is looked at twice.
  return /^(?![^\s,=]+([\s,]|$))|(^|[\s,])(bearer|dpop)([\s,]|$)/i.test(challenge.replace(/"(\\.?|[^"\\])*"?/g, ''))
}
