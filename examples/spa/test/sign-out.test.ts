import type { Page } from 'playwright'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import {
  inFirefox,
  type Person,
  signIn,
  startWorld,
  statusSince,
  typePassword,
  untilStatus,
  visit,
  type World,
} from './world.ts'

/** Milliseconds: longer than a busy machine takes between two moves of the mouse, which is long in Firefox. */
const AFTER = inFirefox ? 5000 : 3000

let world: World
let person: Person
beforeAll(async () => {
  // Nobody answers there; that there is one gives ID tokens a `sid`.
  world = await startWorld({ accessTokenTTL: 60, backChannelLogoutUri: 'http://127.0.0.1:9/logged-out' })
})
afterAll(() => world.stop())
beforeEach(async () => {
  await world.server.back()
  person = await world.open('/callback', { timeout: 3000 })
})
afterEach(() => person.leave())

const session = (page: Page) => page.evaluate(() => lab.auth.session)
const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))
const authorizations = () => world.server.log.filter(({ path }) => path === '/auth').length
const revocations = () => world.server.log.filter(({ path }) => path === '/token/revocation').length
const userOf = (authorization = '') => JSON.parse(atob(authorization.split('.')[1] ?? '')).sub

async function twoTabs(): Promise<[Page, Page]> {
  await signIn(person.page)
  const other = await person.tab()
  await untilStatus(other, 'signedIn')
  return [person.page, other]
}

const keepCalling = (page: Page) =>
  page.evaluate((api) => void setInterval(() => lab.call(api).catch(() => {}), 25), world.apis[0].url)

