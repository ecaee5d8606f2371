import { fetchUserInfo, memoryStore, refreshToken, TokenManager } from '@keyturn/core'
import { expect, test } from 'vitest'
import { rejection } from './sign-in-server.ts'

const ISSUER = 'https://as.example'

/** A person who is signed in, at a server whose user info answers like this. */
function signedIn(answer: (authorization: string | null, request: Request) => Response, metadata = {}) {
  let issued = 0
  const urls: string[] = []
  const grant = async () => ({
    accessToken: `token-${++issued}`,
    expiresAt: Date.now() + 3_600_000,
    claims: { sub: 'ada' },
  })
  const auth = new TokenManager(grant, {
    issuer: ISSUER,
    clientId: 'page',
    discovery: false,
    metadata: { userinfo_endpoint: `${ISSUER}/me`, ...metadata },
    store: memoryStore(),
    fetch: async (input, init) => {
      const request = new Request(input, init)
      urls.push(request.url)
      return answer(request.headers.get('authorization'), request)
    },
  })
  return { auth, urls }
}

test('user info comes with the token of the session, and is of its subject', async () => {
  const { auth, urls } = signedIn((authorization) => Response.json({ sub: 'ada', name: 'Ada', with: authorization }))
  expect(await fetchUserInfo(auth)).toEqual({ sub: 'ada', name: 'Ada', with: 'Bearer token-1' })
  expect(urls).toEqual([`${ISSUER}/me`])
})

test('user info of somebody else is refused', async () => {
  const { auth } = signedIn(() => Response.json({ sub: 'mallory' }))
  expect(await rejection(fetchUserInfo(auth))).toMatchObject({ code: 'invalid-response', retryable: true })
})

test('a token that user info refuses is renewed, and tried once more', async () => {
  const { auth, urls } = signedIn((authorization) =>
    authorization === 'Bearer token-1' ? new Response('', { status: 401 }) : Response.json({ sub: 'ada' }),
  )
  expect(await fetchUserInfo(auth)).toEqual({ sub: 'ada' })
  expect(urls).toHaveLength(2)
})

test('user info that refuses every token is asked twice', async () => {
  const challenge = { 'www-authenticate': 'Bearer error="invalid_token"' }
  const { auth, urls } = signedIn(() => new Response('', { status: 401, headers: challenge }))
  const error = await rejection(fetchUserInfo(auth))
  expect(error).toMatchObject({ code: 'invalid-response', fix: expect.stringContaining('openid') })
  expect(String(error)).not.toContain('token-')
  expect(urls).toHaveLength(2)
})

test.each([
  ['a web page', () => new Response('<html>')],
  ['a signed answer', () => new Response('e30.e30.c2ln', { headers: { 'content-type': 'application/jwt' } })],
  ['no subject', () => Response.json({ name: 'Ada' })],
  ['a list', () => Response.json([])],
  ['a redirect', () => new Response('', { status: 302, headers: { location: 'https://evil.example/' } })],
  ['more than a megabyte', () => new Response(`{"sub":"ada","x":"${'x'.repeat(2_000_000)}"}`)],
])('%s is no user info, and the token goes nowhere else', async (_, answer) => {
  const { auth, urls } = signedIn(answer)
  expect(await rejection(fetchUserInfo(auth))).toMatchObject({ code: 'invalid-response', fix: expect.any(String) })
  expect(urls.every((url) => url === `${ISSUER}/me`)).toBe(true)
})

test('an endpoint that is missing or insecure is said, and sees no token', async () => {
  const missing = signedIn(() => Response.json({}), { userinfo_endpoint: undefined })
  expect(await rejection(fetchUserInfo(missing.auth))).toMatchObject({ code: 'invalid-metadata' })
  const insecure = signedIn(() => Response.json({}), { userinfo_endpoint: 'http://as.example/me' })
  expect(await rejection(fetchUserInfo(insecure.auth))).toMatchObject({ code: 'insecure-url' })
  expect([...missing.urls, ...insecure.urls]).toEqual([])
})

test('an outage of user info is told as one, and the session goes on', async () => {
  const { auth } = signedIn(() => new Response('', { status: 503 }))
  await auth.getAccessToken()
  expect(await rejection(fetchUserInfo(auth))).toMatchObject({ code: 'server-error', retryable: true })
  expect(auth.session).toMatchObject({ status: 'signedIn', freshness: 'fresh' })
})

test('where nobody is signed in no user info is asked for', async () => {
  const auth = refreshToken({
    issuer: ISSUER,
    clientId: 'page',
    refreshToken: 'seed',
    discovery: false,
    metadata: { userinfo_endpoint: `${ISSUER}/me`, token_endpoint: `${ISSUER}/token` },
    fetch: async () => Response.json({ error: 'invalid_grant' }, { status: 400 }),
  })
  expect(await rejection(fetchUserInfo(auth))).toMatchObject({ code: 'session-ended' })
})
