import { type HttpHandler, http } from 'msw'

/** What this server shall do wrong with a request. */
export interface Fault {
  /** Answers so, and does nothing. */
  readonly status?: number | undefined
  readonly headers?: Record<string, string> | undefined
  /** The body of the answer: text as it is, everything else as JSON. Default for an error status: none. */
  readonly body?: unknown
  /** Changes the answer to a token request that was served. */
  readonly change?: ((answer: Record<string, unknown>) => unknown) | undefined
  /** Network error: before anything happened, after it did, or in the middle of the answer's body. */
  readonly lost?: 'request' | 'answer' | 'rest' | undefined
  /** Never answers: without having done anything, or after it did. */
  readonly hang?: 'request' | 'answer' | undefined
  /** Milliseconds of the (fake) clock between request and answer. */
  readonly delay?: number | undefined
  /** Runs when the request has arrived, before it is served. */
  readonly meanwhile?: (() => unknown) | undefined
}

export interface TestServerOptions {
  readonly issuer?: string | undefined
  /** `expires_in`, as it is sent; default 3600. */
  readonly lifetime?: unknown
  /** Whether a refresh token is good for one use. Default: yes. */
  readonly rotate?: boolean | undefined
  /** Milliseconds for which a spent refresh token is still taken. Default 0: its reuse revokes the whole family. */
  readonly grace?: number | undefined
  /** The client's secret; `undefined` for a public client. Default `client-secret`. */
  readonly secret?: string | undefined
  /** Milliseconds that the server's clock is ahead. */
  readonly skew?: number | undefined
}

type Endpoint = 'token' | 'discovery' | 'revocation'
type Answer = { status: number; body: Record<string, unknown>; headers?: Record<string, string> }
interface Family {
  readonly current: Set<string>
  readonly spent: Map<string, number>
  revoked: boolean
}

export const CLIENT_ID = 'client'
export const USER = { username: 'alice', password: 'correct horse' }

export type TestServer = ReturnType<typeof testAuthorizationServer>

/**
 * An authorization server in this process: strict about client authentication, rotation and reuse, made to fail on
 * demand, and open about all it saw. Reachable through MSW (`handlers`) or directly (`fetch`).
 */
