import { authenticatedFetch, ChallengeError, challengeOf, OAuthError, type StepUpRequest, stepUp } from '@keyturn/core'
import { afterEach, expect, test, vi } from 'vitest'
import { rejection } from './sign-in-server.ts'
import { startStepUp } from './step-up-world.ts'

afterEach(() => {
  vi.useRealTimers()
})

/** The person agrees, and logs in, at once. */
const agree = () => startStepUp(({ login }, world) => world.logIn(login()))

/** The person agrees when the test says so. */
async function agreeLater() {
  const asked: Promise<void>[] = []
  const turns: (() => void)[] = []
  const world = await startStepUp(async ({ login }, { logIn }) => {
    const { promise, resolve } = Promise.withResolvers<void>()
    turns.push(resolve)
    asked.push(promise)
    await promise
    return logIn(login())
  })
  /** Resolves when that many requests have been answered and whoever is asked is asked. */
  const settled = (count: number) => vi.waitFor(() => expect(world.requests.length).toBeGreaterThanOrEqual(count))
  return { ...world, asked, turns, settled }
}

const words = (list: string | null | undefined) => list?.split(' ').sort()
const statuses = async (calls: Promise<Response>[]) => (await Promise.all(calls)).map(({ status }) => status)

test('without stepUp a challenge is the answer; with it what is held and what is asked for are asked for together', async () => {
  const world = await agree()
  const response = await world.call('/scope/write', { method: 'POST', body: 'order' })
  expect(response.status).toBe(200)
  expect(world.requests).toEqual([
    { url: '/scope/write', body: 'order', token: 't1' },
    { url: '/scope/write', body: 'order', token: 't2' },
  ])
  expect(words(world.logins[0]?.get('scope'))).toEqual(['openid', 'read', 'write'])
  expect((await world.app.auth.getTokenSet()).scope?.split(' ').sort()).toEqual(['openid', 'read', 'write'])
})

test('scope that an earlier step-up brought is asked for again with the next', async () => {
  const world = await agree()
  await world.call('/scope/write')
  await world.call('/scope/admin')
  expect(words(world.logins[1]?.get('scope'))).toEqual(['admin', 'openid', 'read', 'write'])
})

test('another authentication is asked for with its acr_values and max_age, and the token is not taken for a bad one', async () => {
  const world = await agree()
  expect((await world.call('/acr/high')).status).toBe(200)
  const [login] = world.logins
  expect([login?.get('acr_values'), login?.get('max_age')]).toEqual(['high', '60'])
  expect(world.requests).toHaveLength(2)
  expect(world.app.auth.stats().renewals).toBe(0)
})

test('all who wait share one step-up, which asks for what all of them need', async () => {
  const world = await agreeLater()
  const calls = ['/scope/write', '/scope/admin', '/acr/high', '/scope/write', '/free'].map((path) => world.call(path))
  await world.settled(5)
  await vi.waitFor(() => expect(world.turns).toHaveLength(1))
  await new Promise((resolve) => setImmediate(resolve))
  world.turns[0]?.()
  expect(await statuses(calls)).toEqual([200, 200, 200, 200, 200])
  expect(world.logins).toHaveLength(1)
  expect(words(world.logins[0]?.get('scope'))).toEqual(['admin', 'openid', 'read', 'write'])
  expect(world.logins[0]?.get('acr_values')).toBe('high')
  expect(world.requests).toHaveLength(9)
})

test('two fetches of one session share one step-up, each with a stepUp() of its own', async () => {
  const world = await agreeLater()
  const confirm = vi.fn()
  const { fetch } = world
  const other = authenticatedFetch(world.app.auth, {
    apis: 'https://api.example/',
    fetch,
    stepUp: stepUp(world.app.auth, { confirm }),
  })
  const calls = [world.call('/scope/write'), other('https://api.example/scope/admin')]
  await world.settled(2)
  await vi.waitFor(() => expect(world.turns).toHaveLength(1))
  await new Promise((resolve) => setImmediate(resolve))
  world.turns[0]?.()
  expect(await statuses(calls)).toEqual([200, 200])
  expect(confirm).not.toHaveBeenCalled()
  expect(words(world.logins[0]?.get('scope'))).toEqual(['admin', 'openid', 'read', 'write'])
})

test('what cannot be asked for together is asked for in turn, never at a time', async () => {
  const world = await agreeLater()
  const calls = ['/acr/high', '/acr/higher'].map((path) => world.call(path))
  await world.settled(2)
  await vi.waitFor(() => expect(world.turns).toHaveLength(1))
  world.turns[0]?.()
  await vi.waitFor(() => expect(world.turns).toHaveLength(2), 5_000)
  expect(world.logins).toHaveLength(1)
  world.turns[1]?.()
  await Promise.all(calls)
  expect(world.logins.map((login) => login.get('acr_values'))).toEqual(['high', 'higher'])
})

