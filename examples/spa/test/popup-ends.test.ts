import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { clickLogin, closing, openLogin, outcomeOf } from './popups.ts'
import { type Person, startWorld, typePassword, type World } from './world.ts'

let world: World
let person: Person
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world.stop())
beforeEach(async () => {
  person = await world.open('/lab')
})
afterEach(async () => {
  for (const headers of Object.values(world.headers)) for (const name of Object.keys(headers)) delete headers[name]
  await world.server.back()
  await person.leave()
})

const redemptions = () => world.server.tokenRequests({ grantType: 'authorization_code' })
const authorizationRequests = () => person.traffic.urls.filter((url) => url.includes('/auth?')).length
const closed = { failed: { name: 'OAuthError', code: 'popup-closed', retryable: false, fix: expect.any(String) } }

test('the window opens in the same tick as the call', async () => {
  const opened = person.page.evaluate(() => {
    const { open } = globalThis
    let windows = 0
    globalThis.open = (...given) => {
      windows++
      return open(...given)
    }
    lab.popup()
    return windows
  })
  expect(await opened).toBe(1)
})

test('a window that is blocked is an error that says what to do, and nothing goes anywhere', async () => {
  world.headers.page['content-security-policy'] = 'sandbox allow-scripts allow-same-origin'
  const { page, context } = person
  await page.reload()
  await page.waitForFunction(() => globalThis.lab)
  await clickLogin(page)
  expect(await outcomeOf(page)).toMatchObject({
    failed: { name: 'OAuthError', code: 'popup-blocked', fix: expect.stringContaining('click') },
  })
  expect(context.pages()).toHaveLength(1)
  expect(page.url()).toBe(`${world.origin}/lab`)
  expect(authorizationRequests()).toBe(0)
})

test('a person who closes the window may start again, which ends the login before', async () => {
  const { page } = person
  await page.evaluate(() => {
    const open = window.open.bind(window)
    window.open = (...given) => Object.assign(globalThis, { opened: open(...given) }).opened
  })
  const popup = await openLogin(page)
  await popup.close()
  // Until the page has heard of it, the name would lead to the window that goes.
  await expect.poll(() => page.evaluate(() => Reflect.get(globalThis, 'opened').closed)).toBe(true)
  const again = await openLogin(page, { appState: 'again' })
  expect(await outcomeOf(page, 'lab', 0)).toMatchObject(closed)
  await Promise.all([closing(again), typePassword(again)])
  expect(await outcomeOf(page)).toMatchObject({ returned: { appState: 'again' } })
})

test('a signal ends the login with its own reason, and closes the window; one that has aborted opens none', async () => {
  const { page, context } = person
  const opened = page.waitForEvent('popup')
  await page.evaluate(() => {
    const stopping = new AbortController()
    Object.assign(globalThis, { stopping })
    lab.popup({ signal: stopping.signal })
  })
  const popup = await opened
  await popup.waitForURL(/\/interaction\//)
  const gone = closing(popup)
  await page.evaluate(() => Reflect.get(globalThis, 'stopping').abort(new RangeError('enough')))
  await gone
  expect(await outcomeOf(page)).toMatchObject({ failed: { name: 'RangeError', message: 'enough' } })
  await page.evaluate(() => lab.popup({ signal: AbortSignal.abort(new RangeError('before')) }))
  expect(await outcomeOf(page)).toMatchObject({ failed: { message: 'before' } })
  expect(context.pages()).toHaveLength(1)
})

test('a person who says no is told apart, and the app state comes back', async () => {
  const { page } = person
  const before = redemptions()
  const popup = await openLogin(page, { appState: { link: 7 } })
  await Promise.all([closing(popup), popup.click('[name=abort]')])
  expect(await outcomeOf(page)).toMatchObject({
    failed: { name: 'InvalidCallbackError', error: 'access_denied', appState: { link: 7 } },
  })
  expect(await page.evaluate(() => lab.auth.session.status)).toBe('signedOut')
  expect(redemptions()).toBe(before)
})

test('a response that no page waits for any more costs no token request, and is told to the app in the window', async () => {
  const { page } = person
  const before = redemptions()
  const popup = await openLogin(page, { appState: 'lost' })
  await page.reload()
  await typePassword(popup)
  await popup.waitForURL(`${world.origin}/callback`)
  await popup.waitForFunction(() => globalThis.lab)
  expect(await popup.evaluate(() => lab.handled)).toMatchObject({
    failed: { name: 'InvalidCallbackError', code: 'invalid-state' },
  })
  expect(redemptions()).toBe(before)
})

test('a login that cannot begin closes its window: no server, or a redirect URI of another origin', async () => {
  const { page, context } = person
  await page.evaluate(() => {
    globalThis.twin = startFlow({ sessionKey: 'elsewhere', redirectUri: 'https://elsewhere.example/callback' })
  })
  await clickLogin(page, {}, 'twin')
  expect(await outcomeOf(page, 'twin')).toMatchObject({ failed: { code: 'invalid-options' } })
  await world.server.away()
  await clickLogin(page)
  expect(await outcomeOf(page)).toMatchObject({ failed: { code: 'network' } })
  await expect.poll(() => context.pages().length).toBe(1)
  expect(authorizationRequests()).toBe(0)
})
