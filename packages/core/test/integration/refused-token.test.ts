import { createHash } from 'node:crypto'
import { authenticatedFetch, clientCredentials, password } from '@keyturn/core'
import { expect, test } from 'vitest'
import { startWorld, type World } from './world.ts'

const CALLS = 30

function worker({ issuer }: World) {
  return clientCredentials({ issuer, clientId: 'worker', clientSecret: 'worker-secret', scope: 'api:read' })
}

/** A fetch that gives out its first answers only when all of them have come. */
function inStep(count: number): typeof fetch {
  const all = Promise.withResolvers<void>()
  let answered = 0
  return async (input, init) => {
    const response = await fetch(input, init)
    if (++answered === count) all.resolve()
    await all.promise
    return response
  }
}

test('all whose token an API refuses share one renewal, and each is tried once more with its body', async () => {
  const world = await startWorld()
  const { orders, server } = world
  const source = worker(world)
  const api = authenticatedFetch(source, { apis: orders.url, fetch: inStep(CALLS) })
  await source.getAccessToken()
  orders.refuseNext(CALLS)
  const bodies = Array.from({ length: CALLS }, (_, index) => `order ${index} ${'x'.repeat(index * 100)}`)
  const answers = await Promise.all(bodies.map((body) => api(orders.url, { method: 'POST', body })))
  expect(await Promise.all(answers.map((answer) => answer.json()))).toEqual(
    bodies.map((body) => expect.objectContaining({ sha256: createHash('sha256').update(body).digest('hex') })),
  )
  expect([orders.calls, orders.refusals, orders.served]).toEqual([2 * CALLS, CALLS, CALLS])
  expect(server.tokenRequests()).toBe(2)
})

test('a refusal that comes after the renewal uses the new token, and renews no more', async () => {
  const world = await startWorld()
  const source = worker(world)
  const old = await source.getAccessToken()
  const next = await source.getAccessToken({ rejectedToken: old })
  expect(next).not.toBe(old)
  const late = await Promise.all(Array.from({ length: 100 }, () => source.getAccessToken({ rejectedToken: old })))
  expect(new Set(late)).toEqual(new Set([next]))
  expect(world.server.tokenRequests()).toBe(2)
})

test('an API that refuses every token gets two calls, and its 401 is the answer', async () => {
  const world = await startWorld()
  const api = authenticatedFetch(worker(world), { apis: world.orders.url })
  world.orders.refuseNext(1000)
  const response = await api(world.orders.url)
  expect(response.status).toBe(401)
  expect(response.headers.get('www-authenticate')).toContain('invalid_token')
  expect([world.orders.calls, world.server.tokenRequests()]).toEqual([2, 2])
})

test('an API that goes on refusing does not cost a renewal per call', async () => {
  const world = await startWorld()
  const api = authenticatedFetch(worker(world), { apis: world.orders.url })
  world.orders.refuseNext(1000)
  for (let count = 0; count < 20; count++) expect((await api(world.orders.url)).status).toBe(401)
  expect(world.server.tokenRequests()).toBeLessThan(6)
})

test('when the renewal of a refused token fails, the 401 is the answer, and the session goes on', async () => {
  const world = await startWorld()
  const { orders, server } = world
  const source = password({
    issuer: world.issuer,
    clientId: 'cli',
    username: 'ada',
    password: 'lovelace',
    scope: 'api:read',
  })
  const api = authenticatedFetch(source, { apis: orders.url })
  expect((await api(orders.url)).status).toBe(200)
  server.fault({ status: 503, retryAfter: 1 })
  orders.refuseNext(1)
  const response = await api(orders.url, { method: 'POST', body: 'x' })
  expect(response.status).toBe(401)
  expect(await response.json()).toMatchObject({ error: 'invalid_token' })
  expect(source.session.status).toBe('signedIn')
})

test("a 403 is the API's last word", async () => {
  const world = await startWorld()
  const source = clientCredentials({
    issuer: world.issuer,
    clientId: 'worker',
    clientSecret: 'worker-secret',
    scope: 'api:write',
  })
  const response = await authenticatedFetch(source, { apis: world.orders.url })(world.orders.url)
  expect(response.status).toBe(403)
  expect([world.orders.calls, world.server.tokenRequests()]).toEqual([1, 1])
})
