import { createHmac } from 'node:crypto'
import { InvalidCallbackError, jarm, memoryStore } from '@keyturn/core'
import { exportJWK, exportSPKI, generateKeyPair, type JWTPayload, SignJWT } from 'jose'
import { expect, test, vi } from 'vitest'
import { type Answer, comeBack, ISSUER, REDIRECT_URI, rejection, signed, startApp } from './sign-in-server.ts'

const now = () => Math.floor(Date.now() / 1000)
const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
const at = (response: string, more = '') => `${REDIRECT_URI}?${new URLSearchParams({ response })}${more}`

function start() {
  const store = memoryStore()
  const writes = vi.spyOn(store, 'replace')
  const app = startApp({ jarm: jarm(), store })
  app.server.metadata = { authorization_signing_alg_values_supported: ['ES256'] }
  return { ...app, writes }
}
type App = ReturnType<typeof start>

/** The claims of the server's answer to a login that has just begun. */
async function answered(app: App, answer?: Answer): Promise<JWTPayload> {
  const plain = new URL(await comeBack(app, answer, 'deep')).searchParams
  app.page.url = 'https://app.example/'
  return { ...Object.fromEntries(plain), iss: ISSUER, aud: 'app', exp: now() + 60 }
}

async function refused(app: App, url: string) {
  app.page.url = url
  const error = await rejection(app.auth.handleCallback())
  expect(error).toBeInstanceOf(InvalidCallbackError)
  expect(app.auth.session.status).toBe('signedOut')
  expect(app.server.tokenRequests).toEqual([])
  expect(app.writes).not.toHaveBeenCalled()
  expect(app.page.url).not.toContain('response=')
  return error
}

test('a signed response is asked for, validated and redeemed, and the address is clean', async () => {
  const app = start()
  const claims = await answered(app)
  expect(new URL(app.page.lastVisited).searchParams.get('response_mode')).toBe('jwt')
  app.page.url = at(await signed(claims), '&tab=7')
  expect(await app.auth.handleCallback()).toEqual({ appState: 'deep' })
  expect(app.auth.session.status).toBe('signedIn')
  expect(app.page.url).toBe(`${REDIRECT_URI}?tab=7`)
  expect(await app.auth.handleCallback()).toBeUndefined()
})

test('a signed response that another window hands over is validated as one in the address', async () => {
  for (const forged of [false, true]) {
    const app = start()
    const claims = await answered(app)
    const { privateKey } = await generateKeyPair('ES256')
    const response = forged
      ? await new SignJWT(claims).setProtectedHeader({ alg: 'ES256' }).sign(privateKey)
      : await signed(claims)
    const handedOver = new URLSearchParams({ code: '', state: `${claims.state}`, response })
    const redeemed = app.auth.redeem({ response: handedOver, cleanAddress: '' })
    if (forged) expect(await rejection(redeemed)).toMatchObject({ code: 'invalid-response', appState: 'deep' })
    else expect(await redeemed).toEqual({ appState: 'deep' })
    expect(app.server.tokenRequests).toHaveLength(forged ? 0 : 1)
  }
})

test('a response that is not signed is refused', async () => {
  const app = start()
  await comeBack(app, {}, 'deep')
  expect(await refused(app, app.page.url)).toMatchObject({ code: 'invalid-response', appState: 'deep' })
})

test('an error that is signed is told', async () => {
  const app = start()
  const claims = await answered(app, { error: 'access_denied' })
  const error = await refused(app, at(await signed(claims)))
  expect(error).toMatchObject({ code: 'authorization-refused', error: 'access_denied', appState: 'deep' })
})

test.each<[string, (claims: JWTPayload) => JWTPayload]>([
  ['of another issuer', (claims) => ({ ...claims, iss: 'https://evil.example' })],
  ['without an issuer', ({ iss: _, ...claims }) => claims],
  ['for another client', (claims) => ({ ...claims, aud: 'other' })],
  ['for nobody', ({ aud: _, ...claims }) => claims],
  ['that is expired', (claims) => ({ ...claims, exp: now() - 60 })],
  ['without an expiry', ({ exp: _, ...claims }) => claims],
  ['without a code', ({ code: _, ...claims }) => claims],
  ['whose code is no text', (claims) => ({ ...claims, code: ['a', 'b'] })],
])('a response %s is refused', async (_, change) => {
  const app = start()
  const claims = await answered(app)
  expect(await refused(app, at(await signed(change(claims))))).toMatchObject({ appState: 'deep' })
})

