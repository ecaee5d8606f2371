import {
  AuthorizationServerError,
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

interface Expected {
  name: keyof typeof classes
  code: string
  retryable: boolean
  /** Whether there is something that can be set. */
  fix: boolean
  error?: string
}

const table: [string, () => Promise<unknown>, Expected][] = [
  [
    'a client that is refused',
    () => asked(says('invalid_client', 401)),
    { name: 'AuthorizationServerError', code: 'client-refused', retryable: false, fix: true, error: 'invalid_client' },
  ],
  [
    'a scope that is refused',
    () => asked(says('invalid_scope')),
    { name: 'AuthorizationServerError', code: 'request-refused', retryable: false, fix: true, error: 'invalid_scope' },
  ],
  [
    'a resource that is refused',
    () => asked(says('invalid_target')),
    { name: 'AuthorizationServerError', code: 'request-refused', retryable: false, fix: true, error: 'invalid_target' },
  ],
  [
    'a grant that the client may not use',
    () => asked(says('unauthorized_client')),
    {
      name: 'AuthorizationServerError',
      code: 'request-refused',
      retryable: false,
      fix: true,
      error: 'unauthorized_client',
    },
  ],
  [
    'a grant that the server does not have',
    () => asked(says('unsupported_grant_type')),
    {
      name: 'AuthorizationServerError',
      code: 'request-refused',
      retryable: false,
      fix: true,
      error: 'unsupported_grant_type',
    },
  ],
  [
    "an error code of the vendor's own",
    () => asked(says('AADSTS7000215', 401)),
    { name: 'AuthorizationServerError', code: 'request-refused', retryable: false, fix: false, error: 'AADSTS7000215' },
  ],
  [
    'a wrong password',
    () => signedIn(says('invalid_grant')),
    {
      name: 'AuthorizationServerError',
      code: 'credentials-refused',
      retryable: false,
      fix: true,
      error: 'invalid_grant',
    },
  ],
  [
    'a refresh token that is refused',
    () => renewed(says('invalid_grant')),
    { name: 'LoginRequiredError', code: 'session-ended', retryable: false, fix: true },
  ],
  [
    'a web page in place of an answer',
    () => asked(() => new Response('<html>')),
    { name: 'TokenUnavailableError', code: 'invalid-response', retryable: true, fix: true },
  ],
  [
    'an empty 403',
    () => asked(() => new Response('', { status: 403 })),
    { name: 'TokenUnavailableError', code: 'invalid-response', retryable: true, fix: true },
  ],
  [
    'no access token',
    () => asked(() => Response.json({})),
    { name: 'TokenUnavailableError', code: 'invalid-response', retryable: true, fix: false },
  ],
  [
    'an outage',
    () => asked(() => new Response('', { status: 503 })),
    { name: 'TokenUnavailableError', code: 'server-error', retryable: true, fix: false },
  ],
  [
    'too many requests',
    () => asked(() => new Response('', { status: 429 })),
    { name: 'TokenUnavailableError', code: 'throttled', retryable: true, fix: false },
  ],
  [
    'no network',
    () => asked(() => Promise.reject(new TypeError('fetch failed'))),
    { name: 'TokenUnavailableError', code: 'network', retryable: true, fix: true },
  ],
  [
    'a time-out',
    () => asked(() => new Promise(() => {}), { timeout: 20 }),
    { name: 'TokenUnavailableError', code: 'timeout', retryable: true, fix: false },
  ],
  [
    'a fetch that throws something that is no error',
    () => asked(() => Promise.reject('oops')),
    { name: 'TokenUnavailableError', code: 'network', retryable: true, fix: true },
  ],
  [
    'a fetch that gives no response',
    () => asked(() => undefined as unknown as Response),
    { name: 'TokenUnavailableError', code: 'network', retryable: true, fix: true },
  ],
  [
    'a secret function that fails',
    () => asked(says('x'), { clientSecret: () => Promise.reject(new Error('sealed')) }),
    { name: 'TokenUnavailableError', code: 'callback-failed', retryable: true, fix: false },
  ],
  [
    'no metadata',
    () => discovering(() => new Response('', { status: 404 })),
    { name: 'OAuthError', code: 'discovery-failed', retryable: false, fix: true },
  ],
  [
    'metadata of another issuer',
    () => discovering(() => Response.json({ issuer: 'https://other.example' })),
    { name: 'OAuthError', code: 'issuer-mismatch', retryable: false, fix: true },
  ],
  [
    'an http endpoint',
    () => asked(says('x'), { metadata: { token_endpoint: 'http://as.example/token' } }),
    { name: 'OAuthError', code: 'insecure-url', retryable: false, fix: true },
  ],
  [
    'nobody signed in',
    () => rejection(startApp().auth.getAccessToken()),
    { name: 'LoginRequiredError', code: 'login-required', retryable: false, fix: true },
  ],
  [
    'no authorization endpoint',
    () => rejection(startApp({ discovery: false }).auth.login()),
    { name: 'OAuthError', code: 'invalid-metadata', retryable: false, fix: true },
  ],
  [
    'a login that was denied',
    () => callback({ error: 'access_denied' }),
    {
      name: 'InvalidCallbackError',
      code: 'authorization-refused',
      retryable: false,
      fix: true,
      error: 'access_denied',
    },
  ],
  [
    'an answer of another issuer',
    () => callback({ parameters: { iss: 'https://evil.example' } }),
    { name: 'InvalidCallbackError', code: 'invalid-response', retryable: false, fix: true },
  ],
  [
    'a code that the server does not take',
    () => callback({ parameters: { code: 'other' } }),
    { name: 'InvalidCallbackError', code: 'exchange-failed', retryable: false, fix: true, error: 'invalid_grant' },
  ],
  [
    'a store that fails',
    () => storeFails(),
    { name: 'TokenUnavailableError', code: 'storage', retryable: true, fix: false },
  ],
]

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
  expect({ name, code, retryable, fix: fix !== undefined }).toEqual({
    name: expected.name,
    code: expected.code,
    retryable: expected.retryable,
    fix: expected.fix,
  })
  expect(error).toBeInstanceOf(classes[expected.name])
  expect(Object.values(classes).filter((kind) => (error as object).constructor === kind)).toHaveLength(1)
  expect((error as { error?: string }).error).toBe(expected.error)
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

test('an error code that every object knows is a code like any other', async () => {
  for (const error of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) {
    expect(await asked(says(error))).toMatchObject({ code: 'request-refused', error, fix: undefined })
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
  ]
  for (const [create, code] of wrong) {
    expect(create).toThrow(OAuthError)
    expect(create).toThrow(expect.objectContaining({ code, retryable: false, fix: expect.any(String) }))
  }
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
