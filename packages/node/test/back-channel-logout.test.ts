import { once } from 'node:events'
import { createServer } from 'node:http'
import { authorizationCode, backChannelLogout, type LoggedOut } from '@keyturn/node'
import { expect, onTestFinished, test, vi } from 'vitest'
import { startAuthorizationServer } from '../../../examples/playground/src/authorization-server.ts'
import { type Cookie, signInOverHttp } from '../../../examples/playground/src/sign-in-over-http.ts'

const REDIRECT_URI = 'http://127.0.0.1:9/callback'
const ada = { username: 'ada', password: 'lovelace' }

/** An app that a real authorization server tells of logouts, and what it was told. */
async function startApp(end: (loggedOut: LoggedOut) => void | Promise<void> = () => {}) {
  const told: LoggedOut[] = []
  const answers: { status: number; cacheControl: string | null; body: string }[] = []
  const bodies: string[] = []
  const site = createServer(async (request, response) => {
    let body = ''
    for await (const part of request) body += part
    bodies.push(body)
    const { 'content-type': type = '' } = request.headers
    const answer = await handle(new Request(uri, { method: 'POST', headers: { 'content-type': type }, body }))
    const text = await answer.text()
    answers.push({ status: answer.status, cacheControl: answer.headers.get('cache-control'), body: text })
    response.writeHead(answer.status).end(text)
  })
  site.listen(0, '127.0.0.1')
  await once(site, 'listening')
  const uri = `http://127.0.0.1:${Object(site.address()).port}/logged-out`
  const server = await startAuthorizationServer({ redirectUris: [REDIRECT_URI], backChannelLogoutUri: uri })
  const options = { issuer: server.issuer, clientId: 'web', clientSecret: 'web-secret' }
  const handle = backChannelLogout({
    ...options,
    onLogout: async (loggedOut) => {
      told.push(loggedOut)
      await end(loggedOut)
    },
  })
  onTestFinished(async () => {
    site.close()
    await server.stop()
  })
  const visited: string[] = []
  const userAgent = { url: '', navigate: (url: string) => void visited.push(url), replaceUrl() {} }
  const auth = authorizationCode({ ...options, redirectUri: REDIRECT_URI, scope: 'openid', userAgent })
  const cookies = new Map<string, Cookie>()
  await auth.login()
  userAgent.url = await signInOverHttp(visited.at(-1) ?? '', { ...ada, cookies })
  await auth.handleCallback()
  const { session } = auth
  const sid = session.status === 'signedIn' ? session.claims?.sid : undefined
  const logout = async () => {
    await auth.logout({ postLogoutRedirectUri: REDIRECT_URI })
    await signInOverHttp(visited.at(-1) ?? '', { ...ada, cookies })
  }
  return { handle, server, told, answers, bodies, sid, logout, uri }
}

test('a real server tells whose session is over, and is answered as it wants to be', async () => {
  const { told, answers, sid, logout } = await startApp()
  expect(sid).toEqual(expect.any(String))
  await logout()
  await vi.waitFor(() => expect(answers).toHaveLength(1), 5_000)
  expect(told).toEqual([{ sub: 'ada', sid }])
  expect(answers).toEqual([{ status: 200, cacheControl: 'no-store', body: '' }])
})

test('what was taken once is refused, and nobody is told', async () => {
  const { handle, told, bodies, uri, logout } = await startApp()
  await logout()
  await vi.waitFor(() => expect(bodies).toHaveLength(1), 5_000)
  const headers = { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' }
  const again = await handle(new Request(uri, { method: 'POST', headers, body: bodies[0] ?? '' }))
  expect([again.status, again.headers.get('cache-control')]).toEqual([400, 'no-store'])
  expect(await again.json()).toEqual({
    error: 'invalid_request',
    error_description: 'The logout token is refused: it was taken before',
  })
  expect(told).toHaveLength(1)
})

test('where the sessions could not be ended the server learns that it failed, and nothing of why', async () => {
  const said = vi.spyOn(console, 'warn').mockImplementation(() => {})
  const { answers, logout } = await startApp(() => Promise.reject(new Error('SELECT secret FROM sessions')))
  await logout()
  await vi.waitFor(() => expect(answers).toHaveLength(1), 5_000)
  expect(answers[0]).toMatchObject({ status: 400, cacheControl: 'no-store' })
  expect(JSON.parse(answers[0]?.body ?? '')).toEqual({
    error: 'server_error',
    error_description: 'The sessions could not be ended',
  })
  expect(said).toHaveBeenCalledWith(expect.stringContaining('SELECT secret FROM sessions'))
  said.mockRestore()
})

const form = { 'content-type': 'application/x-www-form-urlencoded' }
test.each<[string, RequestInit]>([
  ['a GET', { method: 'GET' }],
  ['JSON', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"logout_token":"a.b.c"}' }],
  ['an empty form', { method: 'POST', headers: form, body: '' }],
  ['two tokens', { method: 'POST', headers: form, body: 'logout_token=a.b.c&logout_token=a.b.c' }],
  ['garbage', { method: 'POST', headers: form, body: 'logout_token=garbage' }],
  ['a flood', { method: 'POST', headers: form, body: `logout_token=${'a'.repeat(1_000_000)}` }],
])('%s ends nobody’s session and is a 400', async (_, init) => {
  const { handle, told, uri } = await startApp()
  const answer = await handle(new Request(uri, init))
  expect(answer.status).toBe(400)
  expect(await answer.json()).toMatchObject({ error: 'invalid_request' })
  expect(told).toEqual([])
})

test('with the authorization server away the handler answers, and rejects never', async () => {
  const { handle, server, told, uri } = await startApp()
  await server.away()
  const answer = await handle(new Request(uri, { method: 'POST', headers: form, body: 'logout_token=a.b.c' }))
  expect([answer.status, (await answer.json()).error]).toEqual([400, 'server_error'])
  expect(told).toEqual([])
})

test('a warning that throws changes nothing of the answer', async () => {
  const said = vi.spyOn(console, 'warn').mockImplementation(() => {})
  const handle = backChannelLogout({
    issuer: 'https://as.example',
    clientId: 'web',
    onLogout: () => {},
    onWarning: () => {
      throw new Error('boom')
    },
    fetch: () => Promise.reject(new TypeError('offline')),
  })
  const answer = await handle(
    new Request('https://app.example/', { method: 'POST', headers: form, body: 'logout_token=a.b.c' }),
  )
  expect([answer.status, (await answer.json()).error]).toEqual([400, 'server_error'])
  expect(said).toHaveBeenCalledWith('keyturn: onWarning failed', expect.any(Error))
  said.mockRestore()
})
