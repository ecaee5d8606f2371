import { memoryStore, type TokenExchangeOptions, tokenExchange } from '@keyturn/core'
import { expect, test } from 'vitest'
import { ISSUER, JWT_BEARER, MachineServer, onPlatform, TOKEN_EXCHANGE, typed } from './machine-server.ts'
import { rejection } from './sign-in-server.ts'
import { expectNone } from './visible-secrets.ts'

const put = onPlatform()

/** A service that may exchange ada's and eve's tokens, and those of two actors. */
function service(options: Partial<TokenExchangeOptions> = {}, server = new MachineServer()) {
  put(server)
  for (const name of ['ada', 'eve', 'service', 'robot']) server.subjects.set(`token-of-${name}`, name)
  const source = tokenExchange({
    issuer: ISSUER,
    clientId: 'service',
    clientSecret: 'secret',
    subjectToken: 'token-of-ada',
    ...options,
  })
  return { server, source }
}

test('a token is exchanged as RFC 8693 says: no more than is needed goes with it', async () => {
  const { server, source } = service()
  const token = await source.getAccessToken()
  expect(await source.getAccessToken()).toBe(token)
  expect(server.issued.get(token)).toEqual({ subject: 'ada', audience: [], resource: [] })
  expect(server.requests).toHaveLength(1)
  const { body, authorization } = server.requests[0] ?? {}
  expect(authorization).toBe(`Basic ${btoa('service:secret')}`)
  expect(Object.fromEntries(body ?? [])).toEqual({
    grant_type: TOKEN_EXCHANGE,
    subject_token: 'token-of-ada',
    subject_token_type: typed('access_token'),
  })
})

test('types, actor, audiences, resources and scope are sent as they are told, types by their URI', async () => {
  const { server, source } = service({
    subjectTokenType: 'id_token',
    actorToken: async () => 'token-of-service\n',
    actorTokenType: 'https://example.com/own-type',
    requestedTokenType: 'access_token',
    audience: ['orders', 'invoices'],
    resource: ['https://orders.example/', 'https://invoices.example/'],
    scope: 'read write',
  })
  expect(server.issued.get(await source.getAccessToken())).toEqual({
    subject: 'ada',
    actor: 'service',
    scope: 'read write',
    audience: ['orders', 'invoices'],
    resource: ['https://orders.example/', 'https://invoices.example/'],
  })
  expect(Object.fromEntries(server.requests[0]?.body ?? [])).toMatchObject({
    subject_token_type: typed('id_token'),
    actor_token: 'token-of-service',
    actor_token_type: 'https://example.com/own-type',
    requested_token_type: typed('access_token'),
  })
})

test('each audience, resource and scope has a token of its own, whichever call asks for it', async () => {
  const { server, source } = service({ audience: 'orders', scope: 'read' })
  const wishes = [
    {},
    { scope: 'write' },
    { resource: 'https://orders.example/' },
    { parameters: { audience: 'invoices' } },
  ]
  const tokens = await Promise.all([...wishes, ...wishes].map((wish) => source.getAccessToken(wish)))
  expect(new Set(tokens).size).toBe(4)
  expect(tokens.slice(4)).toEqual(tokens.slice(0, 4))
  expect(server.requests).toHaveLength(4)
  const issued = tokens.slice(0, 4).map((token) => server.issued.get(token))
  expect(issued).toEqual([
    { subject: 'ada', scope: 'read', audience: ['orders'], resource: [] },
    { subject: 'ada', scope: 'write', audience: ['orders'], resource: [] },
    { subject: 'ada', scope: 'read', audience: ['orders'], resource: ['https://orders.example/'] },
    { subject: 'ada', scope: 'read', audience: ['invoices'], resource: [] },
  ])
})

test('no refresh token of one exchange serves another one', async () => {
  const { server, source } = service()
  server.refreshable = true
  await source.getAccessToken()
  await source.getAccessToken({ resource: 'https://orders.example/' })
  expect(server.requests.map(({ grantType }) => grantType)).toEqual([TOKEN_EXCHANGE, TOKEN_EXCHANGE])
})

test('nothing that makes tokens differ is mixed up in one store, and what is the same is shared', async () => {
  const store = memoryStore()
  const { server } = service()
  const variants: Partial<TokenExchangeOptions>[] = [
    {},
    { subjectToken: 'token-of-eve' },
    { subjectTokenType: 'jwt' },
    { actorToken: 'token-of-service' },
    { actorToken: 'token-of-robot' },
    { actorToken: () => 'token-of-service' },
    { actorToken: 'token-of-service', actorTokenType: 'jwt' },
    { requestedTokenType: 'access_token' },
    { audience: 'orders' },
    { audience: ['orders', 'invoices'] },
    { sessionKey: 'another' },
    { subjectToken: () => 'token-of-ada' },
  ]
  const ask = (variant: Partial<TokenExchangeOptions>) => service({ ...variant, store }, server).source.getAccessToken()
  const tokens: string[] = []
  for (const variant of variants) tokens.push(await ask(variant))
  expect(new Set(tokens).size).toBe(variants.length)
  expect(server.requests).toHaveLength(variants.length)
  expect(server.issued.get(tokens[1] ?? '')?.subject).toBe('eve')
  for (const [index, variant] of variants.entries()) expect(await ask(variant)).toBe(tokens[index])
  expect(server.requests).toHaveLength(variants.length)
})

