import { inspect } from 'node:util'
import {
  type AuthorizationCodeFlow,
  authenticatedFetch,
  authorizationCode,
  clientCredentials,
  OAuthError,
  password,
  refreshToken,
  type SourceOptions,
  TokenManager,
} from '@keyturn/core'
import { expect, test, vi } from 'vitest'
import { comeBack, ISSUER, REDIRECT_URI, rejection, startApp } from './sign-in-server.ts'
import { expectNone } from './visible-secrets.ts'

const SECRET = 'sEcret+of/the=client ü'
const PASSWORD = 'alice-Passw0rd&of=hers'
const REFRESH_TOKEN = 'refresh.token~of-alice'
const ACCESS_TOKEN = 'access.token~of-alice'

/** Answers with everything that it was sent. */
type Echo = (sent: { body: string; authorization: string }) => Response

const echoes: [string, Echo][] = [
  [
    'in the description of an error',
    ({ body, authorization }) =>
      Response.json(
        { error: 'invalid_request', error_description: `${plain(body)} ${authorization}` },
        { status: 400 },
      ),
  ],
  [
    'in the description, as it was sent',
    ({ body }) => Response.json({ error: 'invalid_request', error_description: body }, { status: 400 }),
  ],
  ['in the code of an error', ({ body }) => Response.json({ error: plain(body) }, { status: 400 })],
  [
    'in the refusal of the client',
    ({ body }) => Response.json({ error: 'invalid_client', error_description: plain(body) }, { status: 401 }),
  ],
  [
    'in the refusal of the grant',
    ({ body }) => Response.json({ error: 'invalid_grant', error_description: plain(body) }, { status: 400 }),
  ],
  ['in a web page', ({ body, authorization }) => new Response(`<p>${plain(body)} ${body} ${authorization}`)],
  [
    'in an outage',
    ({ body }) => new Response(plain(body), { status: 503, statusText: 'out', headers: { 'x-echo': body } }),
  ],
  ['as another token type', ({ body }) => Response.json({ access_token: 'a', token_type: plain(body) })],
  ['in members that nobody knows', ({ body }) => Response.json({ echo: plain(body), error_uri: body })],
  [
    'in a challenge',
    ({ body }) =>
      new Response('', { status: 401, headers: { 'www-authenticate': `Basic realm="${encodeURI(body)}"` } }),
  ],
]

test('a secret that comes back as the code of an error, or encoded in its description, is left out', async () => {
  const said: [object, object][] = [
    [{ error: SECRET }, { error: '(not shown)' }],
    [{ error: 'invalid_scope', error_description: encodeURIComponent(SECRET) }, { errorDescription: undefined }],
    [{ error: 'invalid_scope', error_description: 'no scope' }, { errorDescription: 'no scope' }],
  ]
  for (const [body, expected] of said) {
    const source = clientCredentials(echoed(() => Response.json(body, { status: 400 })))
    expect(await rejection(source.getAccessToken())).toMatchObject({ code: 'request-refused', ...expected })
  }
})

const plain = (body: string) => [...new URLSearchParams(body).values()].join(' ')

/** Options for a server that echoes. */
function echoed(echo: Echo): SourceOptions & { warnings: string[] } {
  const warnings: string[] = []
  return {
    issuer: ISSUER,
    clientId: 'client',
    clientSecret: SECRET,
    discovery: false,
    metadata: {
      authorization_endpoint: `${ISSUER}/authorize`,
      token_endpoint: `${ISSUER}/token`,
      revocation_endpoint: `${ISSUER}/revoke`,
    },
    fetch: async (input, init) => {
      const request = new Request(input, init)
      return echo({ body: await request.text(), authorization: request.headers.get('authorization') ?? '' })
    },
    onWarning: (message) => warnings.push(message),
    warnings,
  }
}

async function failuresOf(source: TokenManager): Promise<unknown[]> {
  const errors = [await rejection(source.getAccessToken()), await rejection(source.getTokenSet())]
  await source.revoke()
  return [...errors, source, source.explain(), source.session, source.stats()]
}

