import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { clickLogin, closing, openLogin, outcomeOf } from './popups.ts'
import { inFirefox, type Person, startWorld, typePassword, untilStatus, type World } from './world.ts'

let world: World
let person: Person
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world.stop())
beforeEach(async () => {
  person = await world.open('/lab', { twin: { sessionKey: 'second' } })
})
afterEach(async () => {
  for (const headers of Object.values(world.headers)) delete headers['cross-origin-opener-policy']
  await person.leave()
})

const redemptions = () => world.server.tokenRequests({ grantType: 'authorization_code' })
const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

test('a login in a window signs in here and in every tab, closes the window, and leaves the page where it is', async () => {
  const { page } = person
  const tab = await person.tab()
  const before = redemptions()
  const popup = await openLogin(page, { appState: { link: '/orders/7' } })
  expect(await page.evaluate(() => Object.keys(sessionStorage))).toEqual([])
  await Promise.all([closing(popup), typePassword(popup)])
  expect(await outcomeOf(page)).toMatchObject({ returned: { appState: { link: '/orders/7' } } })
  expect(await page.evaluate(() => lab.auth.session.status)).toBe('signedIn')
  await untilStatus(tab, 'signedIn')
  expect(page.url()).toBe(`${world.origin}/lab`)
  expect(redemptions()).toBe(before + 1)
  expect(await page.evaluate(() => [lab.warnings, lab.auth.handleCallback()])).toEqual([[], expect.anything()])
})

for (const [where, places] of Object.entries({
  'the page': ['page'],
  'the server': ['server'],
  both: ['page', 'server'],
} as const)) {
  test.skipIf(inFirefox && where !== 'both')(
    `a login survives COOP of ${where}, however long the person takes`,
    async () => {
      for (const place of places) world.headers[place]['cross-origin-opener-policy'] = 'same-origin'
      const { page } = person
      await page.reload()
      await page.waitForFunction(() => globalThis.lab)
      const popup = await openLogin(page, { appState: where })
      expect(await popup.evaluate(() => opener)).toBeNull()
      await wait(3000)
      await Promise.all([closing(popup), typePassword(popup)])
      expect(await outcomeOf(page)).toMatchObject({ returned: { appState: where } })
      await untilStatus(page, 'signedIn')
    },
  )
}

test('two clients have a window each, and each gets its own answer', async () => {
  const { page } = person
  const first = await openLogin(page, { appState: 'first' })
  const second = await openLogin(page, { appState: 'second' }, 'twin')
  expect(first).not.toBe(second)
  await Promise.all([closing(second), typePassword(second)])
  expect(await outcomeOf(page, 'twin')).toMatchObject({ returned: { appState: 'second' } })
  expect(await page.evaluate(() => lab.auth.session.status)).toBe('signedOut')
  await Promise.all([closing(first), typePassword(first)])
  expect(await outcomeOf(page)).toMatchObject({ returned: { appState: 'first' } })
})

test('a second call takes the window of the first, which ends', async () => {
  const { page } = person
  const popup = await openLogin(page, { appState: 'first' })
  const before = popup.url()
  await clickLogin(page, { appState: 'second' })
  await expect
    .poll(() => popup.url() !== before && new URL(popup.url()).pathname.startsWith('/interaction/'))
    .toBe(true)
  expect(await outcomeOf(page, 'lab', 0)).toMatchObject({ failed: { name: 'OAuthError', code: 'popup-closed' } })
  expect(person.context.pages()).toHaveLength(2)
  await Promise.all([closing(popup), typePassword(popup)])
  expect(await outcomeOf(page)).toMatchObject({ returned: { appState: 'second' } })
})

test('what others say on the channel is ignored', async () => {
  const { page } = person
  const before = redemptions()
  const asked = person.context.waitForEvent('request', (request) => request.url().includes('/auth?'))
  const popup = await openLogin(page, { appState: 'mine' })
  const state = new URL((await asked).url()).searchParams.get('state') ?? ''
  const tab = await person.tab()
  await tab.evaluate((name) => {
    const channel = new BroadcastChannel(name)
    const texts = ['', 'garbage', `state=${name}`, 'code=1', 'code=1&state=other', `error=no&state=${name}x`]
    const others = [null, 7, {}, { state: name, code: '1' }, [`code=1&state=${name}`], new Map(), new Blob(['code=1'])]
    for (const message of [...texts, ...others]) channel.postMessage(message)
  }, state)
  await Promise.all([closing(popup), typePassword(popup)])
  expect(await outcomeOf(page)).toMatchObject({ returned: { appState: 'mine' } })
  expect(redemptions()).toBe(before + 1)
})