test('no subject or actor token is in the name or the value of a record', async () => {
  const written: string[] = []
  const inner = memoryStore()
  const store = {
    ...inner,
    replace: (...change: Parameters<typeof inner.replace>) => {
      written.push(JSON.stringify(change))
      return inner.replace(...change)
    },
  }
  const { source } = service({ store, actorToken: 'token-of-service' })
  await source.getAccessToken()
  expect(written.length).toBeGreaterThan(0)
  expect(written.join()).toContain('token_exchange')
  expect(written.join()).not.toMatch(/token-of/)
})

test('a subject token that a function gives is asked for at every exchange, and only then', async () => {
  let asked = 0
  const { server, source } = service({
    subjectToken: async () => (++asked > 1 ? ' token-of-ada\n' : 'token-of-ada'),
  })
  const first = await source.getAccessToken()
  await source.getAccessToken()
  expect(asked).toBe(1)
  await source.getAccessToken({ rejectedToken: first })
  expect(asked).toBe(2)
  expect(server.requests.map(({ body }) => body.get('subject_token'))).toEqual(['token-of-ada', 'token-of-ada'])
})

test.each([
  ['access_token', undefined, true],
  ['jwt', undefined, true],
  [undefined, undefined, true], // some servers do not say
  ['id_token', undefined, false],
  ['refresh_token', 'access_token', false],
  ['refresh_token', 'refresh_token', true], // as Keycloak answers: an access token, and a refresh token besides
] as const)('an answer that is of type %s, where %s was asked for: taken is %s', async (issued, asked, isTaken) => {
  const { server, source } = service({ requestedTokenType: asked })
  server.more = { issued_token_type: issued && typed(issued) }
  const answer = source.getAccessToken().catch((error) => error)
  if (isTaken) expect(await answer).toMatch(/^access-token/)
  else
    expect(await answer).toMatchObject({
      code: 'invalid-response',
      message: expect.stringContaining('issued_token_type'),
    })
})

test('a token that is no access token is never handed out as one', async () => {
  const { server, source } = service({ requestedTokenType: 'id_token' })
  server.more = { issued_token_type: typed('id_token'), token_type: 'N_A' }
  expect(await rejection(source.getAccessToken())).toMatchObject({ code: 'invalid-response' })
})

test.each(['invalid_request', 'invalid_grant', 'invalid_token'])(
  'a subject token that is refused with %s is a typed error that shows no token',
  async (refusal) => {
    const { server, source } = service({ subjectToken: 'a-token-that-expired', actorToken: 'token-of-service' })
    server.refusal = refusal
    server.description = (body) => `expired: ${body.get('subject_token')} by ${body.get('actor_token')}`
    const error = await rejection(source.getAccessToken())
    expect(error).toMatchObject({
      name: 'AuthorizationServerError',
      code: 'credentials-refused',
      error: refusal,
      retryable: false,
      fix: expect.stringContaining('subject token'),
    })
    expectNone(error, ['a-token-that-expired', 'token-of-service'])
  },
)

test('a target that the server refuses is no refusal of the token', async () => {
  const { server, source } = service()
  server.instead = (body) =>
    body.get('audience') === 'nobody' ? Response.json({ error: 'invalid_target' }, { status: 400 }) : undefined
  expect(await rejection(source.getAccessToken({ parameters: { audience: 'nobody' } }))).toMatchObject({
    code: 'request-refused',
    error: 'invalid_target',
  })
  expect(await source.getAccessToken()).toMatch(/^access-token/)
})

test('on behalf of a user at Microsoft Entra ID: a JWT bearer grant that says so, and nothing of RFC 8693', async () => {
  const { server, source } = service({ flow: 'on_behalf_of', scope: 'api://orders/.default' })
  server.instead = (body) =>
    body.get('assertion') === 'token-of-ada'
      ? Response.json({ token_type: 'Bearer', access_token: 'for-ada', expires_in: 3269, ext_expires_in: 0 })
      : Response.json({ error: 'invalid_grant' }, { status: 400 })
  expect(await source.getAccessToken()).toBe('for-ada')
  expect(Object.fromEntries(server.requests[0]?.body ?? [])).toEqual({
    grant_type: JWT_BEARER,
    assertion: 'token-of-ada',
    requested_token_use: 'on_behalf_of',
    scope: 'api://orders/.default',
  })
  for (const more of [
    { audience: 'x' },
    { actorToken: 'x' },
    { requestedTokenType: 'jwt' },
    { subjectTokenType: 'jwt' },
  ]) {
    const [name] = Object.keys(more)
    expect(() => service({ flow: 'on_behalf_of', ...more })).toThrow(
      expect.objectContaining({ code: 'invalid-options', message: `${name} cannot be used` }),
    )
  }
})

test.each<[string, object]>([
  ['subjectToken', { subjectToken: undefined }],
  ['flow', { flow: 'implicit' }],
])('options that cannot work are refused at once: %s', (name, options) => {
  expect(() => service(options)).toThrow(
    expect.objectContaining({ code: 'invalid-options', message: `${name} cannot be used` }),
  )
})

test.each([
  ['subjectToken', { subjectToken: () => '' }],
  ['actorToken', { actorToken: () => ' \n' }],
])('where a function gives no %s nothing is sent', async (name, options) => {
  const { server, source } = service(options)
  expect(await rejection(source.getAccessToken())).toMatchObject({
    code: 'invalid-options',
    message: `${name} is missing`,
  })
  expect(server.requests).toEqual([])
})
