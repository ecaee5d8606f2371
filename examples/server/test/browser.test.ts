import { memoryStore } from '@keyturn/node'
import type { Browser } from 'playwright'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { launchChromium, Watched } from '../../playground/src/headless-chromium.ts'
import { startApp, startWorld, type World } from './world.ts'

let world: World
let app: Awaited<ReturnType<typeof startApp>>
let browser: Browser | undefined

beforeAll(async () => {
  world = await startWorld()
  app = await startApp(world, 'express', memoryStore())
  browser = await launchChromium()
})

afterAll(async () => {
  await browser?.close()
  await app.stop()
  await world.stop()
})

test('in Chromium a person signs in, reloads, goes back and signs out; no page holds a token or a code', async (context) => {
  if (!browser) return context.skip('no Chromium here')
  const profile = await browser.newContext()
  const watched = new Watched()
  await watched.watch(profile)
  const page = await profile.newPage()
  await page.goto(world.origin)
  await page.click('text=Sign in')
  await page.fill('[name=username]', 'ada')
  await page.fill('[name=password]', 'lovelace')
  await page.click('button.primary')
  await page.waitForURL(`${world.origin}/`)
  expect(await page.textContent('strong')).toBe('Ada')
  await page.reload()
  await page.click('text=What the API says')
  expect(await page.textContent('body')).toContain('"sub":"ada"')
  await page.goBack()
  expect(await page.textContent('strong')).toBe('Ada')

  expect(await page.evaluate(() => [document.cookie, localStorage.length, sessionStorage.length])).toEqual(['', 0, 0])
  const cookies = await profile.cookies(world.origin)
  expect(cookies).toEqual([expect.objectContaining({ httpOnly: true, sameSite: 'Lax', path: '/' })])

  await page.click('text=Sign out')
  await page.click('button.primary') // the authorization server asks, too
  await page.waitForURL(`${world.origin}/`)
  expect(await page.textContent('main')).toBe('Sign in')
  expect(await profile.cookies(world.origin)).toEqual([])
  expect(watched.complaints).toEqual([])
  await profile.close()
})