test('whoever comes when the login has begun waits for it, and only then asks for what is missing still', async () => {
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>()
  const { promise: over, resolve: end } = Promise.withResolvers<void>()
  let count = 0
  const world = await startStepUp(async ({ login }, { logIn }) => {
    const options = login()
    if (count++ === 0) {
      begin()
      await over
    }
    return logIn(options)
  })
  const first = world.call('/scope/write')
  await begun
  const late = [world.call('/scope/write'), world.call('/scope/admin')]
  await vi.waitFor(() => expect(world.requests).toHaveLength(3))
  await new Promise((resolve) => setImmediate(resolve))
  end()
  expect(await statuses([first, ...late])).toEqual([200, 200, 200])
  expect(world.logins.map((login) => words(login.get('scope')))).toEqual([
    ['openid', 'read', 'write'],
    ['admin', 'openid', 'read', 'write'],
  ])
})

test('an answer that comes after the step-up is repeated with the token that there is', async () => {
  const world = await agree()
  const { promise, resolve } = Promise.withResolvers<void>()
  world.meanwhile = (count) => (count === 1 ? promise : undefined)
  const slow = world.call('/scope/write')
  await vi.waitFor(() => expect(world.requests).toHaveLength(1))
  expect((await world.call('/scope/write')).status).toBe(200)
  resolve()
  expect((await slow).status).toBe(200)
  expect(world.logins).toHaveLength(1)
})

test('what a step-up could not bring is not asked for again with its token', async () => {
  const world = await agree()
  world.grantNothingOf(['write'])
  expect(await statuses([world.call('/scope/write')])).toEqual([403])
  expect(await statuses([world.call('/scope/write'), world.call('/scope/write')])).toEqual([403, 403])
  expect(world.logins).toHaveLength(1)
  expect(await statuses([world.call('/scope/admin')])).toEqual([200])
  expect(world.logins).toHaveLength(2)
})

test('a challenge that only an older login meets is asked for again when that is long ago', async () => {
  const world = await agree()
  const path = `/says/${encodeURIComponent('error="insufficient_user_authentication", max_age="60"')}`
  await world.call(path)
  await world.call(path)
  expect(world.logins).toHaveLength(1)
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 61_000 })
  await world.call(path)
  expect(world.logins).toHaveLength(2)
})

test('a step-up that is refused is a ChallengeError for all who wait, and the next call may ask again', async () => {
  const reason = new OAuthError('popup-closed', 'closed')
  let refuses = true
  const world = await startStepUp(async ({ login }, { logIn }) => {
    if (refuses) throw reason
    return logIn(login())
  })
  const errors = await Promise.all(['/scope/write', '/scope/admin'].map((path) => rejection(world.call(path))))
  for (const error of errors) {
    expect(error).toBeInstanceOf(ChallengeError)
    expect(error).toMatchObject({ code: 'step-up-refused', retryable: false, cause: reason })
    expect(error).toMatchObject({ challenge: { error: 'insufficient_scope', scope: 'write' } })
  }
  refuses = false
  expect((await world.call('/scope/write')).status).toBe(200)
})

test('who waits for the turn of another step-up is asked for their own where that one is refused', async () => {
  let count = 0
  const world = await startStepUp(async ({ login }, { logIn }) => {
    const options = login()
    if (count++ === 0) throw new OAuthError('popup-closed', 'closed')
    return logIn(options)
  })
  const first = rejection(world.call('/acr/high'))
  const second = world.call('/acr/higher')
  expect(await first).toMatchObject({ code: 'step-up-refused', challenge: { acrValues: 'high' } })
  expect((await second).status).toBe(200)
  expect(world.logins.map((login) => login.get('acr_values'))).toEqual(['higher'])
})

test('a step-up that leaves the page answers with the challenge, and comes back as appState', async () => {
  const world = await startStepUp(({ login }, { app }) => app.auth.login(login()))
  const response = await world.call('/scope/write?order=7')
  expect(response.status).toBe(403)
  expect(challengeOf(response)?.scope).toBe('write')
  expect(await response.text()).toBe('more is needed')
  expect(world.requests).toHaveLength(1)
  const { app } = world
  app.page.url = app.server.authorize(app.page.lastVisited)
  expect(await app.auth.handleCallback()).toEqual({
    appState: {
      challenge: { error: 'insufficient_scope', scheme: 'bearer', scope: 'write' },
      url: 'https://api.example/scope/write?order=7',
    },
  })
  expect((await world.call('/scope/write')).status).toBe(200)
})

