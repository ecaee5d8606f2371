import {
  type DeviceCodeFlow,
  type DeviceLoginOptions,
  type DevicePrompt,
  deviceLogin,
  memoryStore,
} from '@keyturn/node'
import type { Browser } from 'playwright'
import { afterAll, afterEach, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import {
  type AuthorizationServer,
  startAuthorizationServer,
} from '../../../examples/playground/src/authorization-server.ts'
import { launchChromium } from '../../../examples/playground/src/headless-chromium.ts'
import { signInOverHttp } from '../../../examples/playground/src/sign-in-over-http.ts'

let server: AuthorizationServer
let browser: Browser | undefined

beforeAll(async () => {
  server = await startAuthorizationServer()
  browser = await launchChromium()
}, 60_000)

afterAll(async () => {
  await browser?.close()
  await server.stop()
})

afterEach(() => {
  vi.useRealTimers()
})

interface Device {
  prompt: DevicePrompt
  ended: Promise<DeviceCodeFlow>
}

/** A login as far as the prompt; its waits are over when `vi.advanceTimersByTimeAsync()` says so. */
async function prompted(options: Partial<DeviceLoginOptions> = {}): Promise<Device> {
  if (!vi.isFakeTimers()) vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  const { promise, resolve, reject } = Promise.withResolvers<DevicePrompt>()
  const ended = login({ onPrompt: resolve, ...options })
  ended.catch(reject)
  return { prompt: await promise, ended }
}

/** Lets the waits of a login pass until something is so, but none of a request under way: its time-out is one, too. */
async function waitsPassUntil(isSo: () => boolean): Promise<void> {
  await vi.waitUntil(async () => {
    const isAsking = server.log.some(({ path, status }) => path === '/token' && status === undefined)
    if (!isAsking) await vi.advanceTimersByTimeAsync(1000)
    return isSo()
  }, 8_000)
}

function login(options: Pick<DeviceLoginOptions, 'onPrompt'> & Partial<DeviceLoginOptions>): Promise<DeviceCodeFlow> {
  const scope = 'openid profile offline_access'
  return deviceLogin({ issuer: server.issuer, clientId: 'cli', scope, parameters: { prompt: 'consent' }, ...options })
}

const ada = { username: 'ada', password: 'lovelace' }
const nobody = () => {
  throw new Error('Nobody is to be asked')
}

test('a person signs in on another device, and the next start needs none', async () => {
  const store = memoryStore()
  const { prompt, ended } = await prompted({ store })
  expect(prompt.userCode).toMatch(/^[A-Z]{4}-[A-Z]{4}$/)
  expect(prompt.verificationUri).toBe(`${server.issuer}/device`)
  const polls = server.tokenRequests()
  await vi.advanceTimersByTimeAsync(5000)
  await vi.waitUntil(() => server.tokenRequests() === polls + 1, 8_000) // not yet
  await signInOverHttp(prompt.verificationUriComplete ?? '', ada)
  await waitsPassUntil(() => server.tokenRequests() > polls + 1)
  const auth = await ended
  expect(auth.session).toMatchObject({ status: 'signedIn', renewable: true, claims: { sub: 'ada' } })
  const next = await login({ store, onPrompt: nobody })
  expect(await next.getAccessToken()).toBe(await auth.getAccessToken())
  await expect(login({ store, onPrompt: nobody, sessionKey: 'another' })).rejects.toMatchObject({
    code: 'callback-failed',
  })
})

test('who shows the prompt is told when the login is over, however it ended', async () => {
  const signals: AbortSignal[] = []
  const cancel = new AbortController()
  const { promise, resolve } = Promise.withResolvers<DevicePrompt>()
  const ended = login({
    signal: cancel.signal,
    onPrompt(prompt, over) {
      signals.push(over)
      resolve(prompt)
    },
  })
  await promise
  expect(signals.map(({ aborted }) => aborted)).toEqual([false])
  cancel.abort(new Error('enough'))
  await expect(ended).rejects.toThrow('enough')
  expect(signals.map(({ aborted }) => aborted)).toEqual([true])

  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  const second = Promise.withResolvers<DevicePrompt>()
  const signedIn = login({
    onPrompt(prompt, over) {
      signals.push(over)
      second.resolve(prompt)
    },
  })
  await signInOverHttp((await second.promise).verificationUriComplete ?? '', ada)
  expect(signals.map(({ aborted }) => aborted)).toEqual([true, false])
  await vi.advanceTimersByTimeAsync(5000)
  await signedIn
  expect(signals.map(({ aborted }) => aborted)).toEqual([true, true])
})

test('in Chromium the person types the code, signs in, and the device is connected', async (context) => {
  if (!browser) return context.skip('no Chromium here')
  const profile = await browser.newContext()
  onTestFinished(() => profile.close())
  const page = await profile.newPage()
  // Playwright's clock is this one, and the server's own interval is five seconds.
  const send: typeof fetch = async (url, init) => {
    const response = await fetch(url, init)
    return `${url}`.endsWith('/device/auth') ? Response.json({ ...(await response.json()), interval: 1 }) : response
  }
  const auth = await login({
    fetch: send,
    async onPrompt({ verificationUri, userCode }) {
      await page.goto(verificationUri)
      await page.fill('[name=user_code]', userCode)
      await page.click('button.primary')
      await page.click('button:text("Yes, continue")')
      await page.fill('[name=username]', 'ada')
      await page.fill('[name=password]', 'lovelace')
      await page.click('button.primary')
      await page.click('button:text("Allow")')
      await page.waitForSelector('text=Connected')
    },
  })
  expect(auth.session).toMatchObject({ status: 'signedIn', claims: { sub: 'ada' } })
}, 30_000)

test('who says no on the other device is not signed in', async () => {
  const { prompt, ended } = await prompted()
  const over = expect(ended).rejects.toMatchObject({ code: 'authorization-refused', error: 'access_denied' })
  await signInOverHttp(prompt.verificationUriComplete ?? '', { ...ada, decision: 'abort' }).catch(() => {})
  await vi.advanceTimersByTimeAsync(5000)
  await over
})

test('a server that is away for a while is waited for', async () => {
  const { prompt, ended } = await prompted()
  await server.away()
  await vi.advanceTimersByTimeAsync(5000)
  await server.back()
  await signInOverHttp(prompt.verificationUriComplete ?? '', ada)
  let isOver = false
  void ended.finally(() => {
    isOver = true
  })
  await waitsPassUntil(() => isOver)
  expect((await ended).session.status).toBe('signedIn')
})

test('an aborted signal ends the login with its reason; nothing is asked before or after', async () => {
  const controller = new AbortController()
  const { ended } = await prompted({ signal: controller.signal })
  const requests = server.log.length
  const reason = new Error('Ctrl-C')
  controller.abort(reason)
  await expect(ended).rejects.toBe(reason)
  await expect(login({ onPrompt: nobody, signal: controller.signal })).rejects.toBe(reason)
  await vi.advanceTimersByTimeAsync(60_000)
  expect(server.log).toHaveLength(requests)
})

test('without onPrompt nobody could sign in', async () => {
  const options = { issuer: server.issuer, clientId: 'cli' } as DeviceLoginOptions
  await expect(deviceLogin(options)).rejects.toMatchObject({ code: 'invalid-options' })
})
