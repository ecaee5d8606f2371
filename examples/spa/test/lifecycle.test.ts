import type { Page } from 'playwright'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { type Person, signIn, startWorld, untilStatus, type World } from './world.ts'

const TIMEOUT = 2000

let world: World
let person: Person
beforeAll(async () => {
  world = await startWorld({ accessTokenTTL: 2 })
})
afterAll(() => world.stop())
beforeEach(async () => {
  world.server.fault()
  await world.server.back()
  person = await world.open('/callback', { timeout: TIMEOUT })
})
afterEach(() => person.leave())

const session = (page: Page) => page.evaluate(() => lab.auth.session)

/** After how many milliseconds a page that loads knows its state: the least of three, for a busy machine adds its own. */
async function knownAfter(page: Page): Promise<number> {
  const times: number[] = []
  // The best of some loads, of more where the machine is busy: what is waited for here is waited for in each.
  while (times.length < 3 || (times.length < 15 && Math.min(...times) >= 50)) {
    await page.reload()
    await page.waitForFunction(() => globalThis.lab !== undefined)
    const { after, ...rest } = await page.evaluate(async () => lab.handled)
    expect(rest).toEqual({})
    times.push(after)
  }
  return Math.min(...times)
}

test('with the server out of reach the first state is known at once, and a signed-in user stays signed in', async () => {
  await signIn(person.page)
  const { reuses } = world.server
  const { page, context } = person
  const token = await page.evaluate(() => lab.auth.getAccessToken())
  await world.server.away()
  await new Promise((resolve) => setTimeout(resolve, 2100)) // the token ends
  expect(await knownAfter(page)).toBeLessThan(50)
  expect(await session(page)).toMatchObject({ status: 'signedIn', renewable: true })
  const failed = await page.evaluate(() => lab.auth.getAccessToken().catch(lab.described))
  expect(failed).toMatchObject({ name: 'TokenUnavailableError', retryable: true })
  expect(await session(page)).toMatchObject({ status: 'signedIn', freshness: 'stale' })

  await context.setOffline(true)
  await expect.poll(() => page.evaluate(() => navigator.onLine)).toBe(false)
  await world.server.back()
  await context.setOffline(false)
  const start = performance.now()
  const renewed = () => page.evaluate(() => lab.auth.getAccessToken().catch(lab.described))
  await expect.poll(renewed, { timeout: 5000 }).toEqual(expect.any(String))
  expect(performance.now() - start).toBeLessThan(5000)
  expect(await renewed()).not.toBe(token)
  expect(await session(page)).toMatchObject({ status: 'signedIn', freshness: 'fresh' })
  expect(world.server.reuses).toBe(reuses)
})

test('with the server out of reach somebody who is signed out is known to be, and login() says why it cannot', async () => {
  await world.server.away()
  const { page } = person
  expect(await knownAfter(page)).toBeLessThan(50)
  expect(await session(page)).toEqual({ status: 'signedOut' })
  const refused = await page.evaluate(() => lab.auth.login().catch(lab.described))
  expect(refused).toMatchObject({ name: 'TokenUnavailableError', retryable: true })
})

test('signing out while the server is out of reach is over at once, here and in the other tab', async () => {
  await signIn(person.page)
  const other = await person.tab()
  await untilStatus(other, 'signedIn')
  await world.server.away()
  const took = await person.page.evaluate(async () => {
    const begun = performance.now()
    const over = lab.auth.logout({ endSession: false })
    const { status } = lab.auth.session
    await over
    return { status, took: performance.now() - begun }
  })
  expect(took.status).toBe('signedOut')
  expect(took.took).toBeLessThan(1000)
  await untilStatus(other, 'signedOut')
})