test('after a change of user in one tab no call of another leaves with the token of the old one', async () => {
  const [page, other] = await twoTabs()
  await keepCalling(other)
  await expect.poll(() => person.traffic.calls.length).toBeGreaterThan(10)
  await person.context.clearCookies() // the server would know ada; nobody has signed out here
  await Promise.all([page.waitForURL(/\/interaction\//), page.evaluate(() => void lab.auth.login())])
  await typePassword(page, 'alan', 'turing')
  await page.waitForURL(/\/callback/)
  await page.waitForFunction(() => {
    const { session } = globalThis.lab?.auth ?? {}
    return session?.status === 'signedIn' && session.claims?.sub === 'alan'
  })
  const changed = Date.now()
  await other.waitForFunction(() => Object(lab.auth.session).claims?.sub === 'alan', undefined, { polling: 20 })
  expect(Date.now() - changed).toBeLessThan(1000)
  const known = Date.now()
  await pause(500)
  const late = person.traffic.calls.filter(({ at }) => at > known + 20)
  expect(late.length).toBeGreaterThan(3)
  expect(new Set(late.map(({ authorization }) => userOf(authorization)))).toEqual(new Set(['alan']))
})

test('other tabs follow a sign-out within a second, and do not sign in again by themselves', async () => {
  const [page, other] = await twoTabs()
  await keepCalling(other)
  await page.evaluate(() => lab.auth.logout({ endSession: false }))
  const before = authorizations()
  await untilStatus(other, 'signedOut')
  expect((await statusSince(other)) - (await statusSince(page))).toBeLessThan(1000)
  await other.evaluate(() => document.dispatchEvent(new Event('visibilitychange')))
  await pause(1000)
  for (const tab of [page, other]) {
    expect(await session(tab)).toMatchObject({ status: 'signedOut' })
    await tab.reload()
    await untilStatus(tab, 'signedOut')
  }
  expect(authorizations()).toBe(before) // though the server's own session goes on
})

test('a sign-out without network is finished when the network is back, by a tab that is left', async () => {
  const [page, other] = await twoTabs()
  const token = await page.evaluate(() => lab.auth.getAccessToken())
  await world.server.away()
  await page.evaluate(() => lab.auth.logout({ endSession: false }))
  await untilStatus(other, 'signedOut')
  await page.close()
  await world.server.back()
  const before = revocations()
  await other.reload()
  await other.waitForFunction(() => globalThis.lab !== undefined)
  await expect.poll(() => revocations() - before, { timeout: 10_000 }).toBe(1)
  expect(await session(other)).toMatchObject({ status: 'signedOut' })
  await other.reload()
  await pause(1500)
  expect(revocations() - before).toBe(1)
  expect(token).toEqual(expect.any(String))
})

/** The address that the server would load, for the session of this page. */
async function logoutAddress(page: Page, more: Record<string, string> = {}) {
  const known = await session(page)
  const { iss, sid } = Object(known).claims
  return `${world.origin}/lab?${new URLSearchParams({ iss, sid, ...more })}`
}

test('the front-channel logout page ends the session that it is about, in every tab', async () => {
  const [page, other] = await twoTabs()
  const address = await logoutAddress(page)
  const third = await person.context.newPage()
  await visit(third, address)
  expect(await third.evaluate(() => lab.frontChannelLogout())).toBe(true)
  expect(third.url()).toBe(address)
  for (const tab of [page, other, third]) {
    await untilStatus(tab, 'signedOut')
    expect(await session(tab)).toMatchObject({ ended: { reason: 'signed-out', origin: 'server' } })
  }
  expect(await third.evaluate(() => lab.frontChannelLogout())).toBe(false)
})

test('an address for the front-channel logout that names another session, or none, ends nothing', async () => {
  const [page, other] = await twoTabs()
  for (const address of [
    await logoutAddress(page, { sid: 'of-somebody-else' }),
    await logoutAddress(page, { iss: 'https://evil.example' }),
    await logoutAddress(page, { sid: '' }),
    `${await logoutAddress(page)}&sid=twice`,
    `${world.origin}/lab`,
  ]) {
    expect(await other.evaluate((url) => lab.frontChannelLogout(url), address), address).toBe(false)
  }
  for (const tab of [page, other]) expect(await session(tab)).toMatchObject({ status: 'signedIn' })
})

test('in a frame of a page of the same site the front-channel logout ends the session of every tab', async () => {
  const [page] = await twoTabs()
  const address = await logoutAddress(page)
  // The page of the server, and its leave to frame the app's.
  const body = `<!doctype html><iframe src="${address.replaceAll('&', '&amp;')}"></iframe>`
  await person.context.route('http://127.0.0.1:8/', (route) => route.fulfill({ contentType: 'text/html', body }))
  await person.context.route(address, async (route) => {
    const response = await route.fetch()
    const { 'content-security-policy': _, ...headers } = response.headers()
    await route.fulfill({ response, headers })
  })
  const server = await person.context.newPage()
  await server.goto('http://127.0.0.1:8/')
  const frame = server.frames()[1]
  await frame?.waitForFunction(() => globalThis.lab !== undefined)
  expect(await frame?.evaluate(() => lab.frontChannelLogout())).toBe(true)
  await untilStatus(page, 'signedOut')
  expect(server.url()).toBe('http://127.0.0.1:8/')
  expect(person.traffic.complaints.splice(0)).toEqual(['a frame was made'])
})

test('nobody there in any tab: the session ends in all of them; somebody in one is somebody in all', async () => {
  await person.leave()
  person = await world.open('/callback', { idle: { after: AFTER } })
  await person.context.addInitScript(() => {
    Object.assign(globalThis, { fidgets: setInterval(() => dispatchEvent(new KeyboardEvent('keydown')), 100) })
  })
  const [page, other] = await twoTabs() // in which somebody is there for as long as that takes
  for (const tab of [page, other]) await tab.evaluate(() => clearInterval(Reflect.get(globalThis, 'fidgets')))
  let start = 0
  for (let moves = 0; moves < AFTER / 167; moves++) {
    start = Date.now()
    await other.mouse.move(10 + moves, 10)
    await pause(250)
  }
  for (const tab of [page, other]) expect(await session(tab)).toMatchObject({ status: 'signedIn' })
  for (const tab of [page, other]) await untilStatus(tab, 'signedOut')
  expect(Date.now() - start).toBeGreaterThan(AFTER / 2)
  expect(Date.now() - start).toBeLessThan(AFTER * 3)
  for (const tab of [page, other]) {
    expect(await session(tab)).toMatchObject({ ended: { reason: 'idle' } })
    expect(tab.url()).toBe(`${world.origin}/callback`)
  }
})