test('a response that another key has signed is refused', async () => {
  const app = start()
  const { privateKey } = await generateKeyPair('ES256')
  const jwt = await new SignJWT(await answered(app)).setProtectedHeader({ alg: 'ES256' }).sign(privateKey)
  expect(await refused(app, at(jwt))).toMatchObject({ code: 'invalid-response', appState: 'deep' })
})

test('a response of alg none is refused, whatever the metadata allows', async () => {
  const app = start()
  app.server.metadata = { authorization_signing_alg_values_supported: ['none', 'ES256'] }
  const claims = await answered(app)
  expect(await refused(app, at(`${part({ alg: 'none' })}.${part(claims)}.`))).toMatchObject({ appState: 'deep' })
})

test('a public key is no secret: a response of HS256 with it is refused', async () => {
  const app = start()
  const keys = await generateKeyPair('RS256', { extractable: true })
  app.server.metadata = { authorization_signing_alg_values_supported: ['RS256', 'HS256'] }
  app.server.keys = async () => [await exportJWK(keys.publicKey)]
  const text = `${part({ alg: 'HS256' })}.${part(await answered(app))}`
  const mac = createHmac('sha256', await exportSPKI(keys.publicKey))
    .update(text)
    .digest('base64url')
  expect(await refused(app, at(`${text}.${mac}`))).toMatchObject({ appState: 'deep' })
})

test('a response that comes twice, or with a state beside it, is refused', async () => {
  for (const more of ['&response=a.b.c', '&state=other', '&code=other']) {
    const app = start()
    await refused(app, at(await signed(await answered(app)), more))
  }
})

test('a response to another login is refused, and that one can still come back', async () => {
  const app = start()
  const claims = await answered(app)
  const mark = `${claims.state}`.split('-')[0]
  expect(await refused(app, at(await signed({ ...claims, state: `${mark}-other` })))).toMatchObject({
    code: 'invalid-state',
  })
  app.page.url = at(await signed(claims))
  expect(await app.auth.handleCallback()).toEqual({ appState: 'deep' })
})

test("a parameter of the app's own that is called response stays where it is", async () => {
  const app = start()
  await answered(app)
  for (const own of ['yes', '', '1.5', 'a b.c.d']) {
    app.page.url = at(own)
    expect(await app.auth.handleCallback()).toBeUndefined()
    expect(app.page.url).toBe(at(own))
  }
})

test('without the strategy a parameter called response is not looked at', async () => {
  const app = startApp()
  app.page.url = at('a.b.c')
  expect(await app.auth.handleCallback()).toBeUndefined()
})

test('keys that do not come leave the code unspent, and the login can be begun again', async () => {
  for (const answer of [
    () => new Response('<html>', { headers: { 'content-type': 'text/html' } }),
    () => new Response(undefined, { status: 503 }),
    () => Response.redirect('https://evil.example/jwks'),
    () => Response.json({ keys: 'x'.repeat(2_000_000) }),
  ]) {
    const app = start()
    app.server.keys = answer
    const error = await refused(app, at(await signed(await answered(app))))
    expect(error).toMatchObject({ code: 'exchange-failed', appState: 'deep' })
  }
})

test('a storm of keys that are not known asks for keys at most once a minute', async () => {
  const app = start()
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  app.server.keys = async () => [{ ...(await exportJWK(publicKey)), kid: 'known' }]
  for (let login = 0; login < 10; login++) {
    const jwt = new SignJWT(await answered(app)).setProtectedHeader({ alg: 'ES256', kid: `${login}` })
    await refused(app, at(await jwt.sign(privateKey)))
  }
  expect(app.server.requests.filter(({ path }) => path === '/jwks')).toHaveLength(2)
})

test.each([3, -3])('with a clock that is %i hours off a response is taken', async (hours) => {
  const app = start()
  app.server.ahead = hours * 3600
  const claims = await answered(app)
  const iat = now() + hours * 3600
  app.page.url = at(await signed({ ...claims, iat, exp: iat + 60 }))
  expect(await app.auth.handleCallback()).toEqual({ appState: 'deep' })
  const silent = await answered(app)
  app.page.url = at(await signed({ ...silent, exp: iat + 60 }))
  expect(await app.auth.handleCallback()).toEqual({ appState: 'deep' })
})