export function testAuthorizationServer(options: TestServerOptions = {}) {
  const { issuer = 'https://as.example', grace = 0, rotate = true, skew = 0 } = options
  const secret = 'secret' in options ? options.secret : 'client-secret'
  const settings = { lifetime: 'lifetime' in options ? options.lifetime : 3600, secret, password: USER.password }
  const seen: ReturnType<typeof asSeen>[] = []
  const reuses: string[] = []
  const issued: { accessToken: string; expiresAt: number; family?: Family | undefined; revoked?: boolean }[] = []
  const families: Family[] = []
  const once: Record<Endpoint, Fault[]> = { token: [], discovery: [], revocation: [] }
  const always: Partial<Record<Endpoint, Fault>> = {}
  let serial = 0

  const newFamily = () => {
    families.push({ current: new Set(), spent: new Map(), revoked: false })
    return families.at(-1) as Family
  }
  const familyOf = (token: string) => families.find(({ current, spent }) => current.has(token) || spent.has(token))
  const newRefreshToken = (family: Family) => {
    const token = `refresh-token-${++serial}`
    family.current.add(token)
    return token
  }

  function grant(parameters: URLSearchParams, family?: Family, refreshToken?: string): Answer {
    const { lifetime } = settings
    const seconds = Number(lifetime) > 0 ? Number(lifetime) : 3600
    const accessToken = `access-token-${++serial}`
    issued.push({ accessToken, expiresAt: Date.now() + seconds * 1000, family })
    const scope = parameters.get('scope') ?? undefined
    const idToken = scope?.split(' ').includes('openid') ? unsignedIdToken() : undefined
    const body = { access_token: accessToken, token_type: 'bearer', expires_in: lifetime, scope }
    return { status: 200, body: { ...body, refresh_token: refreshToken, id_token: idToken } }
  }

  function unsignedIdToken(): string {
    const now = Math.floor((Date.now() + skew) / 1000)
    const claims = { iss: issuer, aud: CLIENT_ID, sub: USER.username, iat: now, exp: now + 300 }
    return `${[{ alg: 'RS256' }, claims].map((part) => btoa(JSON.stringify(part)).replace(/=+$/, '')).join('.')}.c2ln`
  }

  function refresh(parameters: URLSearchParams): Answer {
    const token = parameters.get('refresh_token') ?? ''
    const family = familyOf(token)
    if (!family || family.revoked) return refusal('invalid_grant')
    const spentAt = family.spent.get(token)
    if (spentAt !== undefined && Date.now() - spentAt >= grace) {
      reuses.push(token)
      family.revoked = true
      return refusal('invalid_grant', 'the refresh token was used before')
    }
    if (!rotate) return grant(parameters, family)
    if (spentAt === undefined) family.spent.set(token, Date.now())
    family.current.delete(token)
    return grant(parameters, family, newRefreshToken(family))
  }

  function token(request: Request, parameters: URLSearchParams): Answer {
    const names = [...parameters.keys()].filter((name) => name !== 'resource')
    if (request.method !== 'POST' || new Set(names).size < names.length) return refusal('invalid_request')
    if (!isClient(request.headers.get('authorization'), parameters)) return refusal('invalid_client', undefined, 401)
    switch (parameters.get('grant_type')) {
      case 'client_credentials':
        return grant(parameters)
      case 'password': {
        const [user, password] = [parameters.get('username'), parameters.get('password')]
        if (user !== USER.username || password !== settings.password) return refusal('invalid_grant', `no: ${password}`)
        const family = newFamily()
        return grant(parameters, family, newRefreshToken(family))
      }
      case 'refresh_token':
        return refresh(parameters)
      default:
        return refusal('unsupported_grant_type')
    }
  }

  function revocation(request: Request, parameters: URLSearchParams): Answer {
    if (!isClient(request.headers.get('authorization'), parameters)) return refusal('invalid_client', undefined, 401)
    const revoked = parameters.get('token') ?? ''
    const family = familyOf(revoked)
    if (family) family.revoked = true
    for (const one of issued) if (one.accessToken === revoked) one.revoked = true
    return { status: 200, body: {} }
  }

  function isClient(authorization: string | null, parameters: URLSearchParams): boolean {
    const basic = authorization?.startsWith('Basic ') && atob(authorization.slice(6)).split(':')
    if (basic) return basic.map(formDecoded).join('\n') === `${CLIENT_ID}\n${settings.secret}`
    return (
      parameters.get('client_id') === CLIENT_ID && (parameters.get('client_secret') ?? undefined) === settings.secret
    )
  }

  async function answer(request: Request): Promise<Response> {
    const path = new URL(request.url).pathname
    const endpoint: Endpoint = path === '/token' ? 'token' : path === '/revoke' ? 'revocation' : 'discovery'
    const parameters = new URLSearchParams(request.method === 'POST' ? await request.text() : '')
    seen.push(asSeen(endpoint, parameters))
    const fault = once[endpoint].shift() ?? always[endpoint] ?? {}
    await fault.meanwhile?.()
    if (fault.hang === 'request') await forEver(request.signal)
    if (fault.delay !== undefined) await new Promise((resolve) => setTimeout(resolve, fault.delay))
    if (fault.lost === 'request') return Response.error()
    const headers = { 'content-type': 'application/json', date: new Date(Date.now() + skew).toUTCString() }
    const { status = 200, body } = fault
    if ('status' in fault || 'body' in fault) {
      const text = typeof body === 'string' ? body : (JSON.stringify(body) ?? '')
      return new Response(text, { status, headers: { ...headers, ...fault.headers } })
    }
    if (endpoint === 'discovery') return path.includes('openid') ? Response.json(metadata, { headers }) : notFound()
    const served = endpoint === 'token' ? token(request, parameters) : revocation(request, parameters)
    if (fault.hang === 'answer') await forEver(request.signal)
    if (fault.lost === 'answer') return Response.error()
    const changed = served.status === 200 && fault.change ? fault.change(served.body) : served.body
    const text = JSON.stringify(changed)
    const sent = fault.lost === 'rest' ? brokenAfter(text.slice(0, 20)) : text
    return new Response(sent, { status: served.status, headers: { ...headers, ...served.headers, ...fault.headers } })
  }

  const metadata = {
    issuer,
    token_endpoint: `${issuer}/token`,
    revocation_endpoint: `${issuer}/revoke`,
    authorization_endpoint: `${issuer}/authorize`,
    id_token_signing_alg_values_supported: ['RS256'],
  }
  return {
    issuer,
    settings, // may be changed while it runs
    /** Every request, in the order of arrival. */
    requests: seen,
    tokenRequests: (grantType?: string) =>
      seen.filter((one) => one.endpoint === 'token' && (grantType === undefined || one.grantType === grantType)),
    /** Spent refresh tokens that were presented again. */
    reuses,
    /** The next requests of an endpoint, one fault each; `{}` is none. */
    next: (faults: Fault[], endpoint: Endpoint = 'token') => void once[endpoint].push(...faults),
    /** Every request from now on that `next` says nothing about; `undefined`: none. */
    always(fault: Fault | undefined, endpoint: Endpoint = 'token'): void {
      always[endpoint] = fault ?? {}
    },
    /** A refresh token that was obtained elsewhere. */
    newRefreshToken: () => newRefreshToken(newFamily()),
    /** What somebody else gets who presents this refresh token; throws when it is refused. */
    refreshElsewhere(refreshToken: string): { accessToken: string; refreshToken: string } {
      const { status, body } = refresh(new URLSearchParams({ refresh_token: refreshToken }))
      if (status !== 200) throw new Error(`refused: ${refreshToken}`)
      return { accessToken: String(body.access_token), refreshToken: String(body.refresh_token ?? refreshToken) }
    },
    /** Whether an API would take this access token now. */
    accepts: (accessToken: string) =>
      issued.some((one) => {
        const valid = one.accessToken === accessToken && Date.now() < one.expiresAt
        return valid && !one.revoked && !one.family?.revoked
      }),
    isRevoked: (refreshToken: string) => familyOf(refreshToken)?.revoked ?? false,
    /** Serves what the global fetch sends. */
    handlers: [http.all(`${issuer}/*`, ({ request }) => answer(request))] as HttpHandler[],
    /** The same without a network, for the `fetch` option: nothing but promises, so that a fake clock moves it. */
    fetch: (async (input: RequestInfo | URL, init?: RequestInit) => {
      const request = new Request(input, init)
      const response = await unlessAborted(answer(request), request.signal)
      if (response.type === 'error') throw new TypeError('fetch failed')
      return response
    }) as typeof fetch,
  }
}

function refusal(error: string, description?: string, status = 400): Answer {
  const headers: Record<string, string> = status === 401 ? { 'www-authenticate': 'Basic realm="as"' } : {}
  return { status, headers, body: { error, error_description: description } }
}

const formDecoded = (text: string) => decodeURIComponent(text.replaceAll('+', ' '))
/** One request as the server saw it. */
function asSeen(endpoint: Endpoint, parameters: URLSearchParams) {
  const [grantType, refreshToken] = ['grant_type', 'refresh_token'].map((name) => parameters.get(name) ?? undefined)
  return { at: Date.now(), endpoint, grantType, refreshToken, parameters }
}

const notFound = () => new Response('not found', { status: 404 })
const forEver = (signal: AbortSignal) => unlessAborted(new Promise<never>(() => {}), signal)

function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    promise.then(resolve, reject)
  })
}

function brokenAfter(text: string): ReadableStream<Uint8Array> {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
  const writer = writable.getWriter()
  const broken = writer.write(new TextEncoder().encode(text)).then(() => writer.abort(new TypeError('terminated')))
  void broken.catch(() => {})
  return readable
}
