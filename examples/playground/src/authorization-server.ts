import { once } from 'node:events'
import { createServer } from 'node:http'
import Provider, { type JWKS } from 'oidc-provider'
import { type Fault, Faults, type RequestEntry } from './faults.ts'
import { serveLoginPages } from './login-pages.ts'
import { createMemory } from './memory-adapter.ts'
import { registerPasswordGrant } from './password-grant.ts'
import { type Api, providerConfiguration } from './provider-configuration.ts'

export interface AuthorizationServerOptions {
  /** Default 127.0.0.1. */
  host?: string
  /** Default: any that is free. */
  port?: number
  /** Resource indicators (RFC 8707), each with the scopes `api:read` and `api:write` unless it says otherwise. */
  apis?: (string | Api)[]
  /** Whole seconds; default 5. */
  accessTokenTTL?: number
  /** Whole seconds, counted anew by every rotation; default 3600. */
  refreshTokenTTL?: number
  /** Of the confidential client `web`; without any it does not exist. */
  redirectUris?: string[]
  /** Whose pages may call the server; their `/` and `/callback` are redirect URIs of `spa` and `spa-dpop`. */
  spaOrigins?: string[]
  /** Whether every DPoP proof needs a nonce of the server (RFC 9449 section 8); default false. */
  dpopNonce?: boolean
  /** What every answer has besides; read anew each time. */
  headers?: Record<string, string>
  /** Public keys of `web`, for what it signs. */
  webKeys?: JWKS['keys']
  /** Told of the ends of sessions, for `web` and `spa`; their ID tokens then have a `sid`. Default: nobody is. */
  backChannelLogoutUri?: string
  /** Sees every request, and may change what is asked and answered. Default: nothing does. */
  middleware?: Parameters<Provider['use']>[0]
}

export interface AuthorizationServer {
  issuer: string
  provider: Provider
  /** Every request since the start, oldest first. */
  log: RequestEntry[]
  /** How many spent refresh tokens were presented again. */
  readonly reuses: number
  /** How many token requests came that are as the filter says. */
  tokenRequests(filter?: Partial<RequestEntry>): number
  /** What the token endpoint does wrong from now on; nothing makes it well again. */
  fault(fault?: Fault): void
  /** How long access tokens live that it issues from now on; whole seconds. */
  tokensLive(seconds: number): void
  /** Ends every user's grant and sign-in; tokens of machines, and JWTs until they expire, stay good. */
  revokeAll(): void
  /** Refuses all connections, and cuts those that there are, until `back()`. */
  away(): Promise<void>
  back(): Promise<void>
  stop(): Promise<void>
}

/** A port of those that the system gives to nobody who wants any: it is still free when the server has been away. */
async function anyPort(listen: (port: number) => Promise<number>): Promise<number> {
  for (;;) {
    try {
      return await listen(20_000 + Math.floor(Math.random() * 12_000))
    } catch (error) {
      if (Object(error).code !== 'EADDRINUSE') throw error
    }
  }
}

/** An authorization server on the loopback interface that strictly rotates refresh tokens and forgets all in the end. */
export async function startAuthorizationServer(options: AuthorizationServerOptions = {}): Promise<AuthorizationServer> {
  const { host = '127.0.0.1', port = 0, refreshTokenTTL = 3600 } = options
  const {
    redirectUris = [],
    spaOrigins = [],
    dpopNonce = false,
    headers = {},
    webKeys = [],
    backChannelLogoutUri,
  } = options
  let { accessTokenTTL = 5 } = options
  const apis = (options.apis ?? []).map((api) =>
    typeof api === 'string' ? { resource: api, scopes: ['api:read', 'api:write'] } : api,
  )

  const server = createServer()
  const listen = async (at: number) => {
    server.listen(at, host)
    await once(server, 'listening')
    const address = server.address()
    return typeof address === 'object' && address ? address.port : at
  }
  const away = async () => {
    if (!server.listening) return
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  }

  const ownPort = await (port === 0 ? anyPort(listen) : listen(port))
  const issuer = `http://${host}:${ownPort}`
  const memory = createMemory()
  const provider = new Provider(
    issuer,
    providerConfiguration({
      apis,
      accessTokenTTL: () => accessTokenTTL,
      refreshTokenTTL,
      redirectUris,
      spaOrigins,
      dpopNonce,
      webKeys,
      backChannelLogoutUri,
      memory,
    }),
  )
  const faults = new Faults(provider)
  if (options.middleware) provider.use(options.middleware)
  serveLoginPages(provider)
  registerPasswordGrant(provider, apis, () => accessTokenTTL)

  let reuses = 0
  const spent = new Set<unknown>()
  provider.on('refresh_token.consumed', (refreshToken) => spent.add(refreshToken.jti))
  provider.on('grant.error', (ctx, error) => {
    if (error.error === 'invalid_grant' && spent.has(ctx.oidc.body?.refresh_token)) reuses += 1
  })
  const answer = provider.callback()
  server.on('request', (request, response) => {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
    void answer(request, response)
  })

  return {
    issuer,
    provider,
    log: faults.log,
    get reuses() {
      return reuses
    },
    tokenRequests: (filter) => faults.tokenRequests(filter),
    fault: (fault) => faults.set(fault),
    tokensLive: (seconds) => {
      accessTokenTTL = seconds
    },
    revokeAll: () =>
      memory.forget(['Grant', 'Session', 'RefreshToken', 'AccessToken', 'AuthorizationCode', 'DeviceCode']),
    away,
    back: async () => {
      if (!server.listening) await listen(ownPort)
    },
    stop: away,
  }
}
