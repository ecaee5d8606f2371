import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters } from 'node:util'
import type { Browser, Page } from 'playwright'
import { afterAll, afterEach, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest'
import { launchChromium } from '../../playground/src/headless-chromium.ts'
import { type Servers, startServers } from '../../playground/src/servers.ts'
import { signInOverHttp } from '../../playground/src/sign-in-over-http.ts'
import { type Run, runNode } from '../../playground/test/run-node.ts'
import { scanned } from './qr-codes.ts'

let servers: Servers
let folder: string
let browser: Browser | undefined
const ada = { username: 'ada', password: 'lovelace' }
const program = new URL('../src/tool.ts', import.meta.url)

beforeAll(async () => {
  browser = await launchChromium()
}, 60_000)

afterAll(() => browser?.close())

beforeEach(async () => {
  servers = await startServers({ accessTokenTTL: 600 })
  folder = await mkdtemp(join(tmpdir(), 'keyturn-tool-'))
})

afterEach(async () => {
  await servers.stop()
  await rm(folder, { recursive: true })
})

const settings = () => ({
  ISSUER: servers.server.issuer,
  API_URL: servers.orders.url,
  SCOPE: 'openid profile api:read offline_access',
  SESSION_FILE: join(folder, 'session'),
  SESSION_KEY: 'a passphrase',
  PATH: folder, // with the opener of this test, or none
})

function tool(...args: string[]): Run {
  const run = runNode(program, args, settings())
  onTestFinished(() => void run.child.kill())
  return run
}

const whenSays = (said: () => string | Promise<string>, what: RegExp) =>
  expect.poll(said, { timeout: 50_000 }).toMatch(what)

/** Makes a script of this test what opens addresses; gives what was opened. */
async function systemBrowser(): Promise<() => Promise<string>> {
  const address = join(folder, 'address')
  await writeFile(join(folder, 'xdg-open'), `#!/bin/sh\necho "$1" > ${address}\n`)
  await chmod(join(folder, 'xdg-open'), 0o755)
  return () => readFile(address, 'utf8').catch(() => '')
}

async function pageOf(running: Browser): Promise<Page> {
  const profile = await running.newContext()
  onTestFinished(() => profile.close())
  return profile.newPage()
}

async function signInOn(page: Page): Promise<void> {
  await page.fill('[name=username]', 'ada')
  await page.fill('[name=password]', 'lovelace')
  await page.click('button.primary')
  const allow = page.locator('button:text("Allow")')
  await allow.or(page.locator('text=Connected')).waitFor()
  if (await allow.isVisible()) await allow.click() // the server asks where it was not told yet
}

async function shownBy(login: Run): Promise<{ uri: string; code: string }> {
  await whenSays(() => login.stderr, /and type this code, .*:\n\n {2}[A-Z-]+\n/)
  const [, uri = '', code = ''] = /device:\n\n {2}(\S+)\n.*:\n\n {2}(\S+)\n/s.exec(login.stderr) ?? []
  return { uri, code }
}

async function signInElsewhere(login: Run): Promise<void> {
  const { uri, code } = await shownBy(login)
  await signInOverHttp(`${uri}?user_code=${code}`, ada)
  await login.ended
}

const onLinux = test.skipIf(process.platform !== 'linux') // elsewhere the opener is not found by PATH

onLinux('who signed in in the browser is known to every command, until they sign out', async () => {
  const opened = await systemBrowser()
  const login = tool('login')
  await whenSays(opened, /^http.*\n$/)
  await whenSays(() => login.stderr, /^Your browser opens: sign in there\. Ctrl\+C gives up\.\n$/)
  await fetch(await signInOverHttp((await opened()).trim(), ada))
  expect(await login.ended).toMatchObject({ code: 0, stdout: 'Signed in as Ada\n' })

  expect(await tool('whoami').ended).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Ada, may .*api:read/) })
  const call = await tool('call', '/orders/7').ended
  expect([call.code, JSON.parse(call.stdout)]).toEqual([0, expect.objectContaining({ sub: 'ada', path: '/orders/7' })])
  const { stdout: token } = await tool('token').ended
  const response = await fetch(servers.orders.url, { headers: { authorization: `Bearer ${token.trim()}` } })
  expect(response.status).toBe(200)
  expect(await tool('login').ended).toMatchObject({ code: 0, stdout: 'Ada is signed in already\n' })
  expect(await tool('logout').ended).toMatchObject({ code: 0, stdout: 'Signed out\n' })
  expect(await tool('whoami').ended).toEqual({
    code: 1,
    stdout: '',
    stderr: 'Nobody is signed in\nRun: node tool.ts login\n',
  })
  expect(servers.server.tokenRequests({ grantType: 'authorization_code' })).toBe(1)
  expect(servers.server.log.filter(({ path }) => path === '/token/revocation')).toHaveLength(1)
})

onLinux('in Chromium the person signs in, and sees that it is done', async (context) => {
  if (!browser) return context.skip('no Chromium here')
  const opened = await systemBrowser()
  const login = tool('login')
  await whenSays(opened, /^http.*\n$/)
  const page = await pageOf(browser)
  await page.goto((await opened()).trim())
  await signInOn(page)
  await page.waitForSelector('text=You are signed in')
  expect(await login.ended).toMatchObject({ code: 0, stdout: 'Signed in as Ada\n' })
})

