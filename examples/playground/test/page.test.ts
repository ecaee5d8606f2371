import { request } from 'node:http'
import { text } from 'node:stream/consumers'
import type { Browser, BrowserContext, Page } from 'playwright'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { launchChromium, Watched } from '../src/headless-chromium.ts'
import { type Run, runNode } from './run-node.ts'

let run: Run
let origin = ''
let browser: Browser
let context: BrowserContext
let watched: Watched
let page: Page

beforeAll(async () => {
  run = runNode(new URL('../src/main.ts', import.meta.url))
  const launched = await launchChromium()
  if (!launched) throw new Error('There is no Chromium here: npx playwright install chromium')
  browser = launched
  await vi.waitFor(() => expect(run.stdout).toMatch(/The page: \S+\n/), { timeout: 20_000 })
  origin = new URL(/The page: (\S+)/.exec(run.stdout)?.[1] ?? '').origin
})
afterAll(async () => {
  await browser?.close()
  run?.child.kill('SIGINT')
  const { code, stderr } = await run.ended
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
})
beforeEach(async () => {
  context = await browser.newContext({ viewport: { width: 1280, height: 800 } })
  watched = new Watched()
  await watched.watch(context)
  page = await open()
})
afterEach(async () => {
  const complaints = watched.complaints.filter((text) => !/^Failed to load resource: .* 50[03]/.test(text))
  expect(complaints).toEqual([])
  expect(watched.strangers).toEqual([])
  await context.close()
})

async function open(): Promise<Page> {
  const tab = await context.newPage()
  await tab.goto(`${origin}/`)
  await tab.waitForSelector('#figures dd')
  return tab
}

async function signIn(): Promise<void> {
  await page.click('#login')
  await page.fill('[name=username]', 'ada')
  await page.fill('[name=password]', 'lovelace')
  await page.click('button.primary')
  await page.waitForSelector('#logout:not([hidden])')
}

const press = (name: string, on = page) => on.getByRole('button', { name, exact: true }).click()
const figure = async (id: string, on = page) => Number(await on.textContent(`#${id}`))
const lane = (name: string, on = page) => on.locator('.lane').filter({ has: on.getByText(name, { exact: true }) })
const said = (text: string, on = page) => expect.poll(() => on.textContent('#log'), { timeout: 10_000 }).toContain(text)

test('the policy has no exception, and who lives on the server is seen before anybody signs in', async () => {
  const policy = (await page.reload())?.headers()['content-security-policy']
  expect(policy).toContain("default-src 'none'; script-src 'self'; style-src 'self';")
  expect(policy).toContain("require-trusted-types-for 'script'")
  expect(policy).not.toContain('unsafe')
  for (const name of ['worker', 'ada']) {
    await expect.poll(() => lane(name).locator('.bar').count()).toBeGreaterThan(0)
    await expect.poll(() => lane(name).locator('.state').textContent()).toMatch(/^Good for \d+ s$/)
  }
  expect(await page.textContent('#who')).toBe('Nobody is signed in')
  expect(await page.getByRole('button', { name: 'Call orders' }).isDisabled()).toBe(true)
})

test('after a sign-in every token is a bar; both APIs answer, with the server well and with the server broken', async () => {
  await signIn()
  expect(await page.textContent('#who')).toBe('Signed in as Ada')
  await expect.poll(() => lane('you → orders').locator('.bar').count()).toBe(1)
  expect(await lane('you → invoices').locator('.bar').count()).toBe(0)
  await press('Call orders')
  await said('orders answered 200 to ada')
  await press('Call invoices')
  await said('invoices answered 200 to ada')
  await expect.poll(() => lane('you → invoices').locator('.bar').count()).toBe(1)
  expect(await lane('you → orders').locator('.tick').count()).toBe(1)

  await press('503')
  await expect.poll(() => page.textContent('#server')).toBe('The server answers 503 to the next 2 requests')
  await page.check('#every')
  await expect.poll(() => figure('served'), { timeout: 20_000 }).toBeGreaterThan(6)
  await page.uncheck('#every')
  await press('Make it well')
  await expect.poll(() => page.textContent('#server')).toBe('The server is well')

  await press('Take it away')
  await expect.poll(() => page.textContent('#server')).toBe('The server is gone: no connection')
  await press('Call orders')
  await press('Bring it back')
  await said('the server is back')
  expect(await figure('unserved')).toBe(0)
})

