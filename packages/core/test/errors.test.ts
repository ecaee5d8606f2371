import {
  AuthorizationServerError,
  authenticatedFetch,
  authorizationCode,
  clientCredentials,
  InvalidCallbackError,
  LoginRequiredError,
  memoryStore,
  OAuthError,
  password,
  refreshToken,
  type SourceOptions,
  StoreError,
  TokenUnavailableError,
} from '@keyturn/core'
import { expect, test } from 'vitest'
import { comeBack, FakePage, rejection, startApp } from './sign-in-server.ts'

const ISSUER = 'https://as.example'
const classes = {
  OAuthError,
  AuthorizationServerError,
  InvalidCallbackError,
  LoginRequiredError,
  StoreError,
  TokenUnavailableError,
}

type Answer = () => Response | Promise<Response>

const says =
  (error: string, status = 400) =>
  () =>
    Response.json({ error, error_description: 'as the server puts it' }, { status })

/** Options for a server that answers every token request like this. */
function answering(answer: Answer, more: Partial<SourceOptions> = {}): SourceOptions {
  return {
    issuer: ISSUER,
    clientId: 'client',
    clientSecret: 's3cret',
    discovery: false,
    metadata: { token_endpoint: `${ISSUER}/token` },
    fetch: async () => answer(),
    onWarning: () => {},
    ...more,
  }
}

const asked = (answer: Answer, more?: Partial<SourceOptions>) =>
  rejection(clientCredentials(answering(answer, more)).getAccessToken())
const renewed = (answer: Answer) =>
  rejection(refreshToken({ ...answering(answer), refreshToken: 'seed' }).getAccessToken())
const signedIn = (answer: Answer) =>
  rejection(password({ ...answering(answer), username: 'ada', password: 'lovelace' }).getAccessToken())

const discovering = (response: Answer) => asked(response, { discovery: undefined, metadata: undefined })

