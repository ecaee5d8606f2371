import { InvalidCallbackError, memoryStore } from '@keyturn/core'
import { expect, test, vi } from 'vitest'
import { comeBack, rejection, startApp } from './sign-in-server.ts'

const MEGABYTE = 1_000_000

/** Signs in against a token endpoint that answers like this. */
async function signIn(answer: (body: Record<string, unknown>) => Response | object) {
  const store = memoryStore()
  const writes = vi.spyOn(store, 'replace')
  const app = startApp({ scope: 'orders', store })
  app.server.tokenResponse = answer
  await comeBack(app, {}, 'deep')
  return { ...app, writes, handled: app.auth.handleCallback() }
}

async function failure(answer: Parameters<typeof signIn>[0]): Promise<InvalidCallbackError> {
  const { handled, auth, writes, server } = await signIn(answer)
  const error = await rejection(handled)
  expect(error).toBeInstanceOf(InvalidCallbackError)
  expect(error).toMatchObject({ code: 'exchange-failed', appState: 'deep' })
  expect(server.tokenRequests).toHaveLength(1)
  expect(auth.session.status).toBe('signedOut')
  expect(writes).not.toHaveBeenCalled()
  return error as InvalidCallbackError
}

const html = (status: number) => new Response('<!doctype html><p>Welcome to our Wi-Fi', { status })

test("an exchange that the server refuses says why, with the app's state", async () => {
  const error = await failure(() =>
    Response.json({ error: 'invalid_grant', error_description: 'late' }, { status: 400 }),
  )
  expect(error).toMatchObject({ error: 'invalid_grant', retryable: false, fix: expect.any(String) })
  expect(error.cause).toMatchObject({ name: 'AuthorizationServerError', error: 'invalid_grant', status: 400 })
})

test('an error that comes with status 200, or with a challenge, is that error', async () => {
  const challenge = { 'www-authenticate': 'Basic realm="as"' }
  for (const init of [{ status: 200 }, { status: 400, headers: challenge }, { status: 401, headers: challenge }]) {
    expect(await failure(() => Response.json({ error: 'invalid_grant' }, init))).toMatchObject({
      error: 'invalid_grant',
    })
  }
})

test('an exchange without an answer is a failure of the network', async () => {
  const app = startApp({
    fetch: (input, init) => {
      const broken = String(input).endsWith('/token')
      return broken ? Promise.reject(new TypeError('fetch failed')) : app.server.fetch(input, init)
    },
  })
  await comeBack(app, {}, 'deep')
  const error = await rejection(app.auth.handleCallback())
  expect(error).toBeInstanceOf(InvalidCallbackError)
  expect(error).toMatchObject({ code: 'exchange-failed', appState: 'deep', cause: { code: 'network' } })
  expect(app.auth.session.status).toBe('signedOut')
})

test.each([
  [429, 'throttled'],
  [500, 'server-error'],
  [503, 'server-error'],
])('an exchange that is answered %i is told apart from a refusal', async (status, code) => {
  expect((await failure(() => html(status))).cause).toMatchObject({ code, name: 'TokenUnavailableError' })
})

test.each<[string, () => Response | object]>([
  ['a web page', () => html(200)],
  ['a web page with 403', () => html(403)],
  ['nothing', () => new Response('')],
  ['no content', () => new Response(undefined, { status: 204 })],
  ['JSON that is cut short', () => new Response('{"access_token":"a')],
  ['a list', () => Response.json(['a'])],
  ['null', () => Response.json(null)],
  ['a text', () => Response.json('token')],
  ['more than a megabyte', () => ({ access_token: 'a', token_type: 'Bearer', more: 'x'.repeat(MEGABYTE) })],
  ['no access token', () => ({ token_type: 'Bearer', expires_in: 60 })],
  ['an empty access token', () => ({ access_token: '', token_type: 'Bearer' })],
  ['an access token that is no text', () => ({ access_token: { a: 1 }, token_type: 'Bearer' })],
  ['an access token that no header can carry', () => ({ access_token: 'a\nb: c', token_type: 'Bearer' })],
  ['an access token in letters that no header can carry', () => ({ access_token: 'tökén→', token_type: 'Bearer' })],
  ['no token type', () => ({ access_token: 'a' })],
  ['an unknown token type', () => ({ access_token: 'a', token_type: 'mac' })],
  ['a DPoP token that nobody can use', () => ({ access_token: 'a', token_type: 'DPoP' })],
  ['a token hidden in a prototype', () => new Response('{"__proto__":{"access_token":"a","token_type":"Bearer"}}')],
])('a token response with %s is no sign-in', async (_, answer) => {
  await failure(answer)
})

test('a body that never ends is given up after a megabyte', async () => {
  let sent = 0
  let cancelled = false
  const body = new ReadableStream({
    pull(controller) {
      sent += 65_536
      controller.enqueue(new Uint8Array(65_536).fill(0x20))
    },
    cancel() {
      cancelled = true
    },
  })
  await failure(() => new Response(body))
  expect(cancelled).toBe(true)
  expect(sent).toBeLessThan(2 * MEGABYTE)
})

test.each(['bearer', 'BEARER', 'Bearer', 'bEaReR'])('token_type %s is Bearer', async (token_type) => {
  const { handled, auth } = await signIn((body) => ({ ...body, token_type }))
  await handled
  expect(await auth.getTokenSet()).toMatchObject({ tokenType: 'Bearer' })
})

test('members that nobody knows are ignored and never merged', async () => {
  const polluting = '"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}},"toString":"x"'
  const { handled, auth } = await signIn(
    () => new Response(`{${polluting},"access_token":"a","token_type":"Bearer","expires_in":60,"tokens":{},"ended":1}`),
  )
  await handled
  expect(await auth.getAccessToken()).toBe('a')
  expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false)
  expect(JSON.stringify(await auth.getTokenSet())).not.toContain('polluted')
})

test.each<[unknown, number]>([
  [60, 60],
  ['3600', 3600],
  [1, 1],
])('expires_in %j is %d seconds', async (expires_in, seconds) => {
  const { handled, auth } = await signIn((body) => ({ ...body, expires_in }))
  await handled
  expect((await auth.getTokenSet()).expiresAt - (await auth.getTokenSet()).issuedAt).toBe(seconds * 1000)
})

test.each([[undefined], [null], ['abc'], [''], [0], [-1], [Number.MAX_VALUE], [[]], [{}], [true]])(
  'expires_in %j is neither for ever nor a request per call',
  async (expires_in) => {
    const { handled, auth, server } = await signIn((body) => ({ ...body, expires_in }))
    await handled
    const { expiresAt, issuedAt } = await auth.getTokenSet()
    expect(expiresAt - issuedAt).toBeGreaterThanOrEqual(60_000)
    expect(expiresAt - issuedAt).toBeLessThanOrEqual(366 * 86_400_000)
    for (let count = 0; count < 5; count++) await auth.getAccessToken()
    expect(server.tokenRequests).toHaveLength(1)
  },
)

test('refresh_token null is none', async () => {
  const { handled, auth } = await signIn((body) => ({ ...body, refresh_token: null }))
  await handled
  expect(auth.session).toMatchObject({ status: 'signedIn', renewable: false })
})

test('the scope is the one that was granted, else the one that was asked for', async () => {
  const narrower = await signIn((body) => ({ ...body, scope: 'less' }))
  await narrower.handled
  expect((await narrower.auth.getTokenSet()).scope).toBe('less')
  const silent = await signIn(({ scope: _, ...body }) => body)
  await silent.handled
  expect((await silent.auth.getTokenSet()).scope).toBe('orders')
})
