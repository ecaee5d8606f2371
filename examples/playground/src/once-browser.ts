import assert from 'node:assert/strict'
import { setTimeout as wait } from 'node:timers/promises'
import type { Browser, Page } from 'playwright'
import { Breakage } from './breakage.ts'
import { launchChromium, Watched } from './headless-chromium.ts'
import { measure } from './measure.ts'
import type { PartOptions } from './once.ts'
import { settingsOf, stateOf } from './page-background.ts'
import { startPageServer } from './page-server.ts'
import { sceneOf } from './scene.ts'
import { type Servers, startServers } from './servers.ts'

const RENEWALS = 3
/** Seconds; shorter than elsewhere, because a browser takes some to start. */
const LIFETIME = 7
const PART = `page: 2 tabs, ${RENEWALS} renewals, reload, sign-out`

/** A person signs in through the page in Chromium, and has it open in two tabs until the token was renewed often enough. */
export async function inBrowser({ refuse, done, say }: PartOptions): Promise<void> {
  const browser = await launchChromium()
  if (!browser) {
    say(`${PART}: left out, there is no Chromium here (npx playwright install chromium)`)
    return
  }
  const page = await startPageServer({
    settings: () => settingsOf(servers, LIFETIME),
    state: () => stateOf(sceneOf(servers.server, [], breakage), breakage),
    make: async () => {},
  })
  const servers = await startServers({
    refuse,
    accessTokenTTL: LIFETIME,
    host: 'localhost',
    spaOrigins: [page.origin],
  })
  const breakage = new Breakage(servers.server)
  try {
    done(await measure(PART, servers, () => act(browser, page.origin, servers)))
  } finally {
    await browser.close()
    await Promise.all([page.stop(), servers.stop()])
  }
}

async function act(browser: Browser, origin: string, { server, orders, invoices }: Servers): Promise<void> {
  const context = await browser.newContext()
  context.setDefaultTimeout(15_000)
  const watched = new Watched()
  await watched.watch(context)
  const open = async () => {
    const tab = await context.newPage()
    await tab.goto(origin)
    return tab
  }

  const first = await open()
  await signIn(first)
  assert((await who(first)) === 'Signed in as Ada', `the first tab says: ${await who(first)}`)
  const second = await open()
  await second.waitForSelector('#logout:not([hidden])')
  assert((await who(second)) === 'Signed in as Ada', `the second tab says: ${await who(second)}`)
  assert(server.tokenRequests() === 1, 'the second tab asked for a token of its own')

  // A token of its own, which nobody renews as long as nobody calls.
  for (const name of ['orders', 'invoices']) {
    await first.getByRole('button', { name: `Call ${name}` }).click()
    await first.waitForFunction(
      (start) => document.getElementById('answer')?.textContent?.startsWith(start),
      `${name} `,
    )
    const answer = await first.textContent('#answer')
    assert(answer?.includes(' 200 '), `the page says: ${answer}`)
  }
  assert(orders.served === 1 && invoices.served === 1, `served ${orders.served} and ${invoices.served} of 1 call each`)

  const refreshes = () => server.log.filter(({ path, grantType }) => path === '/token' && grantType === 'refresh_token')
  const renewals = () => refreshes().filter(({ resource }) => !resource).length
  await until(() => renewals() >= RENEWALS)
  await wait(1000) // a tab looks at its session twice a second
  const sent = refreshes().map(({ refreshToken }) => refreshToken)
  assert(renewals() === RENEWALS, `${renewals()} renewals instead of ${RENEWALS}`)
  assert(new Set(sent).size === sent.length, 'a refresh token was sent twice')
  for (const [tab, name] of [
    [first, 'first'],
    [second, 'second'],
  ] as const) {
    const seen = (await figure(tab, 'here')) + (await figure(tab, 'elsewhere'))
    assert(seen === RENEWALS, `the ${name} tab saw ${seen} renewals instead of ${RENEWALS}`)
    assert((await who(tab)) === 'Signed in as Ada', `after the renewals the ${name} tab says: ${await who(tab)}`)
  }
  const here = (await figure(first, 'here')) + (await figure(second, 'here'))
  assert(here === RENEWALS, `the tabs count ${here} renewals of their own, the server ${RENEWALS}`)

  await first.reload()
  await first.waitForSelector('#logout:not([hidden])')
  assert(refreshes().length === sent.length, 'the reload asked for a token')

  const seen = first.waitForSelector('#login:not([hidden])').then(() => performance.now())
  const pressed = performance.now()
  await second.click('#logout')
  const took = Math.round((await seen) - pressed)
  assert(took < 5000, `the other tab saw the sign-out after ${took} ms`)
  await second.waitForURL('**/session/end?*')
  await second.click('button.primary') // the server asks whether it shall forget the person, too
  await second.waitForSelector('#login:not([hidden])')
  assert((await who(second)) === 'Nobody is signed in', `after the sign-out the page says: ${await who(second)}`)

  assert(watched.complaints.length === 0, `the browser complains: ${watched.complaints.join('; ')}`)
  assert(watched.strangers.length === 0, `the page asked ${watched.strangers.join(', ')}`)
}

async function signIn(page: Page): Promise<void> {
  await page.click('#login')
  await page.fill('[name=username]', 'ada')
  await page.fill('[name=password]', 'lovelace')
  await page.click('button.primary')
  await page.waitForSelector('#logout:not([hidden])')
}

const who = (page: Page) => page.textContent('#who')

async function figure(page: Page, id: string): Promise<number> {
  return Number(await page.textContent(`#${id}`))
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 45_000
  while (!condition() && Date.now() < deadline) await wait(50)
}
