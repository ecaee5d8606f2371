import type { JWTPayload } from 'jose'
import { afterEach, expect, test, vi } from 'vitest'
import { type HostileWorld, MALLORYS, refuses, secondLogin, signedInWorld } from './hostile-world.ts'
import { ISSUER, rejection, signed } from './sign-in-server.ts'

afterEach(() => {
  vi.useRealTimers()
})

const now = () => Math.floor(Date.now() / 1000)
const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
const withHeader =
  (header: object, signature = 'c2ln') =>
  (claims: JWTPayload) =>
    `${part(header)}.${part(claims)}.${signature}`

type Change = (claims: JWTPayload) => JWTPayload | string

const wrong: [string, Change][] = [
  ['of alg none', withHeader({ alg: 'none' }, '')],
  ['of alg none with a signature', withHeader({ alg: 'none' })],
  ['of alg None', withHeader({ alg: 'None' }, '')],
  ['of an empty alg', withHeader({ alg: '' })],
  ['without alg', withHeader({})],
  ['whose alg is a list', withHeader({ alg: ['ES256'] })],
  ['of a symmetric alg', withHeader({ alg: 'HS256' })],
  ['with extensions that nobody here knows', withHeader({ alg: 'ES256', crit: ['evil'], evil: 1 })],
  ['whose header is a list', (claims) => `${part([])}.${part(claims)}.c2ln`],
  ['whose claims are a list', () => `${part({ alg: 'ES256' })}.${part([])}.c2ln`],
  [
    'whose claims are in a prototype',
    ({ ...claims }) =>
      `${part({ alg: 'ES256' })}.${Buffer.from(`{"__proto__":${JSON.stringify(claims)}}`).toString('base64url')}.c2ln`,
  ],
  ['that is encrypted', () => 'e30.e30.e30.e30.e30'],
  ['of one part', () => 'e30'],
  ['of two parts', () => `${part({ alg: 'ES256' })}.e30`],
  ['that is no base64', () => '%%%.%%%.%%%'],
  ['of another issuer', (claims) => ({ ...claims, iss: 'https://evil.example' })],
  ['whose issuer is spelt otherwise', (claims) => ({ ...claims, iss: ISSUER.toUpperCase() })],
  ['whose issuer is a list', (claims) => ({ ...claims, iss: [ISSUER] as unknown as string })],
  ['for another client', (claims) => ({ ...claims, aud: 'other' })],
  ['for nobody', (claims) => ({ ...claims, aud: [] })],
  ['for an object', (claims) => ({ ...claims, aud: { app: true } as unknown as string })],
  ['for two clients', (claims) => ({ ...claims, aud: ['app', 'other'] })],
  [
    'for two clients, of which the other is the party',
    (claims) => ({ ...claims, aud: ['app', 'other'], azp: 'other' }),
  ],
  ['that is expired', (claims) => ({ ...claims, iat: now() - 7200, exp: now() - 3600 })],
  ['that never expires', (claims) => ({ ...claims, exp: null as unknown as number })],
  ['whose expiry is text', (claims) => ({ ...claims, exp: '9999999999' as unknown as number })],
  ['whose time of issue is text', (claims) => ({ ...claims, iat: 'now' as unknown as number })],
  ['that is not valid yet', (claims) => ({ ...claims, nbf: now() + 3600 })],
  ['whose subject is empty of meaning', (claims) => ({ ...claims, sub: null as unknown as string })],
  ['whose subject is a list', (claims) => ({ ...claims, sub: ['ada'] as unknown as string })],
]

const ofLogins: [string, Change][] = [
  ['of another login', (claims) => ({ ...claims, nonce: 'another' })],
  ['whose nonce is a list', (claims) => ({ ...claims, nonce: [claims.nonce] })],
  ['without a nonce', ({ nonce: _, ...claims }) => claims],
  ['that does not say when the person signed in', (claims) => claims],
  ['of a person who signed in too long ago', (claims) => ({ ...claims, auth_time: now() - 3600 })],
  ['whose time of sign-in is text', (claims) => ({ ...claims, auth_time: `${now()}` })],
  ['whose time of sign-in is negative', (claims) => ({ ...claims, auth_time: -1 })],
]

