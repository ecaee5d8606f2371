import {
  type AuthorizationCodeOptions,
  authorizationCode,
  fetchUserInfo,
  idTokenSignature,
  jarm,
  pushedAuthorizationRequests,
  requestObject,
} from '@keyturn/core'
import { exportJWK, generateKeyPair } from 'jose'
import { expect, test } from 'vitest'
import { signInOverHttp } from '../../../../examples/playground/src/sign-in-over-http.ts'
import { FakePage } from '../sign-in-server.ts'
import { pause, REDIRECT_URI, startWorld, type World } from './world.ts'

/** Signs ada in. */
async function signedIn(world: World, options: Partial<AuthorizationCodeOptions>) {
  const page = new FakePage('http://127.0.0.1:9/')
  const auth = authorizationCode({
    issuer: world.issuer,
    clientId: 'web',
    clientSecret: 'web-secret',
    redirectUri: REDIRECT_URI,
    scope: 'openid profile',
    userAgent: page,
    ...options,
  })
  await auth.login({ appState: 'deep' })
  page.url = await signInOverHttp(page.lastVisited, { username: 'ada', password: 'lovelace' })
  expect(await auth.handleCallback()).toEqual({ appState: 'deep' })
  expect(auth.session).toMatchObject({ status: 'signedIn', claims: { sub: 'ada' } })
  return { auth, page }
}

test("the ID token's signature is checked at the sign-in and at a refresh", async () => {
  const world = await startWorld({ accessTokenTTL: 1 })
  const urls: string[] = []
  const { auth } = await signedIn(world, {
    idTokenSignature: idTokenSignature(),
    fetch: (input, init) => {
      urls.push(String(input))
      return fetch(input, init)
    },
  })
  const first = await auth.getAccessToken()
  await pause(1050)
  expect(await auth.getAccessToken()).not.toBe(first)
  expect(urls.filter((url) => url.endsWith('/jwks'))).toHaveLength(1)
  expect(auth.session).toMatchObject({ status: 'signedIn', freshness: 'fresh' })
})

test('the authorization request is pushed, with the secret that the token endpoint gets', async () => {
  const world = await startWorld()
  const { page } = await signedIn(world, { par: pushedAuthorizationRequests() })
  expect([...new URL(page.lastVisited).searchParams.keys()]).toEqual(['client_id', 'request_uri'])
})

test('a public client pushes, too', async () => {
  const world = await startWorld({ spaOrigins: ['http://127.0.0.1:9'] })
  await signedIn(world, { clientId: 'spa', clientSecret: undefined, par: pushedAuthorizationRequests() })
})

test('requests and responses are signed, and the request is pushed', async () => {
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  const world = await startWorld({ webKeys: [{ ...(await exportJWK(publicKey)), kid: 'of-web' }] })
  const strategies = {
    requestObject: requestObject({ key: privateKey, kid: 'of-web' }),
    jarm: jarm(),
    idTokenSignature: idTokenSignature(),
  }
  const { page } = await signedIn(world, strategies)
  expect([...new URL(page.lastVisited).searchParams.keys()]).toEqual(['client_id', 'request'])
  await signedIn(world, { ...strategies, par: pushedAuthorizationRequests() })
})

test('the UserInfo endpoint tells who is signed in', async () => {
  const world = await startWorld()
  const { auth } = await signedIn(world, {})
  expect(await fetchUserInfo(auth)).toMatchObject({ sub: 'ada', name: expect.any(String) })
})

test('the claims of the ID token pass a validator of the app', async () => {
  const world = await startWorld()
  const seen: unknown[] = []
  const validate = (value: unknown) => {
    seen.push(value)
    return { value: { role: 'countess' } }
  }
  const { auth } = await signedIn(world, { claims: { '~standard': { version: 1, vendor: 'test', validate } } })
  expect(seen).toMatchObject([{ iss: world.issuer, aud: 'web', sub: 'ada' }])
  expect(auth.session).toMatchObject({ claims: { sub: 'ada', role: 'countess' } })
})
