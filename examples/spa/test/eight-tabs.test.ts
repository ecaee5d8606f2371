import type { Page } from 'playwright'
import { expect, test } from 'vitest'
import { signIn, startWorld, untilStatus } from './world.ts'

const TTL = 2
const TABS = 8
const DUPLICATES = 2
/** `npm run soak` takes 200. */
const EXPIRIES = Number(process.env.SOAK_EXPIRIES ?? 10)

test(`eight tabs, two of them duplicates, go through ${EXPIRIES} expiries of strict rotation: no token twice, nobody signed out`, {
  timeout: 60_000 + EXPIRIES * TTL * 3000,
}, async () => {
  const world = await startWorld({ accessTokenTTL: TTL })
  const person = await world.open('/callback')
  try {
    await signIn(person.page)
    const pages = [person.page]
    while (pages.length < TABS - DUPLICATES) pages.push(await person.tab())
    for (let copy = 0; copy < DUPLICATES; copy++) {
      const [duplicate] = await Promise.all([
        person.context.waitForEvent('page'),
        person.page.evaluate(() => void window.open(location.href)),
      ])
      await duplicate.waitForFunction(() => globalThis.lab !== undefined)
      pages.push(duplicate)
    }
    for (const page of pages) await untilStatus(page, 'signedIn')

    const refreshes = () => world.server.tokenRequests({ grantType: 'refresh_token' })
    const [before, start] = [refreshes(), performance.now()]
    await Promise.all(pages.map(keepAsking))
    await expect
      .poll(() => refreshes() - before, { timeout: EXPIRIES * TTL * 2500, interval: 200 })
      .toBeGreaterThanOrEqual(EXPIRIES)
    const [sent, elapsed] = [refreshes() - before, performance.now() - start]

    expect(world.server.reuses).toBe(0)
    const tokens = world.server.log.flatMap(({ refreshToken }) => refreshToken ?? [])
    expect(tokens.length).toBe(new Set(tokens).size)
    // One renewal an expiry for all tabs together, for none is earlier than that.
    expect(sent).toBeLessThanOrEqual(elapsed / (0.75 * TTL * 1000) + 1)
    for (const page of pages) {
      const got = await whatItGot(page)
      expect(got.failures).toEqual([])
      expect(got.statuses, 'it was signed in all the time').toEqual(['signedIn'])
      expect(got.tokens).toBeGreaterThan(EXPIRIES * 0.8)
      expect(got.session).toMatchObject({ status: 'signedIn', freshness: 'fresh' })
    }
    const asked = await Promise.all(pages.map(whatItGot))
    console.log(
      `${pages.length} tabs, ${sent} renewals in ${(elapsed / 1000).toFixed(0)} s, ${world.server.reuses} reuses, ` +
        `${asked.reduce((sum, { calls }) => sum + calls, 0)} calls, 0 failures`,
    )
    await person.leave()
  } finally {
    await world.stop()
  }
})

/** From now on the page asks for a token all the time. */
const keepAsking = (page: Page) =>
  page.evaluate(() => {
    const asked = { calls: 0, tokens: new Set<string>(), failures: [] as unknown[], since: lab.statuses.length - 1 }
    Object.assign(globalThis, { asked })
    setInterval(() => {
      asked.calls++
      lab.auth.getAccessToken().then(
        (token) => asked.tokens.add(token),
        (error) => asked.failures.push(lab.described(error)),
      )
    }, 50)
  })

const whatItGot = (page: Page) =>
  page.evaluate(() => {
    const { calls, tokens, failures, since } = Reflect.get(globalThis, 'asked')
    const statuses = lab.statuses.slice(since).map(({ status }) => status)
    return { calls: Number(calls), tokens: Number(tokens.size), failures, statuses, session: lab.auth.session }
  })
