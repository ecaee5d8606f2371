import { InvalidCallbackError, memoryStore, memoryTransactions } from '@keyturn/core'
import { afterEach, expect, test, vi } from 'vitest'
import { type App, comeBack, ISSUER, rejection, startApp } from './sign-in-server.ts'

afterEach(() => {
  vi.useRealTimers()
})

const codes = { code: 'invalid-state', retryable: false, fix: expect.any(String) }

/** The callback is refused without a token request, and nobody is signed in. */
async function refused(app: App, expected: object): Promise<void> {
  const before = app.server.tokenRequests.length
  const error = await rejection(app.auth.handleCallback())
  expect(error).toBeInstanceOf(InvalidCallbackError)
  expect(error).toMatchObject(expected)
  expect(app.server.tokenRequests).toHaveLength(before)
  expect(app.page.url).not.toMatch(/[?&](code|state|error)=/)
}

test('a state of ours that no login here has costs no token request and no other login', async () => {
  const app = startApp()
  await comeBack(app, {}, 'mine')
  const good = app.page.url
  const url = new URL(good)
  url.searchParams.set('state', `${url.searchParams.get('state')?.slice(0, -1)}_`)
  app.page.url = url.href
  await refused(app, { ...codes, appState: undefined })
  app.page.url = good
  expect(await app.auth.handleCallback()).toEqual({ appState: 'mine' })
})

test("a state of nobody's is refused while a login is under way, and that login survives", async () => {
  for (const query of ['code=x', 'code=x&state=', 'code=x&state=theirs', 'error=access_denied']) {
    const app = startApp()
    await comeBack(app, {}, 'mine')
    const good = app.page.url
    app.page.url = `${good.split('?')[0]}?${query}`
    await refused(app, codes)
    app.page.url = good
    expect(await app.auth.handleCallback(), query).toEqual({ appState: 'mine' })
  }
})

test('a response is used once: the second time its state is spent, whatever the first outcome', async () => {
  for (const outcome of [{}, { error: 'access_denied' }, { parameters: { iss: 'https://evil.example' } }]) {
    const app = startApp()
    const url = await comeBack(app, outcome)
    await app.auth.handleCallback().catch(() => {})
    await app.auth.handleCallback()
    app.page.url = url
    await refused(app, codes)
  }
})

test('a login is forgotten after two hours, and the app gets its state back all the same', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const app = startApp()
  await comeBack(app, {}, 'deep')
  vi.setSystemTime(Date.now() + 7_200_001)
  await refused(app, { ...codes, appState: 'deep' })
})

test.each([1, -1])(
  'a login is still good after 59 minutes, though the clock jumps by %i h meanwhile',
  async (hours) => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const app = startApp()
    await comeBack(app, {}, 'deep')
    vi.setSystemTime(Date.now() + 59 * 60_000 + hours * 3_600_000)
    expect(await app.auth.handleCallback()).toEqual({ appState: 'deep' })
  },
)

test('a response to a page whose transactions are gone is refused as ours', async () => {
  const before = startApp()
  await comeBack(before)
  const app = startApp()
  app.page.url = before.page.url
  await refused(app, codes)
})

test('a transaction of another issuer is not used', async () => {
  const transactions = memoryTransactions()
  const app = startApp({ transactions })
  await comeBack(app, {}, 'deep')
  const state = new URL(app.page.url).searchParams.get('state') ?? ''
  const transaction = await transactions.take(state)
  if (transaction) await transactions.put(state, { ...transaction, issuer: 'https://evil.example' })
  await refused(app, codes)
})

test("an error response gives the app its state and the server's code", async () => {
  for (const error of ['access_denied', 'login_required', 'server_error', 'invalid_scope']) {
    const app = startApp()
    await comeBack(
      app,
      { error, parameters: { error_description: 'because', error_uri: 'https://as.example/e' } },
      'deep',
    )
    await refused(app, { code: 'authorization-refused', error, appState: 'deep', fix: expect.any(String) })
    expect(app.page.url).toBe('https://app.example/callback')
    expect(app.auth.session.status).toBe('signedOut')
  }
})

