import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { signInOverHttp } from '../../playground/src/sign-in-over-http.ts'
import { type Person, signIn, startWorld, untilStatus, visit, type World } from './world.ts'

// Callbacks as they really happen, in a real browser and against a real server: what callback.test.ts does not have.

let world: World
let person: Person
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world.stop())
beforeEach(async () => {
  person = await world.open('/callback')
})
afterEach(() => person.leave())

const redemptions = () => world.server.tokenRequests({ grantType: 'authorization_code' })
const outcome = () => person.page.evaluate(async () => lab.handled)
const spent = { failed: { name: 'InvalidCallbackError', code: 'invalid-state' } }

/** Begins a login in the page and ends it outside; resolves with where the server would send the page. */
async function answerTo(appState: unknown, flow: 'lab' | 'twin' = 'lab'): Promise<URL> {
  const { page } = person
  const asked = page.waitForRequest((request) => request.url().startsWith(`${world.server.issuer}/auth`))
  const begin = ([name, state]: [typeof flow, unknown]) => void globalThis[name]?.auth.login({ appState: state })
  await page.evaluate(begin, [flow, appState] as [typeof flow, unknown])
  const [request] = await Promise.all([asked, page.waitForURL(/\/interaction\//)])
  return new URL(await signInOverHttp(request.url(), { username: 'ada', password: 'lovelace' }))
}

test('another browser: the answer is typed there, costs nothing, and is still good where it began', async () => {
  const before = redemptions()
  const answer = await answerTo('deep')
  const elsewhere = await world.open('/callback')
  await visit(elsewhere.page, answer.href)
  expect(await elsewhere.page.evaluate(async () => lab.handled)).toMatchObject(spent)
  expect(elsewhere.page.url()).toBe(`${world.origin}/callback`)
  await elsewhere.leave()
  expect(redemptions()).toBe(before)
  await visit(person.page, answer.href)
  expect(await outcome()).toMatchObject({ returned: { appState: 'deep' } })
})

test('reload while the code is redeemed: nothing is redeemed twice, the app is told where to start again, and that works', async () => {
  const { page } = person
  const before = redemptions()
  const answer = await answerTo('deep')
  const held = Promise.withResolvers<void>()
  const hold = () => {
    held.resolve()
    return new Promise<never>(() => {}) // until the page is gone
  }
  await page.route(`${world.server.issuer}/token`, hold, { times: 1 })
  await page.goto(answer.href, { waitUntil: 'commit' })
  await held.promise
  await page.reload()
  await untilStatus(page, 'signedOut')
  expect(await outcome()).toMatchObject({ failed: { ...spent.failed, appState: 'deep' } })
  expect(redemptions()).toBe(before)
  await page.reload()
  await untilStatus(page, 'signedOut')
  expect(await outcome()).toEqual({ after: expect.any(Number) })
  await signIn(page)
})

test('bookmark and back: an old answer is typed, leaves the address, and nobody is signed out by it', async () => {
  const { page } = person
  const answer = await answerTo('deep')
  await visit(page, answer.href)
  await untilStatus(page, 'signedIn')
  await visit(page, `${world.origin}/lab`)
  // Not goBack(): a page that Firefox has kept loads no more. Later, or the page is gone before it has answered.
  await page.evaluate(() => void setTimeout(() => history.back()))
  await page.waitForFunction(() => globalThis.lab !== undefined && location.pathname === '/callback')
  expect(await page.evaluate(() => location.search)).toBe('')
  await visit(page, answer.href)
  expect(await outcome()).toMatchObject(spent)
  expect(page.url()).toBe(`${world.origin}/callback`)
  await untilStatus(page, 'signedIn')
})

test('hot reload: a flow that is made anew while the first one redeems has nothing to do, and is signed in', async () => {
  const before = redemptions()
  const answer = await answerTo('deep')
  await visit(person.page, answer.href)
  const renewed = await person.page.evaluate(async () => {
    const flow = startFlow(globalThis.labOptions)
    return [await flow.handled, await lab.handled, flow.auth.session.status]
  })
  expect(renewed[0]).toEqual({ after: expect.any(Number) })
  expect(renewed[1]).toMatchObject({ returned: { appState: 'deep' } })
  expect(redemptions()).toBe(before + 1)
  await untilStatus(person.page, 'signedIn')
})

test('two clients on one page: each takes its own answer and leaves the other’s', async () => {
  await person.context.addInitScript(() => {
    globalThis.labOptions = { twin: { sessionKey: 'other' } }
  })
  await visit(person.page, `${world.origin}/callback`)
  for (const flow of ['twin', 'lab'] as const) {
    const answer = await answerTo(flow, flow)
    await visit(person.page, answer.href)
    const [one, other] = await person.page.evaluate(async () => [await lab.handled, await twin?.handled])
    const [mine, theirs] = flow === 'lab' ? [one, other] : [other, one]
    expect(mine).toMatchObject({ returned: { appState: flow } })
    expect(theirs).toEqual({ after: expect.any(Number) })
  }
})

test('a server that refuses everything ends in an error that names its answer, after one navigation', async () => {
  const { page } = person
  const asked: string[] = []
  page.on('request', (request) => {
    if (request.url().startsWith(`${world.server.issuer}/auth`)) asked.push(request.url())
  })
  await page.evaluate(() => {
    Object.assign(globalThis, { left: true })
    void lab.auth.login({ prompt: 'none', appState: 'deep' })
  })
  await page.waitForFunction(() => globalThis.lab !== undefined && !Reflect.has(globalThis, 'left'))
  expect(await outcome()).toMatchObject({
    failed: { code: 'authorization-refused', error: 'login_required', appState: 'deep' },
  })
  await page.reload()
  await page.waitForFunction(() => globalThis.lab !== undefined)
  expect(await outcome()).toEqual({ after: expect.any(Number) })
  expect(await page.evaluate(() => lab.auth.getAccessToken().catch(lab.described))).toMatchObject({
    code: 'login-required',
  })
  expect(asked).toHaveLength(1)
})