test('what a login has brought is not asked for again by the page that comes back, for an API with a scope of its own', async () => {
  const world = await agree()
  const { auth, server } = world.app
  const answer = server.tokenResponse
  server.tokenResponse = (body) => answer({ ...body, scope: server.tokenRequests.at(-1)?.get('scope') ?? body.scope })
  const apis = { url: 'https://api.example/', scope: 'read' }
  const confirm = ({ login }: StepUpRequest) => world.logIn(login())
  const page = () => authenticatedFetch(auth, { apis, fetch: world.fetch, stepUp: stepUp(auth, { confirm }) })
  expect((await page()('https://api.example/scope/write')).status).toBe(200)
  expect(world.logins).toHaveLength(1)
  expect((await page()('https://api.example/scope/write')).status).toBe(200)
  expect(world.logins).toHaveLength(1)
  expect((await page()('https://api.example/scope/admin+write')).status).toBe(200)
  expect(world.logins).toHaveLength(2)
})

test('who comes back to the page without having logged in is asked again', async () => {
  const world = await startStepUp(({ login }, { app, logins }) => {
    logins.push(new URLSearchParams())
    return app.auth.login(login())
  })
  const call = async () => (await world.call('/scope/write')).status
  expect([await call(), await call(), world.logins.length]).toEqual([403, 403, 1]) // it is about to be left
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 10_001 })
  expect([await call(), world.logins.length]).toEqual([403, 2])
  expect(world.requests).toHaveLength(3)
})

test('a caller who goes away ends no step-up', async () => {
  const world = await agreeLater()
  const controller = new AbortController()
  const gone = rejection(world.call('/scope/write', { signal: controller.signal }))
  const stays = world.call('/scope/write')
  await world.settled(2)
  await vi.waitFor(() => expect(world.turns).toHaveLength(1))
  controller.abort(new Error('gone'))
  expect(await gone).toEqual(new Error('gone'))
  world.turns[0]?.()
  expect((await stays).status).toBe(200)
})

test.each(['error="invalid_token"', 'error="insufficient_scope"', 'realm="x"', ''])(
  'a challenge that says nothing to ask for, %s, is the answer',
  async (parameters) => {
    const world = await agree()
    expect((await world.call(`/says/${encodeURIComponent(parameters)}`)).status).toBe(403)
    expect([world.requests.length, world.logins.length]).toEqual([1, 0])
  },
)

test('a request whose body is a stream is not repeated, and so nobody is asked', async () => {
  const world = await agree()
  const init = { method: 'POST', body: new Blob(['once']).stream(), duplex: 'half' } as RequestInit
  expect((await world.call('/scope/write', init)).status).toBe(403)
  expect(world.logins).toEqual([])
})

test('after a sign-out nobody is asked to step up', async () => {
  const world = await agree()
  world.meanwhile = () => world.app.auth.logout({ endSession: false })
  expect((await world.call('/scope/write')).status).toBe(403)
  expect(world.logins).toEqual([])
})

test('a request is not repeated as somebody else: not by who waits for the login, comes later, or is next in turn', async () => {
  const { promise: answered, resolve: answer } = Promise.withResolvers<void>()
  const world = await startStepUp(async ({ login }, { app, logIn }) => {
    app.server.idToken = (claims) => ({ ...claims, sub: 'somebody-else', auth_time: claims.iat })
    return logIn(login())
  })
  world.meanwhile = (count) => (count === 1 ? answered : undefined)
  const late = world.call('/scope/write', { method: 'POST' })
  const calls = ['/scope/write', '/acr/high', '/acr/higher'].map((path) => world.call(path, { method: 'POST' }))
  expect(await statuses(calls)).toEqual([403, 401, 401])
  answer()
  expect((await late).status).toBe(403)
  expect([world.requests.length, world.logins.length]).toEqual([4, 1])
  expect(world.app.auth.session).toMatchObject({ claims: { sub: 'somebody-else' } })
  expect((await world.call('/acr/higher')).status).toBe(200)
})

test('who signs in while somebody else is asked is asked for what they need themselves', async () => {
  const { promise: gone, resolve: leave } = Promise.withResolvers<void>()
  let asked = 0
  const world = await startStepUp(({ login }, { logIn }) => (asked++ === 0 ? gone : logIn(login())))
  const before = world.call('/acr/high')
  await vi.waitFor(() => expect(asked).toBe(1))
  world.app.server.idToken = (claims) => ({ ...claims, sub: 'somebody-else', auth_time: claims.iat })
  await world.logIn({ appState: { challenge: { error: 'invalid_token', scheme: undefined }, url: '' } })
  const after = world.call('/acr/high')
  await vi.waitFor(() => expect(world.requests).toHaveLength(2))
  leave()
  expect(await statuses([before, after])).toEqual([401, 200])
})
