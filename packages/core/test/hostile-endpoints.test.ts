import { fetchUserInfo, InvalidCallbackError } from '@keyturn/core'
import { expect, test } from 'vitest'
import { expectUntouched, refuses, secondLogin, signedInWorld } from './hostile-world.ts'
import { type Answer, ISSUER, rejection } from './sign-in-server.ts'

const EVIL = 'https://evil.example'
const invalid = { code: 'invalid-response', appState: 'deep' }

// RFC 9207: who answers is said in the response, and compared letter by letter.
const mixedUp: [string, Answer, boolean][] = [true, false].flatMap((advertised) => [
  ...[EVIL, `${ISSUER}/`, `${ISSUER}#x`, ISSUER.toUpperCase(), ` ${ISSUER}`, `${ISSUER}\0`, 'null', '[]'].flatMap(
    (iss): [string, Answer, boolean][] => [
      [`a code from "${iss}"`, { parameters: { iss } }, advertised],
      [`an error from "${iss}"`, { error: 'access_denied', parameters: { iss } }, advertised],
    ],
  ),
])
const missing: [string, Answer, boolean][] = [undefined, ''].flatMap((iss): [string, Answer, boolean][] => [
  [`a code from ${iss}`, { parameters: { iss } }, true],
  [`an error from ${iss}`, { error: 'access_denied', parameters: { iss } }, true],
])

test.each([...mixedUp, ...missing])('%s is not redeemed (advertised: %3$s)', async (_, answer, advertised) => {
  const world = await signedInWorld()
  world.server.metadata = { authorization_response_iss_parameter_supported: advertised }
  const next = { ...world, ...world.nextPage() }
  await secondLogin(next, answer)
  const before = world.server.tokenRequests.length
  const error = await refuses(world, () => next.auth.handleCallback(), invalid)
  expect(error).toBeInstanceOf(InvalidCallbackError)
  expect(error).not.toHaveProperty('error', 'access_denied') // it may be of anybody
  expect(world.server.tokenRequests).toHaveLength(before)
})

test.each([
  ['access_denied', 'access_denied'],
  ['a text of a megabyte', 'e'.repeat(1_000_000)],
  ['a script', '<img src=x onerror=alert(1)>'],
  ['a line break', 'x\r\nSet-Cookie: a=b'],
  ['__proto__', '__proto__'],
  ['constructor', 'constructor'],
  ['NUL', 'a\0b'],
])('an error response that says %s is a typed error of moderate length', async (_, error) => {
  const world = await signedInWorld()
  await secondLogin(world, { error, parameters: { error_description: 'd'.repeat(100_000), error_uri: 'javascript:1' } })
  const { message } = await refuses(world, () => world.auth.handleCallback(), {
    code: 'authorization-refused',
    appState: 'deep',
  })
  expect(message.length).toBeLessThan(1000)
})

const strange: [string, () => Response | Promise<Response>][] = [
  ['an outage', () => new Response('', { status: 503 })],
  ['a refusal', () => new Response('', { status: 401, headers: { 'www-authenticate': 'Bearer' } })],
  ['a redirect', () => new Response('', { status: 307, headers: { location: `${EVIL}/` } })],
  ['a web page', () => new Response('<!doctype html>')],
  ['tokens', () => Response.json({ access_token: 'x', token_type: 'Bearer' })],
  ['null', () => Response.json(null)],
  ['no connection', () => Promise.reject(new TypeError('fetch failed'))],
  ['an error of nothing', () => Promise.reject(undefined)],
  ['a network error', () => Response.error()],
]

test.each(strange)('a revocation that is answered with %s ends the session all the same', async (_, answer) => {
  const world = await signedInWorld()
  world.answers.set('/revoke', answer)
  await world.auth.revoke()
  expect(world.auth.session).toMatchObject({ status: 'signedOut', ended: { reason: 'signed-out', origin: 'user' } })
  expect(await world.stored()).toMatchObject({ tokens: {} })
  expect(JSON.stringify([await world.stored(), world.warnings])).not.toContain('token-of-ada')
  expect(world.sentTo).toEqual([`${ISSUER}/revoke`])
  expect(await rejection(world.auth.getAccessToken())).toMatchObject({ name: 'LoginRequiredError' })
})

