import type { Page } from 'playwright'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { inFirefox, type Person, signIn, startWorld, untilStatus, visit, type World } from './world.ts'

const TIMEOUT = 2000

let world: World
let person: Person
/** What ends the freezes of a test. */
const thaws: (() => Promise<unknown>)[] = []
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world.stop())
beforeEach(async () => {
  person = await world.open('/callback', { timeout: TIMEOUT })
})
afterEach(async () => {
  for (const thaw of thaws.splice(0)) await thaw()
  await person.leave()
})

const refreshes = () => world.server.tokenRequests({ grantType: 'refresh_token' })
const session = (page: Page) => page.evaluate(() => lab.auth.session)

/** A headless browser does not freeze pages that nobody looks at; its debugger stops every task of one just so. */
async function debuggerOf(page: Page) {
  const cdp = await person.context.newCDPSession(page)
  await cdp.send('Debugger.enable')
  const thaw = () => cdp.send('Debugger.disable')
  thaws.push(thaw)
  return { cdp, frozen: new Promise((resolve) => cdp.once('Debugger.paused', resolve)), thaw }
}

/** Has the page renew a token, without waiting for it. */
const beginRenewal = (page: Page, refused: string) =>
  page.evaluate((rejectedToken) => {
    Object.assign(globalThis, { renewal: lab.auth.getAccessToken({ rejectedToken }).catch(lab.described) })
  }, refused)

const renewalOf = (page: Page) => page.evaluate(() => Reflect.get(globalThis, 'renewal'))

test.skipIf(inFirefox)(
  'a tab frozen before it sends is passed over after its lease; thawed it sends nothing, and all go on',
  async () => {
    await signIn(person.page)
    const other = await person.tab()
    await untilStatus(other, 'signedIn')
    const { reuses } = world.server
    const stuck = await person.context.newPage()
    await visit(stuck, `${world.origin}/callback`)
    await untilStatus(stuck, 'signedIn')
    const token = await other.evaluate(() => lab.auth.getAccessToken())
    // It stops in its renewal, under the lock, where it asks for the server's metadata.
    const { cdp, frozen, thaw } = await debuggerOf(stuck)
    await cdp.send('DOMDebugger.setXHRBreakpoint', { url: '/.well-known/' })
    await beginRenewal(stuck, token)
    await frozen
    const start = performance.now()
    await beginRenewal(other, token)
    expect(await renewalOf(other)).toEqual(expect.any(String))
    const took = performance.now() - start
    expect(took).toBeGreaterThan(2 * TIMEOUT)
    expect(took).toBeLessThan(5 * TIMEOUT)
    await thaw()
    expect(await renewalOf(stuck)).toEqual(expect.any(String))
    expect(world.server.reuses).toBe(reuses)
    for (const page of [stuck, other, person.page]) expect(await session(page)).toMatchObject({ status: 'signedIn' })
  },
)

test.skipIf(inFirefox)(
  'a tab frozen after it sent: without a grace of the server the session ends once, typed, in every tab',
  async () => {
    await signIn(person.page)
    const other = await person.tab()
    await untilStatus(other, 'signedIn')
    const token = await other.evaluate(() => lab.auth.getAccessToken())
    const [before, reuses] = [refreshes(), world.server.reuses]
    const { cdp, frozen, thaw } = await debuggerOf(person.page)
    // The answer is there, and does not reach the page before it is frozen.
    await person.page.route(`${world.server.issuer}/token`, async (route) => {
      const response = await route.fetch()
      await frozen
      await route.fulfill({ response }).catch(() => {}) // it may have given up
    })
    await beginRenewal(person.page, token)
    await expect.poll(refreshes, { interval: 10 }).toBeGreaterThan(before)
    await person.page.evaluate(() => void setInterval(() => {}, 10))
    await cdp.send('Debugger.pause')
    await frozen
    await beginRenewal(other, token)
    const results = [await renewalOf(other)]
    await thaw()
    results.push(await renewalOf(person.page))
    expect(results).toMatchObject([{ name: 'LoginRequiredError' }, { name: 'LoginRequiredError' }])
    for (const page of [person.page, other]) {
      expect(await session(page)).toMatchObject({ status: 'signedOut', ended: { reason: 'rotation-lost' } })
    }
    expect(world.server.reuses).toBe(reuses + 1)
  },
)