/** What fails; how; and the error: class, code, whether it is retryable, whether something can be set, the server's code. */
const table: [string, () => Promise<unknown>, string][] = [
  [
    'a client that is refused',
    () => asked(says('invalid_client', 401)),
    'AuthorizationServerError client-refused fix invalid_client',
  ],
  [
    'a scope that is refused',
    () => asked(says('invalid_scope')),
    'AuthorizationServerError request-refused fix invalid_scope',
  ],
  [
    'a resource that is refused',
    () => asked(says('invalid_target')),
    'AuthorizationServerError request-refused fix invalid_target',
  ],
  [
    'a grant that the client may not use',
    () => asked(says('unauthorized_client')),
    'AuthorizationServerError request-refused fix unauthorized_client',
  ],
  [
    'a grant that the server does not have',
    () => asked(says('unsupported_grant_type')),
    'AuthorizationServerError request-refused fix unsupported_grant_type',
  ],
  [
    "an error code of the vendor's own",
    () => asked(says('AADSTS7000215', 401)),
    'AuthorizationServerError request-refused fix AADSTS7000215',
  ],
  [
    'a wrong password',
    () => signedIn(says('invalid_grant')),
    'AuthorizationServerError credentials-refused fix invalid_grant',
  ],
  ['a refresh token that is refused', () => renewed(says('invalid_grant')), 'LoginRequiredError session-ended fix'],
  [
    'a web page in place of an answer',
    () => asked(() => new Response('<html>')),
    'TokenUnavailableError invalid-response retryable fix',
  ],
  [
    'an empty 403',
    () => asked(() => new Response('', { status: 403 })),
    'TokenUnavailableError invalid-response retryable fix',
  ],
  ['no access token', () => asked(() => Response.json({})), 'TokenUnavailableError invalid-response retryable fix'],
  ['an outage', () => asked(() => new Response('', { status: 503 })), 'TokenUnavailableError server-error retryable'],
  [
    'too many requests',
    () => asked(() => new Response('', { status: 429 })),
    'TokenUnavailableError throttled retryable',
  ],
  [
    'no network',
    () => asked(() => Promise.reject(new TypeError('fetch failed'))),
    'TokenUnavailableError network retryable fix',
  ],
  ['a time-out', () => asked(() => new Promise(() => {}), { timeout: 20 }), 'TokenUnavailableError timeout retryable'],
  [
    'a fetch that throws something that is no error',
    () => asked(() => Promise.reject('oops')),
    'TokenUnavailableError network retryable fix',
  ],
  [
    'a fetch that gives no response',
    () => asked(() => undefined as unknown as Response),
    'TokenUnavailableError network retryable fix',
  ],
  [
    'a secret function that fails',
    () => asked(says('x'), { clientSecret: () => Promise.reject(new Error('sealed')) }),
    'TokenUnavailableError callback-failed retryable',
  ],
  ['no metadata', () => discovering(() => new Response('', { status: 404 })), 'OAuthError discovery-failed fix'],
  [
    'metadata of another issuer',
    () => discovering(() => Response.json({ issuer: 'https://other.example' })),
    'OAuthError issuer-mismatch fix',
  ],
  [
    'an http endpoint',
    () => asked(says('x'), { metadata: { token_endpoint: 'http://as.example/token' } }),
    'OAuthError insecure-url fix',
  ],
  ['nobody signed in', () => rejection(startApp().auth.getAccessToken()), 'LoginRequiredError login-required fix'],
  [
    'no authorization endpoint',
    () => rejection(startApp({ discovery: false }).auth.login()),
    'OAuthError invalid-metadata fix',
  ],
  [
    'a login that was denied',
    () => callback({ error: 'access_denied' }),
    'InvalidCallbackError authorization-refused fix access_denied',
  ],
  [
    'an answer of another issuer',
    () => callback({ parameters: { iss: 'https://evil.example' } }),
    'InvalidCallbackError invalid-response fix',
  ],
  [
    'a code that the server does not take',
    () => callback({ parameters: { code: 'other' } }),
    'InvalidCallbackError exchange-failed fix invalid_grant',
  ],
  ['a store that fails', () => storeFails(), 'TokenUnavailableError storage retryable'],
  [
    'an endpoint that a proxy has moved',
    () => asked(() => new Response('', { status: 302, headers: { location: 'https://hotel.example/' } })),
    'TokenUnavailableError invalid-response retryable fix',
  ],
  [
    'a token type that is not known',
    () => asked(() => Response.json({ access_token: 'a', token_type: 'mac' })),
    'TokenUnavailableError invalid-response retryable fix',
  ],
  [
    'a web page in place of the metadata',
    () => discovering(() => new Response('<html>Welcome</html>')),
    'OAuthError discovery-failed fix',
  ],
  [
    'metadata with an http endpoint',
    () => discovering(() => Response.json({ issuer: ISSUER, token_endpoint: 'http://as.example/token' })),
    'OAuthError insecure-url fix',
  ],
  [
    'an issuer over http',
    async () => thrownBy(() => answered({ issuer: 'http://as.example' })),
    'OAuthError insecure-url fix',
  ],
  ['no issuer', async () => thrownBy(() => answered({ issuer: undefined as never })), 'OAuthError insecure-url fix'],
  ['no client id', async () => thrownBy(() => answered({ clientId: '' })), 'OAuthError invalid-options fix'],
  [
    'a client authentication that nobody knows',
    async () => thrownBy(() => answered({ clientAuthentication: 'tls' as never })),
    'OAuthError invalid-options fix',
  ],
  ['no secret to send', () => asked(says('x'), { clientSecret: () => '' }), 'OAuthError invalid-options fix'],
  [
    'a wrong redirect URI',
    () => callback({ error: 'invalid_request' }),
    'InvalidCallbackError authorization-refused fix invalid_request',
  ],
  [
    'a callback that is opened again',
    async () => {
      const app = startApp()
      await comeBack(app)
      const address = app.page.url
      await app.auth.handleCallback()
      app.page.url = 'https://app.example/elsewhere'
      await app.auth.handleCallback()
      app.page.url = address
      return rejection(app.auth.handleCallback())
    },
    'InvalidCallbackError invalid-state fix',
  ],
  [
    'a clock that is two days off',
    async () => {
      const app = startApp()
      const now = Date.now() / 1000
      app.server.idToken = (claims) => ({ ...claims, iat: now - 173_000, exp: now - 172_800 })
      await comeBack(app)
      return rejection(app.auth.handleCallback())
    },
    'InvalidCallbackError exchange-failed fix',
  ],
  [
    'an API that refuses every new token',
    async () => {
      let issued = 0
      const source = clientCredentials(
        answering(() => Response.json({ access_token: `a${++issued}`, token_type: 'Bearer', expires_in: 60 })),
      )
      await source.getAccessToken({ rejectedToken: await source.getAccessToken() })
      return rejection(source.getAccessToken({ rejectedToken: 'a2' }))
    },
    'TokenUnavailableError token-rejected retryable fix',
  ],
  [
    'a page that cannot navigate',
    async () => {
      const app = startApp()
      app.page.navigate = () => {
        throw new Error('sandboxed')
      }
      return rejection(app.auth.login())
    },
    'OAuthError navigation-failed',
  ],
]

