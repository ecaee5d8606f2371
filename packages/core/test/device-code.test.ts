import { AuthorizationServerError, type DevicePrompt, memoryStore, OAuthError } from '@keyturn/core'
import { afterEach, expect, test, vi } from 'vitest'
import { rejection, startDevice } from './device-server.ts'

afterEach(() => {
  vi.useRealTimers()
})

const grant = 'urn:ietf:params:oauth:grant-type:device_code'

test('the person gets address and code, and when they have confirmed it there is a session', async () => {
  const { server, prompts, flow, login } = startDevice({
    scope: 'openid orders',
    resource: 'https://api.example',
    parameters: { audience: 'orders' },
  })
  server.authorization = { verification_uri_complete: 'https://login.example/go?user_code=WDJB-MJHT' }
  server.polls = ['pending', 'confirmed']
  const before = Date.now()
  await login()
  expect(prompts).toEqual([
    {
      userCode: 'WDJB-MJHT',
      verificationUri: 'https://login.example/go',
      verificationUriComplete: 'https://login.example/go?user_code=WDJB-MJHT',
      expiresAt: before + 600_000,
    },
  ])
  const asked = { scope: 'openid orders', resource: 'https://api.example', audience: 'orders', client_id: 'tv' }
  const poll = ['/token', { device_code: 'device-code', grant_type: grant, client_id: 'tv' }]
  expect(server.bodies).toEqual([['/device', asked], poll, poll])
  expect(flow.session).toMatchObject({ status: 'signedIn', renewable: true })
  expect(await flow.getTokenSet()).toMatchObject({ accessToken: 'access-token', scope: 'openid orders' })
})

test('the next start finds the session in the store', async () => {
  const store = memoryStore()
  await startDevice({ store }).login()
  const { server, flow } = startDevice({ store })
  expect(await flow.getAccessToken()).toBe('access-token')
  expect(server.bodies).toEqual([])
})

test.each([
  ['nothing', undefined, 5],
  ['a number', 2, 2],
  ['a text', '7', 7],
  ['less than a second', 0.001, 1],
  ['zero', 0, 5],
  ['nonsense', 'soon', 5],
])('the server is asked as often as it says: %s', async (_, interval, seconds) => {
  const { server, login } = startDevice()
  server.authorization = { interval }
  server.polls = ['pending', 'pending', 'confirmed']
  await login()
  expect(server.waits).toEqual([seconds, seconds, seconds])
})

test('slow_down makes every wait from then on five seconds longer', async () => {
  const { server, login } = startDevice()
  server.polls = ['pending', 'slow_down', 'pending', 'slow_down', 'pending', 'confirmed']
  await login()
  expect(server.waits).toEqual([5, 5, 10, 10, 15, 15])
})

test('failures that pass are waited out, each longer than the one before, until it answers again', async () => {
  const { server, login, flow } = startDevice()
  const unavailable = () => new Response('', { status: 503 })
  const offline = () => {
    throw new TypeError('fetch failed')
  }
  server.polls = ['pending', unavailable, offline, unavailable, unavailable, 'pending', 'confirmed']
  await login()
  expect(server.waits).toEqual([5, 5, 10, 20, 30, 30, 5])
  expect(flow.session.status).toBe('signedIn')
})

test('Retry-After is obeyed', async () => {
  const { server, login } = startDevice()
  server.polls = [() => new Response('', { status: 429, headers: { 'retry-after': '45' } }), 'confirmed']
  await login()
  expect(server.waits).toEqual([5, 45])
})

test('an interval that is longer than any back-off is not shortened by a failure', async () => {
  const { server, login } = startDevice()
  server.authorization = { interval: 90 }
  server.polls = [() => new Response('', { status: 503 }), 'confirmed']
  await login()
  expect(server.waits).toEqual([90, 90])
})

test.each([3, -3])('a clock that is set while the person confirms, by %i hours, ends no login', async (hours) => {
  const { server, flow, login } = startDevice()
  server.polls = [
    () => {
      vi.setSystemTime(Date.now() + hours * 3_600_000)
      return Response.json({ error: 'authorization_pending' }, { status: 400 })
    },
    'pending',
    'confirmed',
  ]
  await login()
  expect(flow.session.status).toBe('signedIn')
})

test('who never confirms gets a timeout when the code expires, however the server fails meanwhile', async () => {
  const { server, login } = startDevice()
  server.authorization = { expires_in: 60 }
  server.polls = ['pending', () => new Response('', { status: 500 })]
  const before = Date.now()
  expect(await rejection(login())).toMatchObject({ code: 'timeout', retryable: false })
  expect((Date.now() - before) / 1000).toBeCloseTo(60, 0)
  expect(server.waits).toEqual([5, 5, 10, 20])
})

test.each([
  ['access_denied', 'authorization-refused'],
  ['expired_token', 'timeout'],
  ['invalid_grant', 'exchange-failed'],
  ['invalid_scope', 'request-refused'],
  ['invalid_client', 'client-refused'],
])('%s ends the login as %s', async (error, code) => {
  const { server, login, flow } = startDevice()
  server.polls = ['pending', error]
  const thrown = await rejection(login())
  expect(thrown).toBeInstanceOf(AuthorizationServerError)
  expect(thrown).toMatchObject({ code, error })
  expect(server.waits).toHaveLength(2)
  expect(await rejection(flow.getAccessToken())).toMatchObject({ code: 'login-required' })
})

