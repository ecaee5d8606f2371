import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Browser, type BrowserContext, chromium, firefox, type Page } from 'playwright'
import { build } from 'vite'
import { inject } from 'vitest'
import { chromiumArgs, chromiumPath } from '../../../scripts/chromium.mjs'
import { firefoxLaunch } from '../../../scripts/firefox.mjs'
import { type RunningApi, startApi } from '../../api/src/api.ts'
import { type AuthorizationServer, startAuthorizationServer } from '../../playground/src/authorization-server.ts'
import type { LabOptions } from './lab/lab.ts'
import { type StaticServer, serveFolder } from './static-server.ts'
import { Traffic } from './traffic.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Which browser the pages are opened in. */
    browser: 'chromium' | 'firefox'
  }
}

/** 1: no third-party ones. */
const FIREFOX_COOKIES = 'network.cookie.cookieBehavior'

/** What only Chromium's debugger can do to a page is skipped here. */
export const inFirefox = inject('browser') === 'firefox'

const root = fileURLToPath(new URL('..', import.meta.url))

/** The example built and served, its authorization server on another site, two APIs, and a browser. */
export interface World {
  readonly server: AuthorizationServer
  readonly apis: readonly [RunningApi, RunningApi]
  readonly origin: string
  /** What every answer of the page's own server, and of the authorization server, has besides. */
  readonly headers: { page: Record<string, string>; server: Record<string, string> }
  /** A browser profile of its own, with the first tab that `path` is open in. */
  open(path?: string, options?: LabOptions): Promise<Person>
  stop(): Promise<void>
}

/** Somebody with a browser. */
export interface Person {
  readonly context: BrowserContext
  readonly page: Page
  readonly traffic: Traffic
  tab(path?: string): Promise<Page>
  /** Checks what must hold in every test, and closes the browser profile. */
  leave(): Promise<void>
}

export interface WorldOptions {
  accessTokenTTL?: number
  args?: string[]
  dpopNonce?: boolean
  backChannelLogoutUri?: string
}

export async function startWorld(
  { accessTokenTTL = 60, args = [] as string[], dpopNonce = false, ...more } = {} as WorldOptions,
): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), 'keyturn-spa-'))
  await build({
    root,
    logLevel: 'error',
    build: {
      outDir: folder,
      emptyOutDir: true,
      rolldownOptions: { input: { main: join(root, 'index.html'), lab: join(root, 'test/lab/index.html') } },
    },
  })
  const headers: World['headers'] = { page: {}, server: {} }
  let server: AuthorizationServer
  const apis = [
    await startApi({ issuer: () => server.issuer, dpopNonce }),
    await startApi({ issuer: () => server.issuer, dpopNonce }),
  ] as const
  const [first, second] = apis
  const config = () => ({
    issuer: server.issuer,
    clientId: 'spa',
    scope: 'openid profile api:read',
    apis: [{ url: first.url }, { url: second.url, resource: second.audience }],
  })
  const site: StaticServer = await serveFolder(
    folder,
    config,
    () => [server.issuer, first.url, second.url],
    headers.page,
  )
  server = await startAuthorizationServer({
    host: 'localhost',
    apis: [first.audience, second.audience],
    accessTokenTTL,
    dpopNonce,
    spaOrigins: [site.origin],
    headers: headers.server,
    ...more,
  })
  const browser = inFirefox ? await launchFirefox() : await launchChromium(args)

  const open = async (path = '/', options: LabOptions = {}): Promise<Person> => {
    const context = await browser.newContext()
    const traffic = new Traffic()
    await traffic.watch(context)
    await context.addInitScript((given) => {
      globalThis.labOptions = given
    }, options)
    const tab = async (at = path) => {
      const page = await context.newPage()
      if (!inFirefox) await blockThirdPartyCookies(page)
      await visit(page, site.origin + at)
      return page
    }
    const leave = async () => {
      try {
        await traffic.check(context.pages(), site.origin)
      } finally {
        await context.close()
      }
    }
    return { context, traffic, tab, leave, page: await tab() }
  }
  const stop = async () => {
    await browser.close()
    await Promise.all([site.stop(), server.stop(), ...apis.map((api) => api.stop())])
    await rm(folder, { recursive: true })
  }
  return { server, apis, origin: site.origin, headers, open, stop }
}

function launchFirefox(): Promise<Browser> {
  const { firefoxUserPrefs, ...options } = firefoxLaunch() ?? {}
  return firefox.launch({ ...options, firefoxUserPrefs: { ...firefoxUserPrefs, [FIREFOX_COOKIES]: 1 } })
}

async function launchChromium(args: string[]): Promise<Browser> {
  const executablePath = await chromiumPath()
  return chromium.launch({
    ...(executablePath && { executablePath }),
    args: [...chromiumArgs, ...args],
    ignoreDefaultArgs: ['--disable-back-forward-cache'],
  })
}

/** No flag of a headless Chromium does; its debugger does it for a tab. */
async function blockThirdPartyCookies(page: Page): Promise<void> {
  const session = await page.context().newCDPSession(page)
  await session.send('Network.enable')
  await session.send('Network.setCookieControls', { enableThirdPartyCookieRestriction: true })
}

/** Opens an address; where it is the lab's, waits until that has started. */
export async function visit(page: Page, url: string): Promise<void> {
  await page.goto(url)
  if (/^\/(callback|lab)$/.test(new URL(url).pathname)) await page.waitForFunction(() => globalThis.lab !== undefined)
}

/** Fills in the authorization server's page, which is open. */
export async function typePassword(page: Page, username = 'ada', password = 'lovelace'): Promise<void> {
  await page.fill('[name=username]', username)
  await page.fill('[name=password]', password)
  await page.click('button.primary')
}

/** Signs in at the lab's page, which is open, and waits until it is back. */
export async function signIn(page: Page, username?: string, password?: string): Promise<void> {
  await Promise.all([page.waitForURL(/\/interaction\//), page.evaluate(() => void lab.auth.login())])
  await typePassword(page, username, password)
  await page.waitForURL(/\/callback/)
  await page.waitForFunction(() => globalThis.lab?.auth.session.status === 'signedIn')
}

/** Waits until this page says so. */
export const untilStatus = (page: Page, status: string): Promise<unknown> =>
  page.waitForFunction((wanted) => globalThis.lab?.auth.session.status === wanted, status, { polling: 50 })

/** When this page learned its present status. */
export const statusSince = (page: Page): Promise<number> => page.evaluate(() => lab.statuses.at(-1)?.at ?? Number.NaN)
