import {
  authorizationCode,
  InvalidCallbackError,
  idTokenSignature,
  memoryStore,
  type StandardSchemaV1,
  type StoredRecord,
} from '@keyturn/core'
import { afterEach, expect, expectTypeOf, test, vi } from 'vitest'
import { comeBack, FakePage, ISSUER, REDIRECT_URI, rejection, SignInServer } from './sign-in-server.ts'

afterEach(() => {
  vi.useRealTimers()
})

interface Groups {
  groups: string[]
}

type Validate = StandardSchemaV1<unknown, Groups>['~standard']['validate']
const schema = (validate: Validate): StandardSchemaV1<unknown, Groups> => ({
  '~standard': { version: 1, vendor: 'test', validate },
})
const valid: Validate = (value) => {
  const { groups } = Object(value)
  if (!Array.isArray(groups)) return { issues: [{ message: 'groups is no list' }] }
  return { value: { groups: groups.map((name) => `${name}`.toLowerCase()) } }
}

function start(validate: Validate = valid, timeout = 10_000) {
  const warnings: string[] = []
  const server = new SignInServer()
  server.idToken = (claims) => ({ ...claims, groups: ['Admins'] })
  const page = new FakePage()
  const store = memoryStore()
  const writes: StoredRecord[] = []
  const auth = authorizationCode({
    issuer: ISSUER,
    clientId: 'app',
    redirectUri: REDIRECT_URI,
    scope: 'openid',
    userAgent: page,
    fetch: server.fetch,
    timeout,
    onWarning: (message) => warnings.push(message),
    claims: schema(validate),
    store: {
      ...store,
      replace(key, expected, next) {
        if (next) writes.push(next)
        return store.replace(key, expected, next)
      },
    },
  })
  const signIn = async () => {
    await comeBack({ auth, page, server, warnings: [] }, {}, 'deep')
    return auth.handleCallback()
  }
  return { server, auth, signIn, writes, warnings }
}

test('the claims are validated at the sign-in, and what the validator gives is what the app sees', async () => {
  const { auth, signIn } = start()
  expect(await signIn()).toEqual({ appState: 'deep' })
  expect(auth.session).toMatchObject({ status: 'signedIn', claims: { sub: 'ada', groups: ['admins'] } })
  expect((await auth.getTokenSet()).claims?.groups).toEqual(['admins'])
})

test("the validator's type is that of the claims", async () => {
  const { auth, signIn } = start()
  await signIn()
  const { session } = auth
  if (session.status === 'signedIn' && session.claims) {
    expectTypeOf(session.claims.groups).toEqualTypeOf<string[]>()
    expectTypeOf(session.claims.sub).toEqualTypeOf<string>()
  }
  const { claims } = await auth.getTokenSet()
  expectTypeOf(claims?.groups).toEqualTypeOf<string[] | undefined>()
  const options = { issuer: ISSUER, clientId: 'app', redirectUri: REDIRECT_URI, userAgent: new FakePage() }
  // @ts-expect-error a type alone, without a validator, is not believed
  authorizationCode<Groups>(options)
})

test('a validator may take its time', async () => {
  const { auth, signIn } = start(async (value) => valid(value))
  await signIn()
  expect(auth.session).toMatchObject({ claims: { groups: ['admins'] } })
})

test.each<[string, Validate, string?]>([
  ['that the validator refuses', () => ({ issues: [{ message: 'no' }] })],
  ['that the validator refuses without a reason', () => ({ issues: [] })],
  ['that the validator refuses late', async () => ({ issues: [{ message: 'no' }] })],
  [
    'that the validator throws at',
    () => {
      throw new TypeError('no')
    },
    'callback-failed',
  ],
  ['that the validator never comes to an end with', () => new Promise(() => {}), 'timeout'],
])('claims %s are no sign-in, and nothing is stored', async (_, validate, code = 'invalid-response') => {
  const { auth, signIn, writes } = start(validate, code === 'timeout' ? 500 : 10_000)
  const error = await rejection(signIn())
  expect(error).toBeInstanceOf(InvalidCallbackError)
  expect(error).toMatchObject({ code: 'exchange-failed', appState: 'deep', cause: { code } })
  expect(auth.session.status).toBe('signedOut')
  expect(writes).toEqual([])
})