test('a second tab shows the same session; a clock that jumps costs one renewal, and each tab says whose it was', async () => {
  await signIn()
  const second = await open()
  await expect.poll(() => second.textContent('#who')).toBe('Signed in as Ada')
  const tabs = [page, second]
  const sum = async (id: string) => (await figure(id, page)) + (await figure(id, second))
  expect(await sum('requests')).toBe(1)

  await press('1 h ahead')
  await expect.poll(() => sum('here')).toBe(1)
  await expect.poll(() => sum('elsewhere')).toBe(1)
  for (const tab of tabs) expect(await tab.textContent('#clock-state')).toContain('1 h ahead')
  await press('Set right')
  await said('the clock is right', second)
  await page.waitForTimeout(1500) // what should not come has time to come
  expect(await sum('requests')).toBeLessThanOrEqual(3)
  const renewals = await sum('here')
  expect(renewals).toBe((await sum('requests')) - 1)
  expect(await sum('elsewhere')).toBe(renewals)
  for (const tab of tabs) {
    expect(await tab.textContent('#who')).toBe('Signed in as Ada')
    expect(await lane('you → orders', tab).locator('.mark.here, .mark.elsewhere').count()).toBe(renewals)
  }

  const seen = second.waitForSelector('#login:not([hidden])').then(() => performance.now())
  const pressed = performance.now()
  await press('Sign out')
  expect((await seen) - pressed).toBeLessThan(5000)
  await said('signed out in another tab', second)
  expect(await lane('you → orders', second).locator('.mark.ended').count()).toBe(1)
  await page.waitForURL('**/session/end?*') // whole, or the button moves away from under the click
  await page.click('button.primary')
  await page.waitForURL(`${origin}/`)
  await expect.poll(() => page.textContent('#who')).toBe('Nobody is signed in')
})

test('a revoked session ends at the next renewal, and the page says why', async () => {
  await signIn()
  await press('Revoke all')
  await said('the server revokes everything')
  await press('1 h ahead')
  await said('the server refused the refresh token: sign in again')
  expect(await page.textContent('#who')).toBe('Nobody is signed in')
  await press('Set right')
  watched.complaints.splice(0) // a refusal has status 400, and the console shows it
})

/** Presses a button that opens a window, and waits for that. */
async function popupOf(name: string): Promise<Page> {
  const [popup] = await Promise.all([page.waitForEvent('popup'), press(name)])
  return popup
}

/** The console shows an API's refusal as an error, too. */
function forgive(...statuses: number[]): void {
  const expected = new RegExp(`^Failed to load resource: .* (${statuses.join('|')})`)
  const others = watched.complaints.filter((text) => !expected.test(text))
  expect(others.length).toBeLessThan(watched.complaints.length)
  watched.complaints.splice(0, Number.POSITIVE_INFINITY, ...others)
}

const paid = (text: string | RegExp) => expect.poll(() => page.textContent('#paid'), { timeout: 10_000 }).toMatch(text)
const steps = () => page.locator('#steps li').allTextContents()

test('an API that asks for more is answered in a window, and the request is sent again', async () => {
  await signIn()
  await press('Transfer money')
  await page.waitForSelector('#step-up[open]')
  expect(await page.textContent('#step-up-what')).toContain('a sign-in with two factors at most 30 s ago')
  const login = await popupOf('Go on in a window')
  await login.fill('[name=password]', 'lovelace')
  await login.fill('[name=code]', '246810')
  await Promise.all([login.waitForEvent('close'), login.click('button.primary')])
  await paid('Done: 25 € went to Alan.')
  expect(await steps()).toEqual([
    'POST /transfer → 401 insufficient_user_authentication: wants a sign-in with two factors at most 30 s ago',
    'You did it → another token ',
    'POST /transfer → 200 the same bytes, that token',
  ])
  expect(await page.locator('#step-up').isVisible()).toBe(false)
  await said('has another token, of a new login')

  await press('Transfer money')
  await paid('Done: 25 € went to Alan.')
  await expect.poll(steps).toEqual(['POST /transfer → 200 '])

  await press('Raise the limit')
  const consent = await popupOf('Go on in a window')
  await consent.waitForSelector('button.primary')
  expect(await consent.textContent('main')).toContain('api:write')
  await Promise.all([consent.waitForEvent('close'), consent.click('button.primary')])
  await paid('Done: your limit is 1,000 €.')
  expect((await steps())[0]).toBe('POST /limit → 403 insufficient_scope: wants the scope api:read api:write')
  forgive(401, 403)
})

