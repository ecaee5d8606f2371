import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import OAuth2Server from '@node-oauth/oauth2-server'
import { type CryptoKey, jwtVerify } from 'jose'
import { onTestFinished } from 'vitest'

type Request = OAuth2Server.Request
type Token = OAuth2Server.Token

/** What the server was asked for at its token endpoint. */
export interface SeenRequest {
  grantType: string
  status: number
  refreshToken?: string | undefined
}

export interface NodeOAuthServer {
  issuer: string
  /** There is no discovery: what a client has to know. */
  metadata: { token_endpoint: string; authorization_endpoint: string }
  /** Requests to the token endpoint, oldest first. */
  seen: SeenRequest[]
  /** Whether an API would take this access token. */
  accepts(accessToken: string): Promise<boolean>
}

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const USER = { id: 'ada', username: 'ada', password: 'lovelace' }

/** A second authorization server, by other people: @node-oauth/oauth2-server on loopback, until the test is finished. */
export async function startNodeOAuthServer(options: {
  accessTokenLifetime?: number
  redirectUri: string
  /** Of the client `robot`, whose assertions it signs for (RFC 7523). Default: there is no such grant. */
  assertionKey?: CryptoKey
}): Promise<NodeOAuthServer> {
  const { redirectUri, accessTokenLifetime = 3600, assertionKey } = options
  const clients = [
    { id: 'web', secret: 'web-secret', grants: ['authorization_code', 'refresh_token'], redirectUris: [redirectUri] },
    { id: 'page', grants: ['authorization_code', 'refresh_token'], redirectUris: [redirectUri] },
    { id: 'worker', secret: 'worker-secret', grants: ['client_credentials'] },
    { id: 'cli', secret: 'cli-secret', grants: ['password', 'refresh_token'] },
    { id: 'robot', grants: [JWT_BEARER] },
  ]
  const codes = new Map<string, OAuth2Server.AuthorizationCode>()
  const tokens = new Map<string, Token>()
  const refreshTokens = new Map<string, OAuth2Server.RefreshToken>()
  const model = {
    async getClient(id: string, secret?: string) {
      const client = clients.find((one) => one.id === id)
      return client && (!secret || client.secret === secret) ? client : null
    },
    async getUser(username: string, password: string) {
      return username === USER.username && password === USER.password ? USER : null
    },
    getUserFromClient: async ({ id }: OAuth2Server.Client) => ({ id }),
    validateScope: async (_user: OAuth2Server.User, _client: OAuth2Server.Client, scope?: string[]) =>
      scope?.every((one) => ['orders', 'invoices'].includes(one)) === false ? false : (scope ?? ['orders']),
    async saveAuthorizationCode(
      code: OAuth2Server.AuthorizationCode,
      client: OAuth2Server.Client,
      user: OAuth2Server.User,
    ) {
      const saved = { ...code, client, user }
      codes.set(code.authorizationCode, saved)
      return saved
    },
    getAuthorizationCode: async (code: string) => codes.get(code),
    revokeAuthorizationCode: async ({ authorizationCode }: OAuth2Server.AuthorizationCode) =>
      codes.delete(authorizationCode),
    async saveToken(token: Token, client: OAuth2Server.Client, user: OAuth2Server.User) {
      const saved = { ...token, client, user }
      tokens.set(token.accessToken, saved)
      if (saved.refreshToken) refreshTokens.set(saved.refreshToken, { ...saved, refreshToken: saved.refreshToken })
      return saved
    },
    getRefreshToken: async (token: string) => refreshTokens.get(token),
    revokeToken: async ({ refreshToken }: OAuth2Server.RefreshToken) => refreshTokens.delete(refreshToken),
    getAccessToken: async (token: string) => tokens.get(token),
    generateAccessToken: async () => `access-${randomUUID()}`,
  }
  class JwtBearer extends OAuth2Server.AbstractGrantType {
    async handle(request: Request, client: OAuth2Server.Client) {
      const verify = async () => {
        if (!assertionKey) throw new Error('nobody is trusted')
        return jwtVerify(request.body.assertion, assertionKey, { issuer: client.id, audience: issuer })
      }
      const { payload } = await verify().catch(() => {
        throw new OAuth2Server.InvalidGrantError('the assertion is not good')
      })
      const scope = (await this.validateScope({ id: payload.sub }, client, this.getScope(request))) || []
      const accessToken = await this.generateAccessToken(client, { id: payload.sub }, scope)
      const token = { accessToken, accessTokenExpiresAt: this.getAccessTokenExpiresAt(), scope }
      return model.saveToken(token as Token, client, { id: payload.sub })
    }
  }
  const oauth = new OAuth2Server({
    model,
    accessTokenLifetime,
    extendedGrantTypes: { [JWT_BEARER]: JwtBearer },
    requireClientAuthentication: { authorization_code: false, refresh_token: false, [JWT_BEARER]: false },
    authenticateHandler: { handle: async () => USER }, // whoever comes is signed in
  } as unknown as OAuth2Server.ServerOptions)

  const seen: SeenRequest[] = []
  const server = createServer(async (incoming, outgoing) => {
    const { pathname, searchParams } = new URL(incoming.url ?? '', 'http://127.0.0.1')
    const body = Object.fromEntries(new URLSearchParams(await text(incoming)))
    const request = requestOf(incoming, Object.fromEntries(searchParams), body)
    const response = new OAuth2Server.Response()
    const answer = pathname === '/authorize' ? oauth.authorize(request, response) : oauth.token(request, response)
    await answer.catch(() => {}) // it is in the response
    const status = response.status ?? 200
    if (pathname === '/token') {
      seen.push({ grantType: String(body.grant_type), status, refreshToken: body.refresh_token })
    }
    outgoing.writeHead(status, { 'content-type': 'application/json', ...response.headers })
    outgoing.end(JSON.stringify(response.body ?? {}))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(async () => {
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  })
  const address = server.address()
  const issuer = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`
  return {
    issuer,
    metadata: { token_endpoint: `${issuer}/token`, authorization_endpoint: `${issuer}/authorize` },
    seen,
    async accepts(accessToken) {
      const request = new OAuth2Server.Request({
        method: 'GET',
        query: {},
        headers: { authorization: `Bearer ${accessToken}` },
      })
      return oauth.authenticate(request, new OAuth2Server.Response()).then(
        () => true,
        () => false,
      )
    },
  }
}

function requestOf({ method = '', headers }: IncomingMessage, query: Record<string, string>, body: unknown): Request {
  return new OAuth2Server.Request({ method, query, body, headers: headers as Record<string, string> })
}
