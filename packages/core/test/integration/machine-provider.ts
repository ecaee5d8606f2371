import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type CryptoKey, decodeJwt, jwtVerify } from 'jose'
import Provider, { type Client, errors, type TokenEndpointGrantContext } from 'oidc-provider'
import { onTestFinished } from 'vitest'
import { createMemory } from '../../../../examples/playground/src/memory-adapter.ts'

export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
export const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
const APIS = ['urn:orders', 'urn:invoices']

export interface MachineProvider {
  issuer: string
  /** An access token of a person, as another client would have got it. */
  tokenOf(accountId: string): Promise<string>
  revoke(token: string): Promise<void>
  /** Whose token it is, who acts, and for what; undefined: it is not good. */
  about(token: string): Promise<{ sub: string; act: unknown; aud: unknown; scope: unknown } | undefined>
  /** Grant types of the token requests that came, oldest first. */
  seen: string[]
}

interface Exchange {
  subject_token?: string
  subject_token_type?: string
  actor_token?: string
  actor_token_type?: string
  audience?: string
  requested_token_type?: string
}

/**
 * oidc-provider on loopback, until the test is finished, with token exchange (RFC 8693) and JWT bearer grants (RFC 7523):
 * it authenticates clients, parses requests and keeps tokens; what the two grants check is written here.
 */
export async function startMachineProvider(trusted: Record<string, CryptoKey> = {}): Promise<MachineProvider> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const issuer = `http://127.0.0.1:${Object(server.address()).port}`
  const signing = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' })
  const noRedirects = { redirect_uris: [], response_types: [] }
  const confidential = { ...noRedirects, client_secret: 'a-secret-of-the-service' }
  const provider = new Provider(issuer, {
    adapter: createMemory().adapter,
    jwks: { keys: [{ ...signing, kty: 'EC', use: 'sig', alg: 'ES256' }] },
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    cookies: { keys: [randomBytes(32).toString('hex')] },
    clients: [
      { ...confidential, client_id: 'service', grant_types: [TOKEN_EXCHANGE, JWT_BEARER] },
      { ...confidential, client_id: 'barred', grant_types: ['client_credentials'] },
      { ...noRedirects, client_id: 'tool', grant_types: [TOKEN_EXCHANGE], token_endpoint_auth_method: 'none' },
    ],
    scopes: ['read', 'write'],
    ttl: { AccessToken: 60, ClientCredentials: 60, Grant: 600 },
    features: { devInteractions: { enabled: false }, clientCredentials: { enabled: true } },
    extraTokenClaims: (_ctx, token) => acting.get(token),
  })
  const acting = new WeakMap<object, { act: { sub: string } }>()

  async function saved(client: Client, accountId: string, gty: string, more: object, act?: string): Promise<string> {
    const grant = new provider.Grant({ accountId, clientId: client.clientId })
    const token = new provider.AccessToken({ client, accountId, gty, grantId: await grant.save(), ...more })
    if (act !== undefined) acting.set(token, { act: { sub: act } })
    return token.save()
  }

  async function issue(ctx: TokenEndpointGrantContext<Exchange>, accountId: string, act?: string): Promise<void> {
    const { client, params } = ctx.oidc
    const [aud = '', another] = [params.resource ?? params.audience ?? 'urn:orders'].flat()
    if (another || !APIS.includes(aud)) throw new errors.InvalidTarget()
    const { scope = 'read' } = params
    const access_token = await saved(client, accountId, `${params.grant_type}`, { aud, scope }, act)
    ctx.body = { access_token, token_type: 'Bearer', expires_in: 60, scope }
  }

  const exchanged = [
    ...['subject_token', 'subject_token_type', 'actor_token', 'actor_token_type'],
    ...['requested_token_type', 'audience', 'resource', 'scope'],
  ]
  const exchange = async (ctx: TokenEndpointGrantContext<Exchange>) => {
    const { params } = ctx.oidc
    const found = async (token?: string, type?: string) => {
      const known = type === ACCESS_TOKEN && token ? await provider.AccessToken.find(token) : undefined
      if (!known?.isValid) throw new errors.InvalidRequest('subject or actor token is not good')
      return known.accountId
    }
    const subject = await found(params.subject_token, params.subject_token_type)
    const actor = params.actor_token ? await found(params.actor_token, params.actor_token_type) : undefined
    await issue(ctx, subject, actor)
    Object.assign(Object(ctx.body), { issued_token_type: ACCESS_TOKEN })
  }
  provider.registerGrantType<Exchange>(TOKEN_EXCHANGE, exchange, exchanged, ['audience', 'resource'])

  const spent = new Set<unknown>()
  const assert = async (ctx: TokenEndpointGrantContext<{ assertion?: string }>) => {
    const { assertion = '' } = ctx.oidc.params
    try {
      const key = trusted[`${decodeJwt(assertion).iss}`]
      if (!key) throw new Error('nobody whom the server trusts')
      const requiredClaims = ['sub', 'exp', 'jti']
      const { payload } = await jwtVerify(assertion, key, { audience: issuer, requiredClaims, maxTokenAge: 300 })
      if (spent.has(payload.jti)) throw new Error('it was presented before')
      spent.add(payload.jti)
      await issue(ctx, `${payload.sub}`)
    } catch (error) {
      throw new errors.InvalidGrant(`the assertion is not good: ${error}`)
    }
  }
  provider.registerGrantType(JWT_BEARER, assert, ['assertion', 'scope'])

  const seen: string[] = []
  provider.use(async (ctx, next) => {
    await next()
    const { grant_type } = Object(Object(ctx.oidc).params)
    if (ctx.path === '/token') seen.push(`${grant_type}`)
  })
  const answer = provider.callback()
  server.on('request', (request, response) => void answer(request, response))
  onTestFinished(async () => {
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  })

  return {
    issuer,
    seen,
    async tokenOf(accountId) {
      const client = await provider.Client.find('service')
      if (!client) throw new Error('no such client')
      return saved(client, accountId, 'authorization_code', { scope: 'read write' })
    },
    async revoke(token) {
      await (await provider.AccessToken.find(token))?.destroy()
    },
    async about(token) {
      const found = await provider.AccessToken.find(token)
      return found && { sub: found.accountId, act: found.extra?.act, aud: found.aud, scope: found.scope }
    },
  }
}