test('a step-up that is refused, here or at the server, leaves the API’s answer and says so', async () => {
  await signIn()
  const wanted = 'the API wants a sign-in with two factors at most 30 s ago.'
  for (const refuse of [() => press('No'), () => page.keyboard.press('Escape')]) {
    await press('Transfer money')
    await page.waitForSelector('#step-up[open]')
    await refuse()
    await paid(`Not done: The step-up was refused (you said no); ${wanted}`)
    expect(await steps()).toHaveLength(1)
    expect(await page.evaluate(() => document.activeElement?.textContent)).toBe('Transfer money')
  }

  await press('Transfer money')
  const login = await popupOf('Go on in a window')
  await login.waitForSelector('[name=abort]')
  await Promise.all([login.waitForEvent('close'), login.click('[name=abort]')])
  await paid(/^Not done: The step-up was refused \(.*access_denied.*\); the API wants/)

  await press('Transfer money')
  const other = await popupOf('Go on in a window')
  await other.waitForSelector('[name=abort]')
  await Promise.all([other.waitForEvent('close'), press('Give up')])
  await paid(/\(you said no\)/)
  expect(await page.textContent('#who')).toBe('Signed in as Ada')
  forgive(401)
})

test('a token that is bound to a key opens the vault for who has the key, and for no thief', async () => {
  await signIn()
  const window = await popupOf('Sign in with a key') // the server knows the person already
  if (!window.isClosed()) await window.waitForEvent('close')
  await said('your key signed in, in a window')
  await expect.poll(() => page.textContent('#token-type')).toBe('DPoP')
  await press('Call the vault')
  await said('the vault answered 200')
  await expect.poll(() => page.textContent('#proof-key')).toBe('the same key')
  expect(await page.textContent('#token-key')).toMatch(/^[\w-]{43}$/)
  // One more where the server wanted its nonce, and where the vault did.
  await expect.poll(() => page.textContent('#proofs')).toMatch(/^4, for 2 of which/)
  expect(await lane('you → vault').locator('.tick').count()).toBe(1)

  await press('Steal the token')
  await said('the vault refused 3 of 3 thefts')
  await expect
    .poll(() => page.locator('#thefts li').allTextContents())
    .toEqual([
      'You, with the key → 200 the proof is good',
      'A thief, as Bearer → 401 Only tokens that are bound to a key are taken',
      'A thief, without a proof → 401 The DPoP proof is not good for this request',
      'A thief, with your last proof → 401 The DPoP proof is not good for this request',
      'A thief, with your token for orders → 200 which is bound to nothing',
    ])

  await press('1 h ahead')
  await said('your key renewed its token')
  await press('Call the vault')
  await expect
    .poll(() => page.locator('#thefts li').allTextContents())
    .toEqual(['You, with the key → 200 the proof is good'])
  await press('Set right')

  const second = await open()
  await expect.poll(() => second.textContent('#token-key')).toBe(await page.textContent('#token-key'))
  await press('Sign out')
  await page.waitForSelector('button.primary')
  await expect
    .poll(() => second.locator('#vault').getByRole('button').allTextContents())
    .toContain('Sign in with a key')
  forgive(400, 401)
})

test.each(['light', 'dark'] as const)(
  'everything has a name, a place in the order, and contrast (%s)',
  async (colorScheme) => {
    await page.emulateMedia({ colorScheme })
    await signIn()
    expect(await page.locator('h1').count()).toBe(1)
    expect(await page.getAttribute('html', 'lang')).toBe('en')
    const nameless = 'button:not([aria-label]):empty, a:empty, input:not([id]), svg, img:not([alt])'
    expect(await page.locator(nameless).count()).toBe(0)
    expect(
      await page.evaluate(() => [...document.querySelectorAll('input')].filter((one) => !one.labels?.length).length),
    ).toBe(0)

    const names: string[] = []
    await page.evaluate(() => document.body.focus())
    for (let i = 0; i < 30; i++) {
      await page.keyboard.press('Tab')
      const [name, outline] = await page.evaluate(() => {
        const { activeElement: at } = document
        if (!at || at === document.body) return []
        return [at.textContent || at.id, getComputedStyle(at).outlineStyle]
      })
      if (!name || names.includes(name)) break
      expect(outline, name).toBe('solid')
      names.push(name)
    }
    expect(names.slice(0, 5)).toEqual(['Sign out', 'Open a second tab', 'Call orders', 'Call invoices', 'every'])
    for (const name of ['503', 'Revoke all', '1 h ahead', 'Set right', 'Raise the limit', 'Sign in with a key'])
      expect(names).toContain(name)
    expect(await page.evaluate(paleTexts)).toEqual([])

    await press('Transfer money')
    await page.waitForSelector('#step-up[open]')
    expect(await page.evaluate(paleTexts)).toEqual([])
    const focused = () => page.evaluate(() => document.activeElement?.textContent)
    expect(await focused()).toBe('Go on in a window')
    expect(await page.getByRole('dialog', { name: 'The API asks for more' }).count()).toBe(1)
    await page.keyboard.press('Escape')
    forgive(401)
  },
)