test.each(echoes)('no error shows a secret that the server echoes %s', async (_, echo) => {
  const secrets = [SECRET, PASSWORD, REFRESH_TOKEN]
  for (const clientAuthentication of ['client_secret_basic', 'client_secret_post'] as const) {
    const options = { ...echoed(echo), clientAuthentication }
    const sources = [
      clientCredentials(options),
      // The username is a part of the password.
      password({ ...options, username: 'alice', password: PASSWORD }),
      refreshToken({ ...options, refreshToken: REFRESH_TOKEN }),
    ]
    for (const source of sources) for (const seen of await failuresOf(source)) expectNone(seen, secrets)
    expectNone(options.warnings, secrets)
  }
})

test.each(echoes)(
  'a callback that fails shows neither code nor verifier that the server echoes %s',
  async (_, echo) => {
    const options = echoed(echo)
    const app = startApp()
    let verifier = ''
    const auth: AuthorizationCodeFlow = authorizationCode({
      ...options,
      clientId: 'app',
      redirectUri: REDIRECT_URI,
      userAgent: app.page,
      transactions: {
        put: (_state, transaction) => {
          verifier = transaction.codeVerifier
        },
        take: () => undefined,
        pending: () => true,
      },
    })
    await auth.login()
    expect(verifier).toHaveLength(43)
    const remembered = authorizationCode({
      ...options,
      clientId: 'app',
      redirectUri: REDIRECT_URI,
      userAgent: app.page,
    })
    await comeBack({ ...app, auth: remembered })
    const [code, state] = ['code', 'state'].map((name) => new URL(app.page.url).searchParams.get(name) ?? '')
    const error = await rejection(remembered.handleCallback())
    expectNone(error, [code ?? '', state ?? '', SECRET])
    expectNone([auth, remembered], [code ?? '', state ?? '', SECRET, verifier])
  },
)

test("an authorization response that is refused shows nothing of it but the server's error code", async () => {
  for (const answer of [
    { error: 'access_denied' },
    { parameters: { iss: 'https://evil.example' } },
    { parameters: { code: 'a-code-of-somebody-else' } },
  ]) {
    const app = startApp()
    await comeBack(app, answer)
    const { searchParams } = new URL(app.page.url)
    const error = await rejection(app.auth.handleCallback())
    expectNone(error, [searchParams.get('state') ?? '', searchParams.get('code') ?? 'code-1-of-the-server'])
  }
})

test('a fetch that fails with the whole request on its error shows none of it', async () => {
  const options = echoed(() => new Response())
  const source = password({
    ...options,
    username: 'alice',
    password: PASSWORD,
    fetch: async (_input, init) => {
      const error = new Error('socket hang up', { cause: { body: String(init?.body) } })
      throw Object.assign(error, { config: { data: String(init?.body), headers: init?.headers } })
    },
  })
  expectNone(await rejection(source.getAccessToken()), [SECRET, PASSWORD])
})

test('a fetch that fails with the request in its message shows none of it', async () => {
  const options = echoed(() => new Response())
  const source = password({
    ...options,
    username: 'alice',
    password: PASSWORD,
    clientAuthentication: 'client_secret_post',
    fetch: async (_input, init) => {
      throw new Error(`POST /token ${init?.body} failed`)
    },
  })
  expectNone(await rejection(source.getAccessToken()), [SECRET, PASSWORD])
})

test('a revocation that fails does not warn with the token', async () => {
  for (const [, echo] of echoes) {
    const options = echoed(() =>
      Response.json({ access_token: ACCESS_TOKEN, token_type: 'Bearer', refresh_token: REFRESH_TOKEN }),
    )
    const token = options.fetch
    const source = password({
      ...options,
      username: 'alice',
      password: PASSWORD,
      fetch: (input, init) =>
        String(input).endsWith('/revoke')
          ? (echoed(echo).fetch?.(input, init) ?? fetch(input))
          : (token ?? fetch)(input, init),
    })
    await source.getAccessToken()
    await source.revoke()
    expectNone([options.warnings, source.explain()], [ACCESS_TOKEN, REFRESH_TOKEN, SECRET, PASSWORD])
  }
})

