import { inspect } from 'node:util'
import {
  clientCredentials,
  clientSecretPost,
  memoryStore,
  password,
  refreshToken,
  type TokenManager,
} from '@keyturn/core'
import { expect, test } from 'vitest'
import { type Fault, testAuthorizationServer, USER } from './authorization-server.ts'
import { elapse, HOUR, movedTime, outcome, SECOND, sourceAt } from './renewal-harness.ts'

movedTime()

const SECRET = 'client&secret=100%'
const PASSWORD = 'p@ss wörd/+"1'

/** Everything that a developer may log of a thing. */
function logged(thing: unknown): string {
  const texts = [inspect(thing, { depth: 20, showHidden: true, getters: true }), JSON.stringify(thing), String(thing)]
  for (let error = thing; error instanceof Error; error = error.cause) {
    texts.push(
      error.message,
      error.stack ?? '',
      JSON.stringify(error),
      JSON.stringify(Object.getOwnPropertyDescriptors(error)),
    )
  }
  return texts.join('\n')
}

/** The ways in which a server can echo a text. */
function forms(secret: string): string[] {
  const form = new URLSearchParams([['', secret]]).toString().slice(1)
  return [secret, encodeURIComponent(secret), form, JSON.stringify(secret).slice(1, -1)]
}

const sources: [string, (server: ReturnType<typeof testAuthorizationServer>) => TokenManager][] = [
  ['client credentials in Basic', (server) => clientCredentials(sourceAt(server).options)],
  [
    'client credentials in the body',
    (server) => clientCredentials(sourceAt(server, { clientAuthentication: clientSecretPost() }).options),
  ],
  ['password', (server) => password({ ...sourceAt(server).options, ...USER, password: PASSWORD })],
  ['refresh token', (server) => refreshToken({ ...sourceAt(server).options, refreshToken: server.newRefreshToken() })],
]

test.each(sources)('nothing that can be logged of a source shows a secret: %s', async (_, make) => {
  const server = testAuthorizationServer({ secret: SECRET })
  server.settings.password = PASSWORD
  const source = make(server)
  const { accessToken } = await source.getTokenSet()
  const refresh = server.tokenRequests()[0]?.refreshToken
  const secrets = [accessToken, SECRET, PASSWORD, refresh ?? 'refresh-token-1', 'refresh-token-'].flatMap(forms)
  for (const thing of [source, source.session, source.stats(), source.explain(), await source.getTokenSet()]) {
    // The token set has its token, out of sight of whatever logs the whole.
    const text =
      thing instanceof Object && 'accessToken' in thing ? inspect(thing) + JSON.stringify(thing) : logged(thing)
    expect(secrets.filter((secret) => text.includes(secret))).toEqual([])
  }
})

const errors = ['invalid_grant', 'invalid_client', 'invalid_request', 'access_denied'] as const
const echoes: [string, (request: string, authorization: string) => Fault][] = [
  [
    'its body',
    (body) => ({ status: 400, body: { error: 'invalid_request', error_description: `bad request: ${body}` } }),
  ],
  [
    'its parameters',
    (body) => ({
      status: 400,
      body: { error: 'invalid_request', error_description: [...new URLSearchParams(body).values()].join(' | ') },
    }),
  ],
  [
    'its credentials',
    (_, basic) => ({ status: 401, body: { error: 'invalid_client', error_description: `no: ${basic}` } }),
  ],
  [
    'its credentials, decoded',
    (_, basic) => ({
      status: 401,
      body: { error: 'invalid_client', error_description: basic && atob(basic.replace('Basic ', '')) },
    }),
  ],
  ['everything as the error', (body, basic) => ({ status: 400, body: { error: `${body} ${basic}` } })],
  ['everything as HTML', (body, basic) => ({ status: 500, body: `<pre>${body} ${basic}</pre>` })],
  [
    'everything as a token of a wrong kind',
    (body, basic) => ({ body: { access_token: 1, token_type: `${body}${basic}` } }),
  ],
]

test.each(sources.flatMap(([name, make]) => echoes.map(([echo, fault]) => [name, echo, make, fault] as const)))(
  'no error shows a secret, though the server echoes the request (%s, %s)',
  async (_, __, make, fault) => {
    const server = testAuthorizationServer({ secret: SECRET })
    const real = server.fetch
    let sentBasic = ''
    server.fetch = (async (input, init) => {
      const { method, headers, url } = new Request(input, init)
      sentBasic = headers.get('authorization') ?? ''
      if (method === 'POST' && url.endsWith('/token')) server.next([fault(String(init?.body), sentBasic)])
      return real(input, init)
    }) as typeof fetch
    const source = make(server)
    const first = (await outcome(source.getAccessToken())).error
    const second = (await outcome(source.getAccessToken())).error
    const basic = sentBasic.replace('Basic ', '')
    const secrets = [SECRET, PASSWORD, 'refresh-token-1'].flatMap(forms).concat(basic ? [basic] : [])
    const things = [first, second, source, source.explain(), source.session, source.stats()]
    const text = things.map(logged).join('\n')
    expect(secrets.filter((secret) => text.includes(secret))).toEqual([])
    expect(first).toBeInstanceOf(Error)
  },
)

test.each(errors)('what a server says about %s is told, as far as it is no secret', async (error) => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  server.next([{ status: 400, body: { error, error_description: 'look at the console' } }])
  const thrown = (await outcome(source.getAccessToken())).error
  expect(thrown).toMatchObject({
    name: 'AuthorizationServerError',
    error,
    errorDescription: 'look at the console',
    status: 400,
  })
  expect(thrown?.message).toContain('look at the console')
})

test('the errors of a fetch, a store and a callback carry no more of their cause than its name, message and code', async () => {
  const server = testAuthorizationServer()
  const cause = Object.assign(new Error('connect ECONNREFUSED'), {
    code: 'ECONNREFUSED',
    request: { body: 'refresh-token-1' },
  })
  const rejecting = () =>
    Promise.reject(Object.assign(new TypeError('fetch failed', { cause }), { body: 'refresh-token-1' }))
  const { options } = sourceAt(server)
  const store = { ...memoryStore(), lock: rejecting }
  const failing = [
    clientCredentials({ ...options, fetch: rejecting }),
    clientCredentials({ ...options, clientSecret: rejecting }),
    refreshToken({ ...options, store, refreshToken: 'refresh-token-1' }),
  ]
  for (const source of failing) {
    const { error } = await outcome(source.getAccessToken())
    expect(error?.name).toBe('TokenUnavailableError')
    expect(logged(error)).not.toContain('refresh-token-1')
    expect(logged(error)).toContain('fetch failed')
  }
})

test('the story tells of failures and ends, and of no secret', async () => {
  const server = testAuthorizationServer()
  const source = password({ ...sourceAt(server, { scope: 'openid' }).options, ...USER })
  const { accessToken, idToken } = await source.getTokenSet()
  for (const error of errors.slice(1)) {
    server.next([{ status: 400, body: { error } }])
    await outcome(source.getAccessToken({ rejectedToken: accessToken }))
    await elapse(HOUR, 30 * SECOND)
  }
  await source.revoke()
  const story = JSON.stringify(source.explain())
  expect(story).toContain('invalid_request')
  expect(idToken).toBeDefined()
  const secrets = [accessToken, idToken ?? '', USER.password, 'client-secret']
  expect(secrets.filter((secret) => story.includes(secret))).toEqual([])
})
