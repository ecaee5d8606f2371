import { type ApiRoute, type Apis, absoluteUrl, apiRoutes } from './api-routes.ts'
import { unlessAborted } from './deadline.ts'
import { LoginRequiredError, OAuthError } from './errors.ts'
import type { AccessTokenRequest, TokenSource } from './token-source.ts'

/** What `authenticatedFetch` takes. */
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
export interface Target extends Pick<Request, 'url' | 'method' | 'redirect' | 'referrer' | 'referrerPolicy'> {
  readonly headers: Headers | undefined
}

/** What is sent to one URL, with the token that its route wants. */
export interface Hop {
  /** A Request, or what says as much. */
  readonly target: Target
  /** What only the fetch underneath knows of it. */
  readonly init: RequestInit
  readonly route: ApiRoute
  /** Whether its body can be sent again. */
  readonly canSendAgain: boolean
  /** Ends the caller's wait. */
  readonly signal: AbortSignal | undefined
  /** On whose behalf, where that is known. */
  person?: unknown
  /** The token that was sent last. */
  accessToken: string
  /** How many redirects led here, if any. */
  readonly redirects?: number
  /** Whether one of them led to another origin: no token goes anywhere from there, not even back. */
  readonly hasLeft?: boolean
}

/** How a platform is used that shows redirects. */
export interface Redirects {
  /** What is sent first; the address and the options may stand for a Request until one is needed. */
  prepare: typeof prepare
  /** Goes where an answer says, and on from there. */
  follow(
    hop: Hop,
    answer: Response,
    by: {
      routeOf: (url: URL) => ApiRoute | undefined
      send: (hop: Hop) => Promise<Response>
      /** The fetch underneath. */
      plain: typeof fetch
    },
  ): Promise<Response>
}

type Authorization = Awaited<ReturnType<NonNullable<TokenSource['authorize']>>>
type Answer = Pick<Authorization, 'accessToken'> & Partial<Authorization>

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

  /** Sends it with a token; `last` is the answer that another token, or another proof, is to change. */
  async function send(
    hop: Hop,
    wanted: AccessTokenRequest | undefined = hop.route.wanted,
    last?: Response,
    mayProveAgain = hop.canSendAgain,
  ): Promise<Response> {
    let given: Answer
    let headers: Headers
    try {
      hop.signal?.throwIfAborted()
      given = answered(await unlessAborted(ask(hop.target, wanted), hop.signal))
      if (last && wanted?.rejectedToken === given.accessToken) return last
      headers = authorized(hop, given)
    } catch (error) {
      if (!last || hop.signal?.aborted) throw error
      return last // R3: no other token can be had, so the API's own answer is the answer
    }
    last?.body?.cancel().catch(() => {}) // somebody else reads it, or it is broken: it is of no use to anybody here
    let response = await submit(hop, headers, given.headers)
    // Once for each token: it may be long since the last nonce, above all where a person was asked.
    if (source.observe?.({ url: hop.target.url, response }) && mayProveAgain) {
      response = await send(hop, wanted, response, false)
    }
    return response.ok || last ? response : settled(hop, response)
  }

  function ask({ url, method }: Target, wanted: AccessTokenRequest | undefined): Promise<string | Answer> {
    return source.authorize?.({ ...wanted, method, url }) ?? source.getAccessToken(wanted)
  }

  function authorized(hop: Hop, { accessToken, headers }: Answer): Headers {
    const person = signedInTo(source)
    hop.person ??= person
    // What one person asked for is not done as another, who has signed in meanwhile.
    if (person !== hop.person) throw new LoginRequiredError('session-ended', 'Somebody else has signed in')
    hop.accessToken = accessToken
    return headersOf(accessToken, headers, hop.target.headers)
  }

  function submit(hop: Hop, headers: Headers, own: Answer['headers']): Promise<Response> {
    const { target, canSendAgain } = hop
    const init = own ? signedOptions(hop, own) : hop.init
    if (!(target instanceof Request)) return plain(target.url, { ...init, headers })
    // Never the request itself: whoever follows a redirect makes the next one of its headers.
    const sent = canSendAgain ? target.clone() : new Request(target)
    for (const [name, value] of headers) sent.headers.set(name, value)
    return plain(sent, init)
  }

  /** What comes of an answer that is not ok: another one where it says what is wrong with the token, or where it redirects. */
  async function settled(hop: Hop, first: Response): Promise<Response> {
    // Where a redirect has led is nobody to judge the token.
    const isElsewhere = routeOf(absoluteUrl(first.url)) !== hop.route && first.redirected
    const last = hop.canSendAgain && !isElsewhere ? await judged(hop, first) : first
    return redirects?.follow(hop, last, { routeOf, send, plain }) ?? last
  }

  /** The answer, or another one where that says what is wrong with the token. */
  async function judged(hop: Hop, first: Response): Promise<Response> {
    const { wanted } = hop.route
    const again = { ...wanted, rejectedToken: hop.accessToken }
    const response = refusesToken(first) ? await send(hop, again, first) : first
    const { accessToken, signal, target } = hop
    const other = await options.stepUp?.({ response, url: target.url, accessToken, wanted, signal })
    if (!other) return response
    if (typeof hop.person === 'number') hop.person = undefined // the login that it took was another one
    return send(hop, other, response)
  }

  function begin(input: RequestInfo | URL, init: RequestInit | undefined): Promise<Response> {
    const request = input instanceof Request ? input : undefined
    const address = absoluteUrl(request ? request.url : `${input}`)
    const route = routeOf(address)
    if (!address || !route) return plain(input, init)
    // Everything is read once: what the caller changes afterwards changes nothing, and all attempts have the same bytes.
    const { target, init: rest } = (redirects?.prepare ?? prepare)(request ?? address, init)
    if (target.headers?.has('authorization')) return plain(target as Request, rest)
    // A stream and, in Node, an async iterable can be read once; FormData and the like are neither.
    const canSendAgain = !(Symbol.asyncIterator in Object(init?.body))
    return send({
      target,
      init: rest,
      route,
      canSendAgain,
      // That of a request which nobody can abort costs a platform more than all the rest here.
      signal: init?.signal ?? (request && (target as Request).signal),
      person: signedInTo(source),
      accessToken: '',
    })
  }

  // Without a step of its own, for every one of them costs as much as half of the rest (`npm run bench`).
  return (input, init) => {
    try {
      return begin(input, init)
    } catch (error) {
      return Promise.reject(error)
    }
  }
}