const people: [string, () => Response, object][] = [
  ['somebody else', () => Response.json({ sub: 'mallory' }), { code: 'invalid-response' }],
  ['nobody', () => Response.json({ name: 'Ada' }), { code: 'invalid-response' }],
  ['a subject in a prototype', () => new Response('{"__proto__":{"sub":"ada"}}'), { code: 'invalid-response' }],
  ['a list of subjects', () => Response.json({ sub: ['ada'] }), { code: 'invalid-response' }],
  ['a list', () => Response.json([{ sub: 'ada' }]), { code: 'invalid-response' }],
  ['null', () => Response.json(null), { code: 'invalid-response' }],
  ['a text', () => Response.json('ada'), { code: 'invalid-response' }],
  ['a number', () => Response.json(7), { code: 'invalid-response' }],
  ['nothing', () => new Response(''), { code: 'invalid-response' }],
  ['204', () => new Response(null, { status: 204 }), { code: 'invalid-response' }],
  ['a web page', () => new Response('<!doctype html>'), { code: 'invalid-response' }],
  ['more than a megabyte', () => new Response(`${' '.repeat(1_000_001)}{"sub":"ada"}`), { code: 'invalid-response' }],
  ['a redirect', () => new Response('', { status: 307, headers: { location: EVIL } }), { code: 'invalid-response' }],
  ['a subject and 403', () => Response.json({ sub: 'ada' }, { status: 403 }), { code: 'invalid-response' }],
  ['a subject and 201', () => Response.json({ sub: 'ada' }, { status: 201 }), { code: 'invalid-response' }],
  ['an outage', () => new Response('', { status: 500 }), { code: 'server-error' }],
  ['a network error', () => Response.error(), { code: 'invalid-response' }],
  [
    'an error',
    () => new Response('', { status: 403, headers: { 'www-authenticate': 'Bearer error="insufficient_scope"' } }),
    { code: 'invalid-response' },
  ],
]

test.each(people)('user info that is %s tells nothing, and changes no session', async (_, answer, expected) => {
  const world = await signedInWorld()
  world.server.metadata = { userinfo_endpoint: `${ISSUER}/me` }
  const next = world.nextPage()
  world.answers.set('/me', answer)
  const error = await refuses(world, () => fetchUserInfo(next.auth), expected)
  expect(String(error)).not.toContain('access-token-of-ada')
  expect(world.sentTo.filter((url) => url.endsWith('/me'))).toHaveLength(1)
})

test('user info whose members have dangerous names changes no prototype', async () => {
  const world = await signedInWorld()
  world.server.metadata = { userinfo_endpoint: `${ISSUER}/me` }
  const next = world.nextPage()
  world.answers.set('/me', () => new Response('{"sub":"ada","__proto__":{"evil":1},"constructor":{"evil":1}}'))
  expect(await fetchUserInfo(next.auth)).toMatchObject({ sub: 'ada' })
  expect(Object({}).evil).toBeUndefined()
})

test('a sign-out takes nobody anywhere but to the end-session endpoint, and no token but the ID token', async () => {
  const world = await signedInWorld()
  world.answers.set('/revoke', () => new Response('', { status: 302, headers: { location: EVIL } }))
  await world.auth.logout({ postLogoutRedirectUri: `${EVIL}/#x` })
  const { origin, pathname, searchParams } = new URL(world.page.lastVisited)
  expect(origin + pathname).toBe(`${ISSUER}/logout`)
  expect([...searchParams.keys()].sort()).toEqual(['client_id', 'id_token_hint', 'post_logout_redirect_uri'])
  expect(world.page.lastVisited).not.toMatch(/(access|refresh)-token/)
})

test('a server that refuses everything ends in an error that names its last answer, after one navigation', async () => {
  const world = await signedInWorld()
  const before = await world.stored()
  await secondLogin(world, { error: 'temporarily_unavailable' })
  const error = await refuses(world, () => world.auth.handleCallback(), {
    code: 'authorization-refused',
    error: 'temporarily_unavailable',
    message: expect.stringContaining('temporarily_unavailable'),
    fix: 'Call login() again.',
  })
  for (let count = 0; count < 5; count++) expect(await world.auth.handleCallback()).toBeUndefined()
  await expectUntouched(world, before)
  expect(world.page.visited).toHaveLength(1)
  expect(error.retryable).toBe(false)
})