test('what holds tokens and secrets shows none of them when it is logged', async () => {
  const options = echoed(() =>
    Response.json({ access_token: ACCESS_TOKEN, token_type: 'Bearer', refresh_token: REFRESH_TOKEN }),
  )
  const source = password({ ...options, username: 'alice', password: PASSWORD })
  await source.getAccessToken()
  const api = authenticatedFetch(source, { apis: 'https://api.example/', fetch: async () => new Response() })
  await api('https://api.example/')
  const secrets = [ACCESS_TOKEN, REFRESH_TOKEN, SECRET, PASSWORD]
  expectNone([source, api, source.session, source.explain(), source.stats()], secrets)
  const tokenSet = await source.getTokenSet()
  expect(JSON.stringify(tokenSet) + inspect(tokenSet)).not.toContain(ACCESS_TOKEN)
  expect(tokenSet.accessToken).toBe(ACCESS_TOKEN)
})

test.each(['\nx: y', '→'])(
  'a token that no header can carry, for it has %j, is not shown by the error',
  async (end) => {
    const options = echoed(() => Response.json({ access_token: ACCESS_TOKEN + end, token_type: 'Bearer' }))
    const api = authenticatedFetch(clientCredentials(options), { apis: 'https://api.example/' })
    const error = await rejection(api('https://api.example/'))
    expectNone(error, [ACCESS_TOKEN])
    expect(error).toMatchObject({ name: 'TokenUnavailableError', code: 'invalid-response' })
  },
)

test.each([undefined, null, '', 7, {}])(
  "a source of the app's own that gives %j sends nothing in its place",
  async (token) => {
    const sent = vi.fn()
    const source = { getAccessToken: async () => token as string }
    const call = authenticatedFetch(source, { apis: 'https://api.example/', fetch: sent })('https://api.example/')
    await expect(call).rejects.toMatchObject({ name: 'OAuthError', code: 'invalid-response' })
    expect(sent).not.toHaveBeenCalled()
  },
)

test("a token of the app's own grant that no header can carry is not shown either", async () => {
  const options = echoed(() => new Response())
  const grant = async () =>
    ({ accessToken: `${ACCESS_TOKEN}\nx: y`, tokenType: 'Bearer', expiresAt: Date.now() + 60_000 }) as const
  const api = authenticatedFetch(new TokenManager(grant, options), { apis: 'https://api.example/' })
  expectNone(await rejection(api('https://api.example/')), [ACCESS_TOKEN])
})

test('a password in an address is not shown', async () => {
  const userAgent = { url: '', navigate: () => {}, replaceUrl: () => {} }
  const addresses = ['https://ada:hidden-Passw0rd@as.example', 'http://ada:hidden-Passw0rd@as.example']
  for (const address of addresses) {
    const attempts = [
      () => clientCredentials({ issuer: address, clientId: 'client' }).getAccessToken(),
      () =>
        clientCredentials({
          issuer: ISSUER,
          clientId: 'client',
          discovery: false,
          metadata: { token_endpoint: `${address}/token` },
        }).getAccessToken(),
      () =>
        authorizationCode({
          issuer: ISSUER,
          clientId: 'app',
          redirectUri: `${address}/cb`,
          userAgent,
          discovery: false,
        }).login(),
      async () =>
        authenticatedFetch(
          new TokenManager(
            () => Promise.reject(new Error()),
            echoed(() => new Response()),
          ),
          { apis: address },
        ),
    ]
    for (const attempt of attempts) {
      const error = await rejection((async () => attempt())())
      expect(error).toBeInstanceOf(OAuthError)
      expectNone(error, ['hidden-Passw0rd'])
    }
  }
})
