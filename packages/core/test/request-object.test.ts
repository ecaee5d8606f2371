import { KeyObject } from 'node:crypto'
import { OAuthError, pushedAuthorizationRequests, requestObject } from '@keyturn/core'
import { decodeJwt, decodeProtectedHeader, generateKeyPair } from 'jose'
import { expect, test } from 'vitest'
import { ISSUER, rejection, startApp } from './sign-in-server.ts'

const { privateKey, publicKey } = await generateKeyPair('ES256')

function start(options: Parameters<typeof startApp>[0] = {}) {
  const app = startApp({ requestObject: requestObject(privateKey), ...options })
  app.server.authorizationRequests.clientKey = KeyObject.from(publicKey)
  return app
}

test('the request is signed: the address shows the client and nothing else', async () => {
  const app = start({ resource: ['urn:a', 'urn:b'] })
  await app.auth.login({ appState: 'deep', maxAge: 3600, parameters: { ui_locales: 'de' } })
  const { searchParams } = new URL(app.page.lastVisited)
  expect([...searchParams.keys()]).toEqual(['client_id', 'request'])
  const jwt = searchParams.get('request') ?? ''
  expect(decodeProtectedHeader(jwt)).toEqual({ alg: 'ES256', typ: 'oauth-authz-req+jwt' })
  expect(decodeJwt(jwt)).toMatchObject({
    iss: 'app',
    aud: ISSUER,
    client_id: 'app',
    response_type: 'code',
    resource: ['urn:a', 'urn:b'],
    max_age: 3600,
    ui_locales: 'de',
  })
})

test('a login with a signed request comes back and is redeemed', async () => {
  const app = start()
  await app.auth.login({ appState: 'deep' })
  app.page.url = app.server.authorize(app.page.lastVisited)
  expect(await app.auth.handleCallback()).toEqual({ appState: 'deep' })
  expect(app.auth.session.status).toBe('signedIn')
})

test('a signed request can be pushed', async () => {
  const app = start({ par: pushedAuthorizationRequests() })
  await app.auth.login({ appState: 'deep' })
  expect([...new URL(app.page.lastVisited).searchParams.keys()]).toEqual(['client_id', 'request_uri'])
  const pushed = app.server.requests.find(({ path }) => path === '/par')
  expect([...(pushed?.body.keys() ?? [])].sort()).toEqual(['client_id', 'request'])
  app.page.url = app.server.authorize(app.page.lastVisited)
  expect(await app.auth.handleCallback()).toEqual({ appState: 'deep' })
})

test('the header names the key where it has a name', async () => {
  const app = start({ requestObject: requestObject({ key: privateKey, kid: 'of-app' }) })
  await app.auth.login()
  const jwt = new URL(app.page.lastVisited).searchParams.get('request') ?? ''
  expect(decodeProtectedHeader(jwt)).toMatchObject({ kid: 'of-app' })
})

test.each(['ES256', 'RS256', 'PS256', 'EdDSA'])("the key's own algorithm signs: %s", async (alg) => {
  const app = start({ requestObject: requestObject((await generateKeyPair(alg)).privateKey) })
  await app.auth.login()
  const jwt = new URL(app.page.lastVisited).searchParams.get('request') ?? ''
  expect(decodeProtectedHeader(jwt).alg).toBe(alg === 'EdDSA' ? 'Ed25519' : alg)
})

test('a key that cannot sign is told before anything leaves', async () => {
  const hmac = { name: 'HMAC', hash: 'SHA-256' }
  const secret = (await crypto.subtle.generateKey(hmac, false, ['sign', 'verify'])) as CryptoKey
  for (const key of [publicKey, secret, {} as CryptoKey, 'key' as unknown as CryptoKey]) {
    const app = start({ requestObject: requestObject(key) })
    const error = await rejection(app.auth.login())
    expect(error).toBeInstanceOf(OAuthError)
    expect(error).toMatchObject({ code: 'invalid-options', fix: expect.stringContaining('private') })
    expect(app.page.visited).toEqual([])
  }
})