test('an answer that is no token response ends the login', async () => {
  const { server, login } = startDevice()
  server.polls = [() => Response.json({ token_type: 'Bearer' })]
  expect(await rejection(login())).toMatchObject({ code: 'invalid-response' })
})

test('a server without the device grant is named', async () => {
  const { server, login } = startDevice()
  server.metadata = { device_authorization_endpoint: undefined }
  expect(await rejection(login())).toMatchObject({
    code: 'invalid-metadata',
    fix: 'Set metadata.device_authorization_endpoint.',
  })
})

test('a client that may not use the device grant is told so', async () => {
  const { server, login, prompts } = startDevice()
  server.authorization = Response.json({ error: 'unauthorized_client' }, { status: 400 })
  expect(await rejection(login())).toMatchObject({ code: 'request-refused', error: 'unauthorized_client' })
  expect(prompts).toEqual([])
})

test('a code that lives for ever does not make the waits overflow', async () => {
  const { server, flow } = startDevice()
  server.authorization = { expires_in: 1e12, interval: 1e12 }
  const controller = new AbortController()
  const ended = rejection(flow.login({ onPrompt() {}, signal: controller.signal }))
  await vi.advanceTimersByTimeAsync(86_400_000)
  expect(server.waits).toEqual([])
  controller.abort(new Error('enough'))
  expect(await ended).toMatchObject({ message: 'enough' })
})

test('an aborted signal ends the login at once, with its reason, and the polling with it', async () => {
  const { server, flow } = startDevice()
  server.polls = ['pending']
  const controller = new AbortController()
  const reason = new Error('Ctrl-C')
  const ended = rejection(flow.login({ onPrompt() {}, signal: controller.signal }))
  await vi.advanceTimersByTimeAsync(12_000)
  controller.abort(reason)
  expect(await ended).toBe(reason)
  await vi.advanceTimersByTimeAsync(60_000)
  expect(server.waits).toEqual([5, 5])
  const { length } = server.bodies
  expect(await rejection(flow.login({ onPrompt() {}, signal: controller.signal }))).toBe(reason)
  expect(server.bodies).toHaveLength(length)
})

test('a login that is aborted while the server answers shows and asks nothing any more', async () => {
  for (const path of ['/device', '/token']) {
    const controller = new AbortController()
    const { server, flow } = startDevice({
      fetch: async (input, init) => {
        const answer = await server.fetch(input, init)
        if (`${input}`.endsWith(path)) controller.abort()
        return answer
      },
    })
    server.polls = ['pending']
    const onPrompt = vi.fn()
    const ended = rejection(flow.login({ onPrompt, signal: controller.signal }))
    await vi.advanceTimersByTimeAsync(60_000)
    expect(await ended).toMatchObject({ name: 'AbortError' })
    expect(onPrompt).toHaveBeenCalledTimes(path === '/device' ? 0 : 1)
    expect(server.waits).toEqual(path === '/device' ? [] : [5])
  }
})

test('what comes after the login was aborted is revoked', async () => {
  const { server, flow } = startDevice()
  const controller = new AbortController()
  server.polls = [
    () => {
      controller.abort()
      return Response.json({ access_token: 'late', token_type: 'Bearer', refresh_token: 'late-refresh-token' })
    },
  ]
  const ended = rejection(flow.login({ onPrompt() {}, signal: controller.signal }))
  await vi.advanceTimersByTimeAsync(6000)
  expect(await ended).toMatchObject({ name: 'AbortError' })
  expect(server.bodies.at(-1)).toEqual(['/revoke', expect.objectContaining({ token: 'late-refresh-token' })])
  expect(await rejection(flow.getAccessToken())).toMatchObject({ code: 'login-required' })
})

test('a prompt that fails ends the login; one that never ends does not hold it up', async () => {
  const { server, flow } = startDevice()
  const onPrompt = () => Promise.reject(new Error('no terminal'))
  const error = await rejection(flow.login({ onPrompt }))
  expect(error).toBeInstanceOf(OAuthError)
  expect(error).toMatchObject({ code: 'callback-failed' })
  await vi.advanceTimersByTimeAsync(60_000)
  expect(server.waits).toEqual([])
  const ended = flow.login({ onPrompt: (_: DevicePrompt) => new Promise<void>(() => {}) })
  await vi.advanceTimersByTimeAsync(5000)
  await ended
  expect(flow.session.status).toBe('signedIn')
})

test('no error holds the device code', async () => {
  const { server, login } = startDevice()
  const error_description = 'device-code is bad'
  server.polls = [() => Response.json({ error: 'access_denied', error_description }, { status: 400 })]
  const error = await rejection(login())
  expect(error).toMatchObject({ code: 'authorization-refused', errorDescription: undefined })
  expect(`${error}`).not.toContain('device-code')
})