const answered = (more: Partial<SourceOptions>) => clientCredentials(answering(says('x'), more))

function thrownBy(act: () => unknown): unknown {
  try {
    return act()
  } catch (error) {
    return error
  }
}

async function callback(answer: Parameters<typeof comeBack>[1]): Promise<unknown> {
  const app = startApp()
  await comeBack(app, answer)
  return rejection(app.auth.handleCallback())
}

/** A refresh token that others may share is not sent while the store cannot be asked. */
async function storeFails(): Promise<unknown> {
  const store = { ...memoryStore(), get: () => Promise.reject(new Error('disk')) }
  return rejection(refreshToken({ ...answering(says('x')), store, refreshToken: 'seed' }).getAccessToken())
}

test.each(table)('%s is typed, and says whether to try again and what to change', async (_, fail, expected) => {
  const error = await fail()
  expect(error).toBeInstanceOf(OAuthError)
  expect(error).toBeInstanceOf(Error)
  const { name, code, retryable, fix, message, stack } = error as OAuthError
  const { error: said } = error as { error?: string }
  expect([name, code, retryable && 'retryable', fix && 'fix', said].filter(Boolean).join(' ')).toBe(expected)
  const kind = Object.values(classes).find((kind) => kind.name === name)
  expect((error as OAuthError).constructor).toBe(kind)
  expect(message).toMatch(/^\S.+[^.]$/)
  expect(stack).toContain(name)
  if (fix !== undefined) expect(fix).toMatch(/^[A-Z].+\.$/)
  if (name === 'TokenUnavailableError') expect((error as TokenUnavailableError).retryAt).toBeTypeOf('number')
})

test('what the server said is on the error, and its status', async () => {
  const error = await asked(says('invalid_scope', 400))
  expect(error).toMatchObject({ error: 'invalid_scope', errorDescription: 'as the server puts it', status: 400 })
  expect((error as Error).message).toContain('invalid_scope')
  expect((error as Error).message).toContain('as the server puts it')
})

test('a weak secret that is a part of an error code does not hide that code', async () => {
  for (const clientSecret of ['client', 'invalid', 'invalid_client', '_client']) {
    const error = await asked(says('invalid_client', 401), { clientSecret })
    expect(error).toMatchObject({ code: 'client-refused', error: 'invalid_client' })
  }
  for (const guess of ['grant', 'invalid', 'invalid_grant']) {
    const source = password({ ...answering(says('invalid_grant')), username: 'ada', password: guess })
    expect(await rejection(source.getAccessToken())).toMatchObject({
      code: 'credentials-refused',
      error: 'invalid_grant',
    })
  }
})