test('an answer of another issuer is refused, an error response too, advertised or not', async () => {
  const others = ['https://evil.example', `${ISSUER}/`, ISSUER.toUpperCase(), `${ISSUER}#`]
  for (const iss of others) {
    for (const error of [undefined, 'access_denied']) {
      for (const advertised of [true, false]) {
        const app = startApp()
        app.server.metadata = { authorization_response_iss_parameter_supported: advertised }
        await comeBack(app, { ...(error && { error }), parameters: { iss } }, 'deep')
        await refused(app, { code: 'invalid-response', appState: 'deep' })
      }
    }
  }
})

test('an answer without its issuer is refused where the server says that it sends it', async () => {
  for (const error of [undefined, 'access_denied']) {
    for (const iss of [undefined, '']) {
      const app = startApp()
      await comeBack(app, { ...(error && { error }), parameters: { iss } }, 'deep')
      await refused(app, { code: 'invalid-response', appState: 'deep' })
    }
  }
})

test('an answer without its issuer is taken from a server that does not say so', async () => {
  const app = startApp()
  app.server.metadata = { authorization_response_iss_parameter_supported: undefined }
  await comeBack(app, { parameters: { iss: undefined } }, 'deep')
  expect(await app.auth.handleCallback()).toEqual({ appState: 'deep' })
})

test('a parameter that comes twice is refused', async () => {
  for (const name of ['code', 'state', 'iss', 'error']) {
    const app = startApp()
    await comeBack(app, name === 'error' ? { error: 'access_denied' } : {}, 'deep')
    const url = new URL(app.page.url)
    url.searchParams.append(name, name === 'iss' ? ISSUER : 'second')
    app.page.url = url.href
    await refused(app, { code: 'invalid-response', appState: 'deep' })
  }
})

test('an answer with an empty code, or with nothing but an empty error, is refused', async () => {
  for (const parameters of [{ code: '' }, { code: undefined, error: '' }]) {
    const app = startApp()
    await comeBack(app, { parameters }, 'deep')
    await refused(app, { appState: 'deep' })
  }
})

test('an answer with an error and a code is an error', async () => {
  const app = startApp()
  await comeBack(app, { parameters: { error: 'access_denied' } })
  await refused(app, { code: 'authorization-refused', error: 'access_denied' })
})

test('no token is read from the redirect URL', async () => {
  const store = memoryStore()
  const app = startApp({ store })
  await app.auth.login()
  const state = new URL(app.page.lastVisited).searchParams.get('state')
  const injected = `state=${state}&iss=${ISSUER}&access_token=evil&token_type=Bearer&expires_in=9&id_token=e.v.l`
  for (const url of [`https://app.example/callback?${injected}`, `https://app.example/callback#${injected}`]) {
    app.page.url = url
    expect(await app.auth.handleCallback()).toBeUndefined()
    expect(app.auth.session.status).toBe('signedOut')
  }
})

test('what a server or an address says stays in one line of a message, and turns no text around', async () => {
  const forged = 'access_denied\r\nSigned in as root\u0000\u2028\u202e'
  const app = startApp()
  await comeBack(app, { error: forged })
  const error = await rejection(app.auth.handleCallback())
  expect(Object(error).message).toContain('access_denied')
  expect(Object(error).message).not.toMatch(/[\p{Cc}\p{Zl}\p{Bidi_Control}]/u)
  const other = startApp()
  other.server.tokenResponse = () =>
    Response.json({ error: 'invalid_request', error_description: 'a\nb\u001b[31m' }, { status: 400 })
  await comeBack(other)
  const { message, cause } = Object(await rejection(other.auth.handleCallback()))
  expect(message).toContain('a b')
  expect(`${message}${cause.message}${cause.errorDescription}`).not.toMatch(/\p{Cc}/u)
})