test.each([360, 1280])('nothing sticks out at %d px, and motion that is unwelcome stops', async (width) => {
  await page.emulateMedia({ reducedMotion: 'reduce' })
  await page.setViewportSize({ width, height: 700 })
  await signIn()
  const wide = () => page.evaluate(() => document.documentElement.scrollWidth)
  expect(await wide()).toBeLessThanOrEqual(width)
  await press('Transfer money')
  await page.waitForSelector('#step-up[open]')
  const box = await page.locator('#step-up').boundingBox()
  expect([(box?.x ?? -1) >= 0, (box?.x ?? 0) + (box?.width ?? width) <= width]).toEqual([true, true])
  await page.keyboard.press('Escape')
  await popupOf('Sign in with a key')
  await expect.poll(() => page.textContent('#token-key')).toMatch(/^[\w-]{43}$/)
  await press('Steal the token')
  await said('the vault refused 3 of 3 thefts')
  expect(await wide()).toBeLessThanOrEqual(width)
  forgive(400, 401)
  const [places, seconds] = await page.evaluate(async () => {
    const [seen, start] = [new Set<string>(), performance.now()]
    const strip = document.querySelector<HTMLElement>('.strip')
    for (let i = 0; i < 30; i++) {
      seen.add(strip?.style.transform ?? '')
      await new Promise(requestAnimationFrame)
    }
    return [seen.size, (performance.now() - start) / 1000] as const
  })
  expect(places).toBeLessThanOrEqual(3 + seconds) // 30 frames are half a second, or more where the machine is busy
})

test('who is not the page cannot break the server, and no token leaves it', async () => {
  const post = (headers: Record<string, string>, body = '{"kind":"503"}') =>
    fetch(`${origin}/break`, { method: 'POST', headers, body }).then(({ status }) => status)
  expect(await post({})).toBe(403)
  expect(await post({ 'x-playground': '1' }, '{"kind":"everything"}')).toBe(400)
  expect(await post({ 'x-playground': '1' }, 'nonsense')).toBe(400)
  const state = await (await fetch(`${origin}/state`)).text()
  expect(JSON.parse(state)).toMatchObject({ reuses: 0, actors: [{ name: 'worker' }, { name: 'ada' }] })
  expect(state).not.toContain('eyJ')
  const foreign = await new Promise<string>((resolve) => {
    const asked = request(`${origin}/state`, { headers: { host: 'evil.example' } }, (response) => {
      resolve(text(response).then((body) => `${response.statusCode} ${body}`))
    })
    asked.end()
  })
  expect(foreign).toBe('421 ')
})

/** Texts whose contrast with what is behind them is less than WCAG's 4.5 (SC 1.4.3). */
function paleTexts(): string[] {
  const numbers = (color: string) => (color.match(/[\d.]+/g) ?? []).map(Number)
  const luminance = (color: string) => {
    const [r = 0, g = 0, b = 0] = numbers(color).map((value) => {
      const part = value / 255
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
    })
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const behind = (from: Element | null): string => {
    if (!from) return 'rgb(255, 255, 255)'
    const { backgroundColor } = getComputedStyle(from)
    return numbers(backgroundColor)[3] === 0 ? behind(from.parentElement) : backgroundColor
  }
  const found: string[] = []
  for (const one of document.querySelectorAll('body *')) {
    const own = [...one.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent?.trim())
    if (!own || !one.checkVisibility()) continue
    const [light = 0, dark = 0] = [luminance(getComputedStyle(one).color), luminance(behind(one))].sort((a, b) => b - a)
    const ratio = (light + 0.05) / (dark + 0.05)
    if (ratio < 4.5) found.push(`${one.textContent}: ${ratio.toFixed(2)}`)
  }
  return found
}