test.each([...wrong, ...ofLogins])(
  'a second login with an ID token %s leaves the first one as it is',
  async (_, change) => {
    const world = await signedInWorld()
    const signsIn = { auth_time: now() }
    world.server.idToken = (claims) =>
      change(wrong.some(([, one]) => one === change) ? { ...claims, ...signsIn } : claims)
    await world.auth.login({ appState: 'deep', maxAge: 60 })
    world.page.url = world.server.authorize(world.page.lastVisited)
    await refuses(world, () => world.auth.handleCallback(), {
      name: 'InvalidCallbackError',
      code: 'exchange-failed',
      appState: 'deep',
      cause: { code: 'invalid-response' },
    })
  },
)

/** The refresh token of Ada's is answered with tokens of mallory's and this ID token. */
function answersRefreshWith(world: HostileWorld, change: Change): void {
  world.answers.set('/token', async () => {
    const id = change({ iss: ISSUER, sub: 'ada', aud: 'app', iat: now(), exp: now() + 300 })
    const headers = { date: new Date().toUTCString() } // else an ID token's own time is believed
    return Response.json({ ...MALLORYS, id_token: typeof id === 'string' ? id : await signed(id) }, { headers })
  })
}

const ofRefreshes: [string, Change][] = [
  ['of another person', (claims) => ({ ...claims, sub: 'mallory' })],
  ['of a person who is spelt otherwise', (claims) => ({ ...claims, sub: 'Ada' })],
]

test.each([...wrong, ...ofRefreshes])('a refresh with an ID token %s is discarded whole', async (_, change) => {
  const world = await signedInWorld()
  const before = await world.stored()
  answersRefreshWith(world, change)
  const rejectedToken = await world.auth.getAccessToken()
  const error = await rejection(world.auth.getAccessToken({ rejectedToken }))
  expect(error).toMatchObject({ name: 'TokenUnavailableError', code: 'invalid-response', retryable: true })
  const { tokens, refreshToken, claims, idToken } = Object(await world.stored())
  expect({ tokens, refreshToken, claims, idToken }).toEqual({
    tokens: before?.tokens,
    refreshToken: 'refresh-token-of-ada',
    claims: before?.claims,
    idToken: before?.idToken,
  })
  expect(world.auth.session).toMatchObject({ status: 'signedIn', claims: { sub: 'ada' }, freshness: 'stale' })
  expect(await world.auth.getAccessToken()).toBe('access-token-of-ada')
})

test('a refresh may leave the ID token out, or bring a new one of the same person', async () => {
  const world = await signedInWorld()
  for (const idToken of [
    undefined,
    await signed({ iss: ISSUER, sub: 'ada', aud: 'app', iat: now(), exp: now() + 9 }),
  ]) {
    world.answers.set('/token', () =>
      Response.json({ ...MALLORYS, access_token: `good ${idToken}`, id_token: idToken }),
    )
    const rejectedToken = await world.auth.getAccessToken()
    expect(await world.auth.getAccessToken({ rejectedToken })).toBe(`good ${idToken}`)
    expect(world.auth.session).toMatchObject({ status: 'signedIn', claims: { sub: 'ada' } })
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 60_000 })
  }
})

test('an ID token that nobody asked for may not bring a nonce', async () => {
  const world = await signedInWorld({ scope: 'orders' })
  const idToken = await signed({ iss: ISSUER, sub: 'ada', aud: 'app', iat: now(), exp: now() + 9, nonce: 'x' })
  world.server.tokenResponse = () => ({ ...MALLORYS, id_token: idToken })
  await secondLogin(world)
  expect(await rejection(world.auth.handleCallback())).toMatchObject({ code: 'exchange-failed' })
  expect(await world.auth.getAccessToken()).toBe('access-token-of-ada')
})
