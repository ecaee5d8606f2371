import { authenticatedFetch, type StepUpOptions, stepUp } from '@keyturn/core'
import { afterEach, expect, test, vi } from 'vitest'
import { startStepUp } from './step-up-world.ts'

afterEach(() => {
  vi.useRealTimers()
})

/** An API that is called with less than the session has: scope "read", and what is asked for besides. */
async function startNarrow(says = (asked: string | null | undefined, all: unknown) => asked ?? all) {
  const world = await startStepUp(({ login }, world) => world.logIn(login()))
  const { auth, server } = world.app
  const answer = server.tokenResponse
  server.tokenResponse = (body) => {
    const asked = server.tokenRequests.at(-1)?.get('scope')
    const response = answer({ ...body, scope: asked ?? body.scope })
    const scope = says(asked, body.scope)
    return scope === undefined ? Response.json({ error: 'invalid_scope' }, { status: 400 }) : { ...response, scope }
  }
  const narrow = (confirm: StepUpOptions['confirm'] = ({ login }) => world.logIn(login()), scope = 'read') => {
    const apis = { url: 'https://api.example/', scope }
    const api = authenticatedFetch(auth, { apis, fetch: world.fetch, stepUp: stepUp(auth, { confirm }) })
    return async (path: string) => (await api(`https://api.example${path}`)).status
  }
  const asked = () => world.logins.map((login) => login.get('scope')?.split(' ').sort().join(' '))
  return { world, narrow, asked }
}

test('where a route asks for less than the session has, a step-up takes nothing of it away', async () => {
  const { narrow, asked } = await startNarrow()
  const call = narrow()
  for (const path of ['/scope/write', '/scope/admin', '/scope/write', '/scope/admin'])
    expect(await call(path)).toBe(200)
  expect(asked()).toEqual(['openid read write', 'admin openid read write'])
})

test.each([
  ['refuses', undefined],
  ['leaves out', 'read'],
])('scope that the server %s is not asked for again, where a route asks for a scope of its own', async (_, instead) => {
  const { world, narrow, asked } = await startNarrow((asked) => {
    return asked?.includes('write') ? instead : (asked ?? 'openid read')
  })
  world.grantNothingOf(['write'])
  const call = narrow()
  for (let count = 0; count < 3; count++) expect(await call('/scope/write')).toBe(403)
  expect(asked()).toEqual(['openid read write'])
})

test('scope that a server gives, but does not name with the login, is used and not asked for again', async () => {
  const { narrow, asked } = await startNarrow((asked) => asked ?? 'openid read')
  const call = narrow()
  for (let count = 0; count < 3; count++) expect(await call('/scope/write')).toBe(200)
  expect(asked()).toEqual(['openid read write'])
})

test.each([
  ['refuses', undefined],
  ['leaves out', 'read'],
])(
  'who comes back without a login is asked again where the server %s what is missing, for a route with a scope of its own',
  async (_, instead) => {
    const { world, narrow } = await startNarrow((asked) =>
      asked?.includes('write') ? instead : (asked ?? 'openid read'),
    )
    world.grantNothingOf(['write'])
    let count = 0
    const call = narrow(({ login }) => {
      count++
      return world.app.auth.login(login())
    })
    expect([await call('/scope/write'), await call('/scope/write'), count]).toEqual([403, 403, 1])
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 10_001 })
    expect([await call('/scope/write'), count]).toEqual([403, 2])
  },
)

test('an answer that comes after several step-ups is repeated with the token that there is', async () => {
  const world = await startStepUp(({ login }, world) => world.logIn(login()))
  const { promise, resolve } = Promise.withResolvers<void>()
  world.meanwhile = (count) => (count === 1 ? promise : undefined)
  const slow = world.call('/scope/write')
  await vi.waitFor(() => expect(world.requests).toHaveLength(1))
  await world.call('/scope/write')
  await world.call('/scope/admin')
  resolve()
  expect((await slow).status).toBe(200)
  expect(world.logins).toHaveLength(2)
})

test('what a server gives all the same after a login that never came is used, also later', async () => {
  const { world, narrow } = await startNarrow((asked) => asked ?? 'openid read')
  let count = 0
  const call = narrow(({ login }) => {
    count++
    return world.app.auth.login(login())
  })
  expect(await call('/scope/write')).toBe(200)
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 10_001 })
  expect([await call('/scope/write'), count]).toEqual([200, 1])
})

test('an answer that comes long after a step-up that brought nothing asks nobody again', async () => {
  const { world, narrow, asked } = await startNarrow((asked) =>
    asked?.includes('write') ? undefined : (asked ?? 'openid read'),
  )
  world.grantNothingOf(['write'])
  const { promise, resolve } = Promise.withResolvers<void>()
  const call = narrow()
  world.meanwhile = (count) => (count === 1 ? promise : undefined)
  const slow = call('/scope/write')
  await vi.waitFor(() => expect(world.requests).toHaveLength(1))
  expect(await call('/scope/write')).toBe(403)
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 10_001 })
  resolve()
  expect([await slow, asked()]).toEqual([403, ['openid read write']])
})

test('what a route asks for besides what the session has is no reason to ask a person', async () => {
  const { narrow, asked } = await startNarrow()
  expect(await narrow(undefined, 'other')('/scope/read+other')).toBe(200)
  expect(asked()).toEqual([])
})
