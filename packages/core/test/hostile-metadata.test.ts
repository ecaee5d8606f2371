import { fetchUserInfo, OAuthError } from '@keyturn/core'
import { expect, test } from 'vitest'
import { expectUntouched, type HostileWorld, MALLORYS, refuses, secondLogin, signedInWorld } from './hostile-world.ts'
import { ISSUER } from './sign-in-server.ts'

const OIDC = '/.well-known/openid-configuration'
const OAUTH = '/.well-known/oauth-authorization-server'

const good = {
  issuer: ISSUER,
  authorization_endpoint: `${ISSUER}/authorize`,
  token_endpoint: `${ISSUER}/token`,
  id_token_signing_alg_values_supported: ['ES256'],
}
const raw = JSON.stringify(good)
const json = (body: unknown) => () => Response.json(body)
const text = (body: string | null, init?: ResponseInit) => () => new Response(body, init)

const documents: [string, () => Response, string][] = [
  ['of another issuer', json({ ...good, issuer: 'https://evil.example' }), 'issuer-mismatch'],
  ['of an issuer below this one', json({ ...good, issuer: `${ISSUER}/tenant` }), 'issuer-mismatch'],
  ['of an issuer with a query', json({ ...good, issuer: `${ISSUER}/?x` }), 'issuer-mismatch'],
  ['of an issuer with a fragment', json({ ...good, issuer: `${ISSUER}/#x` }), 'issuer-mismatch'],
  ['of an issuer with a user', json({ ...good, issuer: 'https://ada@as.example' }), 'issuer-mismatch'],
  ['of an issuer that is no URL', json({ ...good, issuer: 'as.example' }), 'issuer-mismatch'],
  ['of an http issuer', json({ ...good, issuer: 'http://as.example' }), 'issuer-mismatch'],
  ...[undefined, null, 7, true, {}, [ISSUER]].map((issuer): [string, () => Response, string] => [
    `of issuer ${JSON.stringify(issuer)}`,
    json({ ...good, issuer }),
    'discovery-failed',
  ]),
  ['in a list', json([good]), 'discovery-failed'],
  ['in a text', json(raw), 'discovery-failed'],
  ['in a prototype', text(`{"__proto__":${raw}}`), 'discovery-failed'],
  ['in a constructor', text(`{"constructor":{"prototype":${raw}}}`), 'discovery-failed'],
  ['that is null', json(null), 'discovery-failed'],
  ['that is a number', json(1), 'discovery-failed'],
  ['that is a web page', text('<!doctype html>', { headers: { 'content-type': 'text/html' } }), 'discovery-failed'],
  ['that is empty', text(''), 'discovery-failed'],
  ['that is cut short', text(raw.slice(0, -1)), 'discovery-failed'],
  ['of more than a megabyte', text(`${' '.repeat(1_000_001)}${raw}`), 'discovery-failed'],
  ['with 204', text(null, { status: 204 }), 'discovery-failed'],
  ['with 206', text(raw, { status: 206 }), 'discovery-failed'],
  ['with 404', text(raw, { status: 404 }), 'discovery-failed'],
  ['with 401', text(raw, { status: 401 }), 'discovery-failed'],
  ...[301, 302, 303, 307, 308].map((status): [string, () => Response, string] => [
    `that ${status} says is elsewhere`,
    text(raw, { status, headers: { location: `https://evil.example${OIDC}` } }),
    'discovery-failed',
  ]),
  [
    'that is said to be at http',
    text('', { status: 302, headers: { location: 'http://as.example/' } }),
    'discovery-failed',
  ],
  [
    'that is said to be at a script',
    text('', { status: 302, headers: { location: 'javascript:1' } }),
    'discovery-failed',
  ],
  ['that is said to be nowhere', text('', { status: 302, headers: { location: 'https://' } }), 'discovery-failed'],
  [
    'that is said to be behind a user',
    text('', { status: 302, headers: { location: 'https://u:p@as.example/' } }),
    'insecure-url',
  ],
]

/** What a page does next that has a session and asks for the metadata anew. */
async function nextLogin(world: HostileWorld) {
  const { auth } = world.nextPage()
  return () => auth.login({ appState: 'deep' })
}

test.each(documents)('metadata %s takes nobody to a login, and nobody out of a session', async (_, answer, code) => {
  const world = await signedInWorld()
  for (const path of [OIDC, OAUTH]) world.answers.set(path, answer)
  await refuses(world, await nextLogin(world), { code, fix: expect.any(String) })
  expect(world.page.visited).toEqual([])
})

