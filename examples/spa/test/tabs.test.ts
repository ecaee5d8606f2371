import type { Page } from 'playwright'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { inFirefox, type Person, signIn, startWorld, statusSince, untilStatus, type World } from './world.ts'

const TTL = 1
/** How often a token ends: in Firefox, where every tab takes its time, as often as it needs to show. */
const [MANY, SOME] = inFirefox ? [6, 4] : [20, 10]

let world: World
let person: Person
beforeAll(async () => {
  world = await startWorld({ accessTokenTTL: TTL })
})
afterAll(() => world.stop())
beforeEach(async () => {
  world.server.fault()
  world.server.tokensLive(TTL)
  person = await world.open('/callback')
})
afterEach(() => person.leave())

const refreshes = () => world.server.tokenRequests({ grantType: 'refresh_token' })

/** From now on the page asks for a token all the time. */
const keepAsking = (page: Page) =>
  page.evaluate(() => {
    const asked = { tokens: new Set<string>(), failures: [] as unknown[] }
    Object.assign(globalThis, { asked })
    setInterval(() => {
      lab.auth.getAccessToken().then(
        (token) => asked.tokens.add(token),
        (error) => asked.failures.push(lab.described(error)),
      )
    }, 25)
  })

const whatItGot = (page: Page): Promise<{ tokens: number; failures: unknown[] }> =>
  page.evaluate(() => {
    const { tokens, failures } = Reflect.get(globalThis, 'asked')
    return { tokens: tokens.size, failures }
  })

async function expire(times: number, pages: Page[]) {
  const [before, start] = [refreshes(), performance.now()]
  await Promise.all(pages.map(keepAsking))
  await expect.poll(() => refreshes() - before, { timeout: times * 2000, interval: 50 }).toBeGreaterThanOrEqual(times)
  const elapsed = performance.now() - start
  const sent = refreshes() - before
  expect(sent).toBeLessThanOrEqual(elapsed / (0.75 * TTL * 1000) + 1)
  expect(world.server.reuses).toBe(0)
  for (const page of pages) {
    const { tokens, failures } = await whatItGot(page)
    expect(failures).toEqual([])
    expect(tokens).toBeGreaterThanOrEqual(times - 1)
    expect(tokens).toBeLessThanOrEqual(sent + 1)
    expect(await page.evaluate(() => lab.auth.session)).toMatchObject({ status: 'signedIn', freshness: 'fresh' })
  }
}

test(`two tabs go through ${MANY} expiries: one renewal each, no token twice, both signed in`, async () => {
  await signIn(person.page)
  const other = await person.tab()
  await untilStatus(other, 'signedIn')
  await expire(MANY, [person.page, other])
})

test(`four tabs, one of them a duplicate, go through ${SOME} expiries: one renewal each, all signed in`, async () => {
  await signIn(person.page)
  const others = [await person.tab(), await person.tab()]
  const [duplicate] = await Promise.all([
    person.context.waitForEvent('page'),
    person.page.evaluate(() => void window.open(location.href)),
  ])
  await duplicate.waitForFunction(() => globalThis.lab !== undefined)
  const pages = [person.page, duplicate, ...others]
  for (const page of pages) await untilStatus(page, 'signedIn')
  await expire(SOME, pages)
})

test('a token that an API refuses to four tabs at once is renewed once, and all get the same', async () => {
  world.server.tokensLive(60) // or its own end comes in between
  await signIn(person.page)
  const pages = [person.page, await person.tab(), await person.tab(), await person.tab()]
  for (const page of pages) await untilStatus(page, 'signedIn')
  const refused = await person.page.evaluate(() => lab.auth.getAccessToken())
  const before = refreshes()
  const tokens = await Promise.all(
    pages.map((page) => page.evaluate((rejectedToken) => lab.auth.getAccessToken({ rejectedToken }), refused)),
  )
  expect(tokens).not.toContain(refused)
  expect(new Set(tokens).size).toBe(1)
  expect(refreshes() - before).toBe(1)
  expect(world.server.reuses).toBe(0)
})

test('a sign-out in one tab shows in the others within a second, and no request leaves with the old token', async () => {
  await signIn(person.page)
  const other = await person.tab()
  await untilStatus(other, 'signedIn')
  const [{ url }] = world.apis
  for (const page of [person.page, other]) {
    await page.evaluate((api) => {
      performance.setResourceTimingBufferSize(2000)
      setInterval(() => lab.call(api).catch(() => {}), 25)
    }, url)
  }
  for (const page of [person.page, other]) {
    await page.waitForFunction((api) => performance.getEntriesByName(api).length > 5, url)
  }
  await person.page.evaluate(() => lab.auth.logout({ endSession: false }))
  await untilStatus(other, 'signedOut')
  expect((await statusSince(other)) - (await statusSince(person.page))).toBeLessThan(1000)
  await new Promise((resolve) => setTimeout(resolve, 300)) // what should not come has time to come
  for (const page of [person.page, other]) {
    const [calls, late] = await page.evaluate((api) => {
      const end = (lab.statuses.at(-1)?.at ?? 0) - performance.timeOrigin
      const starts = performance.getEntriesByName(api).map(({ startTime }) => startTime)
      return [starts.length, starts.filter((start) => start > end + 5)]
    }, url)
    expect(calls).toBeGreaterThan(2)
    expect(late).toEqual([])
  }
  const ended = (page: Page) => page.evaluate(() => lab.auth.session)
  expect(await ended(other)).toMatchObject({ ended: { reason: 'signed-out', origin: 'another' } })
  expect(await ended(person.page)).toMatchObject({ ended: { reason: 'signed-out', origin: 'user' } })
})

test('a renewal that is under way in one tab does not bring back a session that another tab ends', async () => {
  world.server.tokensLive(60) // no other renewal is under way
  await signIn(person.page)
  const other = await person.tab()
  await untilStatus(other, 'signedIn')
  world.server.fault({ delay: 4000, times: 1 })
  const delayed = () => world.server.log.filter(({ fault }) => fault).length
  const [before, others] = [refreshes(), delayed()]
  const renewal = other.evaluate(async () => {
    const rejectedToken = await lab.auth.getAccessToken().catch(() => '')
    return lab.auth.getAccessToken({ rejectedToken }).catch(lab.described)
  })
  await expect.poll(delayed).toBeGreaterThan(others)
  await person.page.evaluate(() => lab.auth.logout({ endSession: false }))
  await untilStatus(other, 'signedOut')
  expect(await renewal).toMatchObject({ name: 'LoginRequiredError' })
  await expect.poll(() => refreshes(), { timeout: 10_000 }).toBeGreaterThan(before)
  for (const page of [person.page, other]) {
    await page.reload()
    await untilStatus(page, 'signedOut')
  }
})

test('a sign-in and a change of user in one tab show in the other', async () => {
  const other = await person.tab()
  await untilStatus(other, 'signedOut')
  await signIn(person.page)
  await untilStatus(other, 'signedIn')
  expect((await statusSince(other)) - (await statusSince(person.page))).toBeLessThan(1000)
  expect(await other.evaluate(() => lab.auth.getAccessToken())).toEqual(expect.any(String))

  await person.page.evaluate(() => lab.auth.logout({ endSession: false }))
  await untilStatus(other, 'signedOut')
  await person.context.clearCookies()
  await signIn(person.page, 'alan', 'turing')
  await untilStatus(other, 'signedIn')
  expect(await other.evaluate(() => lab.auth.session)).toMatchObject({ claims: { sub: 'alan' } })
})