test('claims that no record can hold are told at the sign-in, and do not look like a damaged store', async () => {
  const circle: { groups: string[]; self?: unknown } = { groups: [] }
  circle.self = circle
  for (const value of [circle, { groups: [], id: 5n }]) {
    const { auth, signIn, warnings } = start(() => ({ value }))
    const error = await rejection(signIn())
    expect(error).toMatchObject({ code: 'exchange-failed', appState: 'deep', cause: { code: 'callback-failed' } })
    expect(auth.session).toEqual({ status: 'signedOut' })
    expect(warnings).toEqual([])
  }
})

test('the error says what the validator said', async () => {
  const { signIn, server } = start()
  server.idToken = (claims) => claims
  expect(Object(await rejection(signIn())).message).toContain('groups is no list')
})

test('claims that are refused at a refresh cost no token: those of before stay, and a warning says it', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const { auth, server, signIn, warnings } = start()
  await signIn()
  server.idToken = (claims) => ({ ...claims, groups: 'admins' })
  server.tokenResponse = (body) => ({ ...body, access_token: 'second', refresh_token: 'second' })
  vi.setSystemTime(Date.now() + 301_000)
  expect(await auth.getTokenSet()).toMatchObject({ accessToken: 'second', claims: { groups: ['admins'] } })
  expect(auth.session).toMatchObject({ status: 'signedIn', freshness: 'fresh', claims: { groups: ['admins'] } })
  expect(warnings).toEqual([expect.stringContaining('groups is no list')])
})

test('claims of another user are refused at a refresh before anybody validates them', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const { auth, server, signIn, writes } = start()
  await signIn()
  server.idToken = (claims) => ({ ...claims, sub: 'mallory', groups: 'admins' })
  server.tokenResponse = (body) => ({ ...body, access_token: 'second', refresh_token: 'second' })
  vi.setSystemTime(Date.now() + 301_000)
  await expect(auth.getAccessToken()).rejects.toMatchObject({ code: 'invalid-response' })
  expect(JSON.stringify(writes)).not.toContain('second')
})

test('claims are validated anew at a refresh, and kept where it brings none', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const { auth, server, signIn } = start()
  await signIn()
  server.idToken = (claims) => ({ ...claims, groups: ['Guests'] })
  vi.setSystemTime(Date.now() + 301_000)
  expect((await auth.getTokenSet()).claims?.groups).toEqual(['guests'])
  server.tokenResponse = ({ id_token: _, ...body }) => ({ ...body, access_token: 'third' })
  vi.setSystemTime(Date.now() + 301_000)
  expect((await auth.getTokenSet()).claims?.groups).toEqual(['guests'])
})

test.each(['user of another form', 7])(
  'what the validator makes of `sub` (%s) is not who is signed in',
  async (sub) => {
    const { auth, server, signIn } = start((value) => ({ value: { ...Object(value), sub } }))
    await signIn()
    expect(auth.session).toMatchObject({ status: 'signedIn', claims: { sub: 'ada' } })
    server.tokenResponse = (body) => ({ ...body, access_token: 'the next one' })
    const rejectedToken = await auth.getAccessToken()
    expect(await auth.getAccessToken({ rejectedToken })).toBe('the next one')
  },
)

test('the client of another source is refused where that does not check what this one wants', () => {
  const options = { issuer: ISSUER, clientId: 'app', redirectUri: REDIRECT_URI, userAgent: new FakePage() }
  const { client } = authorizationCode(options)
  const claims = schema(valid)
  for (const more of [
    { claims },
    { idTokenSignature: idTokenSignature() },
    { clientId: 'other' },
    { issuer: 'https://b.example' },
  ]) {
    expect(() => authorizationCode({ ...options, ...more, client })).toThrow(
      expect.objectContaining({ code: 'invalid-options' }),
    )
  }
  const strict = authorizationCode({ ...options, claims, idTokenSignature: idTokenSignature() })
  const same = { ...options, client: strict.client }
  expect(authorizationCode(same).client).toBe(strict.client)
  expect(authorizationCode({ ...same, claims, idTokenSignature: idTokenSignature() }).client).toBe(strict.client)
  expect(() => authorizationCode({ ...same, claims: schema(valid) })).toThrow('client cannot be shared')
})

test('which session it is at the server is kept though the ID token of a refresh does not say it', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const { auth, server, signIn } = start()
  server.idToken = (claims) => ({ ...claims, groups: ['a'], sid: 'session-7' })
  await signIn()
  server.idToken = (claims) => ({ ...claims, groups: ['b'] })
  vi.setSystemTime(Date.now() + 301_000)
  expect((await auth.getTokenSet()).claims).toMatchObject({ sid: 'session-7', groups: ['b'] })
})