const nowhere = ['', null, undefined, 0, false]
const insecure: unknown[] = [
  'http://as.example/x',
  'http://127.0.0.1:8080/x', // a service of this machine, whose name comes from far away
  'http://localhost/x',
  'javascript:alert(1)',
  'data:application/json,{}',
  'file:///etc/passwd',
  'blob:https://as.example/1',
  'ws://as.example/x',
  '//as.example/x',
  '/x',
  'as.example/x',
  'https://',
  'https://ada:secret@as.example/x',
  'https://ada@as.example/x',
  'https://as.example/x#part',
  'http://localhost.evil.example/x',
  7,
  true,
  {},
  [],
  ['https://as.example/x'],
  { href: 'https://as.example/x' },
]

const endpoints: [string, (world: HostileWorld) => () => Promise<unknown>][] = [
  ['authorization_endpoint', (world) => () => world.nextPage().auth.login()],
  ['userinfo_endpoint', (world) => () => fetchUserInfo(world.nextPage().auth)],
]
const cases = endpoints.flatMap(([name, act]) => [
  ...nowhere.map((value) => [name, value, 'invalid-metadata', act] as const),
  ...insecure.map((value) => [name, value, 'insecure-url', act] as const),
])

test.each(cases)('%s %j is %s, and gets nothing', async (name, value, code, act) => {
  const world = await signedInWorld()
  world.server.metadata = { userinfo_endpoint: `${ISSUER}/me`, [name]: value }
  await refuses(world, act(world), { code, retryable: false, fix: expect.any(String) })
  expect(world.sentTo.filter((url) => !url.includes('/.well-known/'))).toEqual([])
  expect(world.page.visited).toEqual([])
})

test.each([
  ...nowhere.map((value) => [value, 'invalid-metadata'] as const),
  ...insecure.map((value) => [value, 'insecure-url'] as const),
])('token_endpoint %j gets no code: the login ends as %s', async (value, code) => {
  const world = await signedInWorld()
  world.server.metadata = { token_endpoint: value }
  const next = { ...world, ...world.nextPage() }
  await secondLogin(next)
  const before = world.server.tokenRequests.length
  await refuses(world, () => next.auth.handleCallback(), { code: 'exchange-failed', appState: 'deep', cause: { code } })
  expect(world.server.tokenRequests).toHaveLength(before)
})

test.each(insecure)(
  'revocation_endpoint %j and end_session_endpoint alike get nothing, and the sign-out is done',
  async (value) => {
    const world = await signedInWorld()
    world.server.metadata = { revocation_endpoint: value, end_session_endpoint: value }
    const { auth, warnings } = world.nextPage()
    await auth.logout()
    expect(auth.session).toMatchObject({ status: 'signedOut', ended: { reason: 'signed-out' } })
    expect(world.sentTo.map((url) => new URL(url).pathname)).toEqual([OIDC])
    expect(world.page.visited).toEqual([])
    expect(warnings.join('\n')).not.toContain('of-ada')
    expect(warnings).not.toEqual([])
  },
)

test.each([null, 7, true, 'none', {}, [], ['none'], [null], ['none', 7], { 0: 'ES256' }])(
  'with id_token_signing_alg_values_supported %j no unsigned ID token signs in',
  async (value) => {
    const world = await signedInWorld()
    world.server.metadata = { id_token_signing_alg_values_supported: value }
    const next = { ...world, ...world.nextPage() }
    const claims = { iss: ISSUER, sub: 'mallory', aud: 'app', iat: 0, exp: 1e10 }
    const idToken = [{ alg: 'none' }, claims].map((one) => Buffer.from(JSON.stringify(one)).toString('base64url'))
    world.server.tokenResponse = () => ({ ...MALLORYS, id_token: `${idToken.join('.')}.` })
    await secondLogin(next)
    await refuses(world, () => next.auth.handleCallback(), { code: 'exchange-failed' })
  },
)

test.each([null, 7, true, 'client_secret_post', {}, [null], [{}]])(
  'with token_endpoint_auth_methods_supported %j a confidential client signs in, or is told why not',
  async (value) => {
    const world = await signedInWorld()
    world.server.metadata = { token_endpoint_auth_methods_supported: value }
    const { auth } = world.nextPage({ clientSecret: 'of-the-client' })
    const before = await world.stored()
    await secondLogin({ ...world, auth })
    const outcome = await auth.handleCallback().catch((error: unknown) => error)
    if (outcome instanceof OAuthError) {
      expect(outcome).toMatchObject({ code: 'exchange-failed', cause: { retryable: false } })
      await expectUntouched(world, before)
    } else expect(outcome).toEqual({ appState: 'deep' })
  },
)

test('members that nobody asked for change nothing, not even a prototype', async () => {
  const world = await signedInWorld()
  const polluting = `{"__proto__":{"evil":1},"constructor":{"prototype":{"evil":1}},"toString":"x","then":"x",${raw.slice(1)}`
  world.answers.set(OIDC, text(polluting))
  await world.nextPage().auth.login()
  expect(world.page.lastVisited).toContain(`${ISSUER}/authorize?`)
  expect(Object({}).evil).toBeUndefined()
})