const answered = (answer: string | Answer): Answer =>
  typeof answer === 'string' ? { accessToken: answer } : Object(answer)

/** What is sent, as a Request and what only the fetch underneath knows of it. */
export function prepare(input: Request | URL, init?: RequestInit): Pick<Hop, 'target' | 'init'> {
  const { body: _, headers: __, ...rest } = init ?? {}
  return { target: new Request(input, init), init: rest }
}

/** A proof is for one URL, and a platform that follows redirects takes it along. Options take the referrer away. */
function signedOptions({ target, init }: Hop, own: Record<string, string>): RequestInit {
  const { redirect, referrer, referrerPolicy } = target
  const isSigned = Object.keys(own).some((name) => !/^authorization$/i.test(name))
  if (!isSigned || (init.redirect ?? redirect) !== 'follow') return init
  return { ...init, redirect: 'error', referrer, referrerPolicy }
}

/** Whose tokens a source gives, where the server says so. */
export function personOf(source: TokenSource): unknown {
  return Object(source).session?.claims?.sub
}

/** The same, or else by which login. */
function signedInTo(source: TokenSource): unknown {
  return personOf(source) ?? Object(source).signedInAt
}

/** Those that carry a token, its own or as `Bearer` (RFC 6750 section 2.1), laid over `others`. */
export function headersOf(accessToken: string, own?: Record<string, string>, others?: Headers): Headers {
  try {
    if (!accessToken) throw accessToken // a source of the app's own may have none
    const all = new Headers(others)
    all.set('authorization', `Bearer ${accessToken}`)
    if (own) for (const [name, value] of Object.entries(own)) all.set(name, value)
    return all
  } catch {
    throw new OAuthError('invalid-response', 'The source gave a token that no header can carry') // not the token itself
  }
}

/** A 401 that is about the token: its challenge is ours, or it names no scheme (CORS hides it). */
function refusesToken({ status, headers }: Response): boolean {
  const challenge = headers.get('www-authenticate') ?? ''
  // insufficient_user_authentication (RFC 9470) is about the person, use_dpop_nonce and invalid_dpop_proof (RFC 9449) are
  // about the proof.
  if (status !== 401 || /insufficient_user_auth|_dpop_[np]/.test(challenge)) return false
  // Quoted strings are gone first, unfinished ones to the end, so that none is looked at twice.
  return /^(?![^\s,=]+([\s,]|$))|(^|[\s,])(bearer|dpop)([\s,]|$)/i.test(challenge.replace(/"(\\.?|[^"\\])*"?/g, ''))
}
