import { InvalidCallbackError, memoryStore, refreshToken } from '@keyturn/core'
import { afterEach, expect, test, vi } from 'vitest'
import { testAuthorizationServer } from './authorization-server.ts'
import { HOSTILE_ERROR_RESPONSES, HOSTILE_TOKEN_RESPONSES } from './hostile-token-responses.ts'
import { MALLORYS, refuses, SECRETS, secondLogin, signedInWorld } from './hostile-world.ts'
import { HOUR, MINUTE, sourceAt } from './renewal-harness.ts'
import { rejection } from './sign-in-server.ts'
import { expectNone } from './visible-secrets.ts'

afterEach(() => {
  vi.useRealTimers()
})

const answers = [
  ...HOSTILE_TOKEN_RESPONSES.map(([title, answer]) => [title, answer, { code: 'invalid-response' }] as const),
  ...HOSTILE_ERROR_RESPONSES,
]

test.each(answers)('a code that is answered with %s signs nobody in', async (_, answer, cause) => {
  const world = await signedInWorld({ scope: 'orders openid' })
  world.server.tokenResponse = answer
  await secondLogin(world)
  const error = await refuses(world, () => world.auth.handleCallback(), {
    code: 'exchange-failed',
    retryable: false,
    appState: 'deep',
    cause,
  })
  expect(error).toBeInstanceOf(InvalidCallbackError)
  expect(world.server.tokenRequests).toHaveLength(2)
})

test.each(answers)('a refresh that is answered with %s keeps the session', async (_, answer, expected) => {
  vi.useFakeTimers({ toFake: ['Date', 'performance'] })
  const server = testAuthorizationServer({ secret: 'the-cl1ents-own' })
  const hostile: { answer?: () => Response } = {}
  const sentTo: string[] = []
  const { options, warnings } = sourceAt(server, {
    store: memoryStore(),
    fetch: async (input, init) => {
      const { url } = new Request(input, init)
      sentTo.push(url)
      return url.endsWith('/token') && hostile.answer ? hostile.answer() : server.fetch(input, init)
    },
  })
  const seed = server.newRefreshToken()
  const auth = refreshToken({ ...options, refreshToken: seed })
  const before = await auth.getAccessToken()
  hostile.answer = answer
  vi.setSystemTime(Date.now() + HOUR - MINUTE)
  expect(await auth.getAccessToken()).toBe(before) // still valid: R3
  vi.setSystemTime(Date.now() + HOUR)
  const error = await rejection(auth.getAccessToken())
  expect(error).toMatchObject(expected)
  expectNone([error, warnings, auth.explain()], [seed, ...SECRETS, 'the-cl1ents-own'])
  expect(auth.session).toMatchObject({ status: 'signedIn', freshness: 'stale' })
  expect(new Set(sentTo.map((url) => new URL(url).origin))).toEqual(new Set([server.issuer]))
  delete hostile.answer
  vi.setSystemTime(Date.now() + HOUR)
  expect(server.accepts(await auth.getAccessToken())).toBe(true)
  expect(server.reuses).toEqual([])
})

test.each([
  ['null', null],
  ['a number', 7],
  ['an object', { orders: true }],
  ['a list of objects', [{}, null, [['x']]]],
])('a scope that is %s is none: the one that was asked for stands', async (_, scope) => {
  const world = await signedInWorld({ scope: 'orders' })
  world.server.tokenResponse = () => ({ ...MALLORYS, scope })
  await secondLogin(world)
  await world.auth.handleCallback()
  expect((await world.auth.getTokenSet()).scope).toBe('orders')
})

test.each([
  ['text/plain', 'text/plain'],
  ['text/html', 'text/html; charset=utf-16'],
  ['none', ''],
])('a good answer whose content type is %s is what it says it is', async (_, type) => {
  const world = await signedInWorld({ scope: 'orders' })
  world.server.tokenResponse = () => new Response(JSON.stringify(MALLORYS), { headers: { 'content-type': type } })
  await secondLogin(world)
  expect(await world.auth.handleCallback()).toEqual({ appState: 'deep' })
})

test.each([null, 7, [], {}, true, '', 'r\nefresh'])(
  'a refresh token %j is none, and that is said',
  async (refresh_token) => {
    const world = await signedInWorld({ scope: 'orders' })
    world.server.tokenResponse = () => ({ ...MALLORYS, refresh_token })
    await secondLogin(world)
    await world.auth.handleCallback()
    expect(world.auth.session).toMatchObject({ status: 'signedIn', renewable: false })
    expect(await world.stored()).not.toHaveProperty('refreshToken', expect.anything())
  },
)

test('a code that was redeemed before is refused, and the session that it gave goes on', async () => {
  const world = await signedInWorld()
  await secondLogin(world, { parameters: { code: 'code-1-of-the-server' } })
  await refuses(world, () => world.auth.handleCallback(), {
    code: 'exchange-failed',
    error: 'invalid_grant',
    cause: { name: 'AuthorizationServerError', code: 'request-refused' },
  })
})

test('no member of an answer reaches a prototype', async () => {
  const world = await signedInWorld({ scope: 'orders' })
  world.server.tokenResponse = () =>
    new Response(`{"__proto__":{"evil":1},"constructor":{"prototype":{"evil":1}},${JSON.stringify(MALLORYS).slice(1)}`)
  await secondLogin(world)
  await world.auth.handleCallback()
  expect(Object({}).evil).toBeUndefined()
  expect(JSON.stringify(await world.stored())).not.toContain('evil')
})