test('where no browser can be opened the code is typed in Chromium on another device', async (context) => {
  if (!browser) return context.skip('no Chromium here')
  const login = tool('login')
  const { uri, code } = await shownBy(login)
  expect(login.stderr).not.toMatch(/[^\x20-\x7e\n]/) // what a pipe gets is text, all of it
  const page = await pageOf(browser)
  await page.goto(uri)
  await page.fill('[name=user_code]', code)
  await page.click('button.primary')
  await page.click('button:text("Yes, continue")')
  await signInOn(page)
  await page.waitForSelector('text=Connected')
  expect(await login.ended).toMatchObject({ code: 0, stdout: 'Signed in as Ada\n' })
  const { code: status, stdout } = await tool('call', '/orders/8').ended
  expect([status, JSON.parse(stdout)]).toEqual([0, expect.objectContaining({ sub: 'ada' })])
})

const hasTerminal = process.platform === 'linux' && spawnSync('script', ['--version']).status === 0

test('in a terminal the person scans the QR code, sees how long is left, and then only who they are', async (context) => {
  if (!hasTerminal) return context.skip('no script(1) of util-linux here')
  const { NODE_OPTIONS: _, VITEST: __, NO_COLOR: ___, ...own } = process.env
  const line = `stty cols 100 rows 60; '${process.execPath}' '${fileURLToPath(program)}' login --device`
  const terminal = spawn('script', ['--quiet', '--flush', '--return', '--command', line, '/dev/null'], {
    env: { ...own, ...settings(), PATH: process.env.PATH, TERM: 'xterm-256color', LANG: 'C.UTF-8', LC_ALL: '' },
  })
  onTestFinished(() => void terminal.kill())
  let screen = ''
  terminal.stdout.setEncoding('utf8').on('data', (chunk) => {
    screen += chunk
  })
  const ended = once(terminal, 'close')
  await whenSays(() => screen, /Waiting for you to sign in: 10 minutes left$/)
  const lines = screen.split('\r\n').filter((text) => text.includes('\u001b[30;107m'))
  const address = scanned(lines.map(stripVTControlCharacters)) ?? ''
  expect(address).toMatch(/\/device\?user_code=[A-Z-]+$/)
  await signInOverHttp(address, ada)
  expect(await ended).toEqual([0, null])
  // The line that waited is gone, and what is left is the answer.
  expect(screen.slice(screen.indexOf('Waiting'))).toBe(
    'Waiting for you to sign in: 10 minutes left\r\u001b[2KSigned in as Ada\r\n',
  )
})

test('who interrupts the login is not signed in', async () => {
  const run = tool('login')
  await whenSays(() => run.stderr, /and type this code/)
  run.child.kill('SIGINT')
  const { code, stderr } = await run.ended
  expect([code, stderr]).toEqual([1, expect.stringMatching(/\nInterrupted\n$/)])
  expect(await tool('token').ended).toMatchObject({ code: 1, stdout: '' })
})

test('who interrupts twice does not wait for a server that says nothing', async () => {
  await signInElsewhere(tool('login', '--device'))
  const { port } = new URL(servers.server.issuer)
  await servers.server.away()
  const silent = createServer().listen(Number(port), '127.0.0.1')
  onTestFinished(() => void silent.close())
  const run = tool('logout')
  await once(silent, 'connection')
  run.child.kill('SIGINT')
  const again = setInterval(() => run.child.kill('SIGINT'), 100) // two that come at once are one
  onTestFinished(() => clearInterval(again))
  expect((await run.ended).code).toBe(130)
  expect(await tool('token').ended).toMatchObject({ code: 1, stdout: '' }) // signed out here all the same
})

test('processes that run at once renew an expired token once', async () => {
  // Without a passphrase, which may take longer than a store has where several are derived on a busy machine.
  const run = (...args: string[]) => runNode(program, args, { ...settings(), SESSION_KEY: '' })
  servers.server.tokensLive(2)
  await signInElsewhere(run('login', '--device'))
  await wait(2100)
  servers.server.tokensLive(600) // longer than it takes to start the processes
  const before = servers.server.tokenRequests({ grantType: 'refresh_token' })
  const calls = await Promise.all([1, 2, 3].map(() => run('token').ended))
  expect(calls.map((run) => [run.code, run.stderr])).toEqual(Array(3).fill([0, '']))
  expect(new Set(calls.map(({ stdout }) => stdout)).size).toBe(1)
  expect(servers.server.tokenRequests({ grantType: 'refresh_token' }) - before).toBe(1)
  expect(servers.server.reuses).toBe(0)
})

test('no other URL than the API gets a token, and an answer that is none is told', async () => {
  await signInElsewhere(tool('login', '--device'))
  const { code: status, stderr } = await tool('call', servers.invoices.url).ended
  expect([status, stderr]).toEqual([1, 'The API answered 401\n'])
})

test('wrong usage says how', async () => {
  for (const args of [[], ['constructor'], ['call']]) {
    expect(await tool(...args).ended).toMatchObject({ code: 2, stderr: expect.stringMatching(/^Usage: /) })
  }
})
