import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { signInOverHttp } from '../../playground/src/sign-in-over-http.ts'
import { inFirefox, type Person, signIn, startWorld, untilStatus, visit, type World } from './world.ts'

/** What no browser has a say in is tested in one. */
const inChromium = test.skipIf(inFirefox)

let world: World
let person: Person
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world.stop())
beforeEach(async () => {
  person = await world.open('/callback?tab=all')
})
afterEach(() => person.leave())

const ada = { username: 'ada', password: 'lovelace' }
const redemptions = () => world.server.tokenRequests({ grantType: 'authorization_code' })

/** Begins a login in the page and ends it outside; resolves with where the server would send the page. */
async function answerTo(appState: unknown, decision: 'allow' | 'abort' = 'allow'): Promise<URL> {
  const { page } = person
  const asked = page.waitForRequest((request) => request.url().startsWith(`${world.server.issuer}/auth`))
  await page.evaluate((state) => void lab.auth.login({ appState: state }), appState)
  const [request] = await Promise.all([asked, page.waitForURL(/\/interaction\//)])
  return new URL(await signInOverHttp(request.url(), { ...ada, decision }))
}

const outcome = () => person.page.evaluate(async () => lab.handled)

test('an answer brings the app state back and leaves the address, in which the app’s own parameters stay', async () => {
  const appState = { link: '/orders/7', list: [1, null, 'ü'] }
  const answer = await answerTo(appState)
  answer.searchParams.append('tab', 'open orders')
  answer.hash = 'row-3'
  await visit(person.page, answer.href)
  expect(await outcome()).toMatchObject({ returned: { appState } })
  expect(person.page.url()).toBe(`${world.origin}/callback?tab=open+orders#row-3`)
  await person.page.reload()
  await untilStatus(person.page, 'signedIn')
  expect(await outcome()).toEqual({ after: expect.any(Number) })
})

test('an answer is handled once, however often and by whomever', async () => {
  const before = redemptions()
  const answer = await answerTo('state')
  await visit(person.page, answer.href)
  const results = await person.page.evaluate(async () => {
    const first = await lab.handled
    const again = await Promise.all([lab.auth.handleCallback(), lab.auth.handleCallback()])
    return [first, ...again, await lab.auth.handleCallback()]
  })
  expect(results[0]).toMatchObject({ returned: { appState: 'state' } })
  expect(results.slice(1)).toEqual([undefined, undefined, undefined])
  expect(redemptions()).toBe(before + 1)
})

test('handleCallback() called twice at once, as StrictMode does, exchanges once and gives both the same', async () => {
  const before = redemptions()
  const answer = await answerTo({ once: true })
  await visit(person.page, answer.href)
  const [one, other] = await person.page.evaluate(async () => [await lab.handled, await lab.handledAgain])
  expect(one?.returned).toEqual({ appState: { once: true } })
  expect(other?.returned).toEqual(one?.returned)
  await untilStatus(person.page, 'signedIn')
  expect(redemptions()).toBe(before + 1)
})

test('two flows over the same answer, as StrictMode makes them too, exchange once and are both signed in', async () => {
  const before = redemptions()
  const answer = await answerTo('state')
  await person.context.addInitScript(() => {
    globalThis.labOptions = { twin: true }
  })
  await visit(person.page, answer.href)
  const [one, other] = await person.page.evaluate(async () => [await lab.handled, await twin?.handled])
  expect(one).toHaveProperty('returned.appState', 'state')
  expect(other).not.toHaveProperty('failed')
  await untilStatus(person.page, 'signedIn')
  await person.page.waitForFunction(() => twin?.auth.session.status === 'signedIn')
  expect(redemptions()).toBe(before + 1)
})

inChromium('an answer with a state of nobody’s login, a damaged or a spent one, costs no token request', async () => {
  const before = redemptions()
  const answer = await answerTo('state')
  const state = answer.searchParams.get('state') ?? ''
  for (const wrong of [`${state.slice(0, -1)}${state.endsWith('A') ? 'B' : 'A'}`, `${state}x`, 'foreign']) {
    const other = new URL(answer)
    other.searchParams.set('state', wrong)
    await visit(person.page, other.href)
    expect(await outcome(), wrong).toMatchObject({ failed: { name: 'InvalidCallbackError', code: 'invalid-state' } })
    expect(person.page.url()).toBe(`${world.origin}/callback`)
  }
  expect(redemptions()).toBe(before)
  await visit(person.page, answer.href) // the login itself is still alive
  expect(await outcome()).toMatchObject({ returned: { appState: 'state' } })
  await visit(person.page, answer.href)
  expect(await outcome()).toMatchObject({ failed: { name: 'InvalidCallbackError', code: 'invalid-state' } })
  await untilStatus(person.page, 'signedIn')
  expect(redemptions()).toBe(before + 1)
})

inChromium('a person who says no is told apart, and the app state comes back', async () => {
  const answer = await answerTo({ link: '/orders/7' }, 'abort')
  await visit(person.page, answer.href)
  expect(await outcome()).toMatchObject({
    failed: { name: 'InvalidCallbackError', error: 'access_denied', appState: { link: '/orders/7' } },
  })
  expect(person.page.url()).toBe(`${world.origin}/callback`)
  await untilStatus(person.page, 'signedOut')
})

inChromium('an answer of another server is not redeemed', async () => {
  const before = redemptions()
  const answer = await answerTo('state')
  answer.searchParams.set('iss', 'http://localhost:1')
  await visit(person.page, answer.href)
  expect(await outcome()).toMatchObject({ failed: { name: 'InvalidCallbackError', appState: 'state' } })
  expect(redemptions()).toBe(before)
})

inChromium('somebody else’s code is left alone where no login is under way', async () => {
  for (const query of [
    'code=coupon&state=theirs',
    'code=coupon',
    'error=theirs&state=1',
    'code=a&code=b&state=&iss=x',
  ]) {
    await visit(person.page, `${world.origin}/callback?${query}`)
    expect(await outcome()).toEqual({ after: expect.any(Number) })
    expect(person.page.url()).toBe(`${world.origin}/callback?${query}`)
  }
  await untilStatus(person.page, 'signedOut')
})

inChromium('even with a login under way a code is left alone on a page that is not the redirect URI', async () => {
  const answer = await answerTo('state')
  const elsewhere = new URL(answer)
  elsewhere.pathname = '/lab'
  await visit(person.page, elsewhere.href)
  expect(await outcome()).toEqual({ after: expect.any(Number) })
  expect(person.page.url()).toBe(elsewhere.href)
  await visit(person.page, answer.href)
  expect(await outcome()).toMatchObject({ returned: { appState: 'state' } })
})

test('two logins in two tabs end in reverse order, each with its own app state', async () => {
  const first = await answerTo('first')
  const firstPage = person.page
  const secondPage = await person.tab('/callback')
  const second = await (async () => {
    const asked = secondPage.waitForRequest((request) => request.url().startsWith(`${world.server.issuer}/auth`))
    await secondPage.evaluate(() => void lab.auth.login({ appState: 'second' }))
    const [request] = await Promise.all([asked, secondPage.waitForURL(/\/interaction\//)])
    return new URL(await signInOverHttp(request.url(), ada))
  })()
  await visit(secondPage, second.href)
  expect(await secondPage.evaluate(async () => lab.handled)).toMatchObject({ returned: { appState: 'second' } })
  await visit(firstPage, first.href)
  expect(await firstPage.evaluate(async () => lab.handled)).toMatchObject({ returned: { appState: 'first' } })
  for (const page of [firstPage, secondPage]) await untilStatus(page, 'signedIn')
})

test('third-party cookies are blocked: the page that came back sends none, and needs none', async () => {
  const { page } = person
  const { issuer, log } = world.server
  world.headers.server['set-cookie'] = 'anywhere=1; Path=/; SameSite=None; Secure'
  await signIn(page)
  delete world.headers.server['set-cookie']
  const before = log.length
  await page.evaluate((url) => fetch(url, { credentials: 'include', mode: 'no-cors' }), `${issuer}/me`)
  await page.reload()
  await untilStatus(page, 'signedIn')
  await page.goto(`${issuer}/me`)
  const received = log.slice(before).flatMap(({ path, cookies }) => (path === '/me' ? [cookies] : []))
  expect(received).toEqual([[], expect.arrayContaining(['anywhere'])]) // who goes there does send it
})
