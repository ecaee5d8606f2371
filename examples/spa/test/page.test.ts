import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { type Person, startWorld, typePassword, type World } from './world.ts'

let world: World
let person: Person
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world.stop())
beforeEach(async () => {
  person = await world.open('/?tab=all#/orders/7')
})
afterEach(() => person.leave())

const text = (id: string) => person.page.locator(`#${id}`).textContent()

async function signInHere(username = 'ada', password = 'lovelace') {
  await person.page.click('#login')
  await typePassword(person.page, username, password)
  await person.page.waitForURL(`${world.origin}/**`)
  await expect.poll(() => text('who')).toMatch(/Signed in as/)
}

test('somebody signs in, comes back to where the login began, calls two APIs, and signs out', async () => {
  const { page, traffic } = person
  await expect.poll(() => text('who')).toBe('Nobody is signed in')
  await signInHere()
  expect(await text('who')).toBe('Signed in as Ada')
  expect(page.url()).toBe(`${world.origin}/#/orders/7`)

  await page.click('#call')
  await expect.poll(() => text('answer')).toContain('"sub": "ada"')
  const answers: { audience: string }[] = JSON.parse((await text('answer')) ?? '')
  expect(answers.map(({ audience }) => audience)).toEqual(world.apis.map(({ audience }) => audience))

  await page.click('#logout')
  await page.click('button.primary')
  await page.waitForURL(`${world.origin}/*`)
  await expect.poll(() => text('who')).toBe('Nobody is signed in')
  expect(await text('problem')).toBe('')
  expect(traffic.secretsSeen).toBeGreaterThan(2)
})

test('a reload stays signed in, and never shows anything else', async () => {
  await signInHere()
  const { page, context } = person
  await context.addInitScript(() => {
    const seen: (string | null)[] = []
    Object.assign(globalThis, { seen })
    addEventListener('DOMContentLoaded', () => {
      const who = document.getElementById('who')
      if (who) new MutationObserver(() => seen.push(who.textContent)).observe(who, { childList: true })
    })
  })
  const before = world.server.tokenRequests()
  await page.reload()
  await expect.poll(() => text('who')).toBe('Signed in as Ada')
  expect(new Set(await page.evaluate(() => Reflect.get(globalThis, 'seen')))).toEqual(new Set(['Signed in as Ada']))
  expect(world.server.tokenRequests()).toBe(before)
})

test('the back button after a login leads back past the login, and nothing breaks', async () => {
  await signInHere()
  const { page } = person
  const before = world.server.tokenRequests()
  for (let steps = 0; steps < 3; steps++) {
    await page.goBack().catch(() => {})
    if (!page.url().startsWith(world.origin)) continue
    await expect.poll(() => text('who')).toBe('Signed in as Ada')
    expect(await text('problem')).toBe('')
    expect(page.url()).not.toContain('code=')
  }
  await page.goto(`${world.origin}/`)
  await expect.poll(() => text('who')).toBe('Signed in as Ada')
  expect(world.server.tokenRequests()).toBe(before)
})

test('whoever says no comes back to where the login began, and can try again', async () => {
  const { page } = person
  await page.click('#login')
  await page.click('button[name=abort]')
  await page.waitForURL(`${world.origin}/**`)
  await expect.poll(() => text('problem')).toContain('access_denied')
  expect(page.url()).toBe(`${world.origin}/#/orders/7`)
  expect(await text('who')).toBe('Nobody is signed in')
  await signInHere('alan', 'turing')
  expect(await text('who')).toBe('Signed in as Alan')
})

test('the policy that the page is served with has no exception, and what breaks it would be noticed', async () => {
  await signInHere()
  const { page, traffic } = person
  const policy = (await page.reload())?.headers()['content-security-policy']
  expect(policy).toContain("script-src 'self';")
  expect(policy).toContain("require-trusted-types-for 'script'")
  expect(policy).not.toContain('unsafe')
  await page.evaluate(() => {
    try {
      document.body.innerHTML = '<b>markup</b>'
    } catch {}
  })
  await expect.poll(() => traffic.complaints.splice(0).join()).toContain('violation of require-trusted-types-for')
})
