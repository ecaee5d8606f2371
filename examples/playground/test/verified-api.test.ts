import { authenticatedFetch, authorizationCode, dpop } from '@keyturn/node'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type Servers, startServers } from '../src/servers.ts'
import { signInOverHttp } from '../src/sign-in-over-http.ts'
import { TWO_FACTORS } from '../src/sign-in-strength.ts'

const redirectUri = 'http://127.0.0.1:9/callback'

let servers: Servers

beforeEach(async () => {
  servers = await startServers({ accessTokenTTL: 3600, spaOrigins: ['http://127.0.0.1:9'] })
})
afterEach(async () => {
  vi.useRealTimers()
  await servers.stop()
})

async function signedIn(isBound: boolean, acrValues?: string) {
  const { server, vault } = servers
  const userAgent = {
    url: redirectUri,
    async navigate(url: string) {
      this.url = await signInOverHttp(url, { username: 'ada', password: 'lovelace', code: '246810' })
    },
    replaceUrl() {},
  }
  const source = authorizationCode({
    issuer: server.issuer,
    clientId: isBound ? 'spa-dpop' : 'spa',
    redirectUri,
    userAgent,
    scope: 'openid api:read',
    ...(isBound && { dpop: dpop(), resource: vault.audience }),
  })
  await source.login({ acrValues })
  await source.handleCallback()
  return source
}

test('every route has its rules, and an answer that is no says what would be enough', async () => {
  const { payments } = servers
  const post = async (path: string, token: string) =>
    fetch(payments.url + path, { method: 'POST', headers: { authorization: `Bearer ${token}` }, body: 'x' })
  const weak = await (await signedIn(false)).getAccessToken()
  const challenge = async (path: string) => (await post(path, weak)).headers.get('www-authenticate')
  expect(await challenge('transfer')).toMatch(
    /^Bearer error="insufficient_user_authentication", .*acr_values="urn:example:two-factors", max_age="30"/,
  )
  expect(await challenge('limit')).toMatch(/^Bearer error="insufficient_scope", .*scope="api:read api:write"/)
  expect((await post('everything', weak)).status).toBe(404)

  const source = await signedIn(false, TWO_FACTORS)
  const strong = await post('transfer', await source.getAccessToken())
  expect(await strong.json()).toMatchObject({ sub: 'ada', acr: TWO_FACTORS, bytes: 1 })
  expect([payments.calls, payments.served, payments.refused('insufficient-scope')]).toEqual([4, 1, 1])

  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 32_000 })
  const renewed = await source.getAccessToken({ rejectedToken: await source.getAccessToken() })
  expect((await post('transfer', renewed)).status).toBe(401) // it is of the same sign-in
})

test('the vault takes a token with the proof that its key is here, once, and with a nonce of its own', async () => {
  const { vault } = servers
  const source = await signedIn(true)
  const sent: Request[] = []
  const answers: Response[] = []
  const watched: typeof fetch = async (input, init) => {
    const request = new Request(input, init)
    sent.push(request.clone())
    const response = await fetch(request)
    answers.push(response.clone())
    return response
  }
  const call = authenticatedFetch(source, { apis: vault.url, fetch: watched })
  expect(await (await call(vault.url)).json()).toMatchObject({ sub: 'ada', key: expect.stringMatching(/^[\w-]{43}$/) })
  expect(answers.map(({ status }) => status)).toEqual([401, 200])
  expect(answers[0]?.headers.get('www-authenticate')).toMatch(/^DPoP error="use_dpop_nonce"/)

  const token = await source.getAccessToken()
  const statusWith = async (headers: HeadersInit) => (await fetch(vault.url, { headers })).status
  expect(await statusWith(sent[1]?.headers ?? {})).toBe(401)
  expect(await statusWith({ authorization: `DPoP ${token}` })).toBe(401)
  expect(await statusWith({ authorization: `DPoP ${token}`, dpop: 'nonsense' })).toBe(401)
  expect(vault.refused('invalid-proof')).toBe(3)
  expect(await statusWith({ authorization: `Bearer ${token}` })).toBe(401)
  const bearer = await (await signedIn(false)).getAccessToken({ resource: vault.audience })
  expect(await statusWith({ authorization: `Bearer ${bearer}` })).toBe(401)
  expect(vault.refused('invalid-token')).toBe(2)

  vault.forgetNonces()
  expect((await call(vault.url)).status).toBe(200)
  expect(vault.refused('nonce-required')).toBe(2)
  expect(vault.served).toBe(2)
})