test('the reason that the platform gives for a lost connection is kept', async () => {
  const reasons = [
    Object.assign(new Error('connect'), { code: 'ECONNREFUSED' }),
    new TypeError('fetch failed', { cause: Object.assign(new Error('connect'), { code: 'ECONNREFUSED' }) }),
  ]
  for (const reason of reasons) {
    const error = await asked(() => Promise.reject(reason))
    expect(error).toMatchObject({ code: 'network', cause: { code: 'ECONNREFUSED' } })
  }
})

test('an error code that every object knows is a code like any other', async () => {
  for (const error of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) {
    expect(await asked(says(error))).toMatchObject({ code: 'request-refused', error })
  }
})

test("a server's description is cut to a readable length", async () => {
  const long = 'x'.repeat(100_000)
  const error = await asked(() => Response.json({ error: long, error_description: long }, { status: 400 }))
  expect((error as Error).message.length).toBeLessThan(2000)
})

test("an authorization response's error is cut to a readable length, too", async () => {
  const error = await callback({ error: 'x'.repeat(100_000) })
  expect((error as Error).message.length).toBeLessThan(2000)
})

test('what is thrown at once for options that cannot work is typed as well', () => {
  const userAgent = new FakePage()
  const wrong: [() => unknown, string][] = [
    [() => clientCredentials({ issuer: 'nonsense', clientId: 'c' }), 'insecure-url'],
    [() => clientCredentials({ issuer: 'http://as.example', clientId: 'c' }), 'insecure-url'],
    [() => clientCredentials({ issuer: ISSUER, clientId: '' }), 'invalid-options'],
    [() => refreshToken({ issuer: ISSUER, clientId: 'c', refreshToken: '' }), 'invalid-options'],
    [() => authorizationCode({ issuer: ISSUER, clientId: 'c', redirectUri: 'x', userAgent }), 'insecure-url'],
    [() => authorizationCode({ issuer: ISSUER, clientId: 'c', redirectUri: ISSUER } as never), 'invalid-options'],
  ]
  for (const [create, code] of wrong) {
    expect(create).toThrow(OAuthError)
    expect(create).toThrow(expect.objectContaining({ code, retryable: false, fix: expect.any(String) }))
  }
})

test('an address that cannot be used is named, for most often it is a setting that is missing', async () => {
  const options = { issuer: ISSUER, clientId: 'c', redirectUri: ISSUER, userAgent: new FakePage() }
  const missing = undefined as unknown as string
  expect(() => clientCredentials({ ...options, issuer: missing })).toThrow('issuer is no plain https URL: undefined')
  expect(() => authorizationCode({ ...options, redirectUri: missing })).toThrow(/^redirectUri is no/)
  expect(() => authenticatedFetch(clientCredentials(options), { apis: 'api.example' })).toThrow(/^apis is no/)
  const metadata = { token_endpoint: 'http://as.example/token' }
  const error = await asked(says('x'), { metadata })
  expect((error as Error).message).toBe('token_endpoint is no plain https URL: as.example')
})

test('who has signed in and is not known is told of handleCallback(), which may have been forgotten', async () => {
  const error = await rejection(startApp().auth.getAccessToken())
  expect(error).toMatchObject({ code: 'login-required', fix: expect.stringContaining('handleCallback()') })
})

test('all who wait for the same failure get it typed, and nothing goes unhandled', async () => {
  const source = clientCredentials(answering(() => new Response('', { status: 503 })))
  const errors = await Promise.all(Array.from({ length: 50 }, () => rejection(source.getAccessToken())))
  for (const error of errors) expect(error).toMatchObject({ name: 'TokenUnavailableError', code: 'server-error' })
})

test('a failure that is remembered still says what it was and when to come back', async () => {
  const source = clientCredentials(answering(() => new Response('', { status: 503, headers: { 'retry-after': '60' } })))
  await rejection(source.getAccessToken())
  const error = await rejection(source.getAccessToken())
  expect(error).toMatchObject({ code: 'server-error', retryable: true })
  expect((error as TokenUnavailableError).retryAt).toBeGreaterThan(Date.now() + 50_000)
})
