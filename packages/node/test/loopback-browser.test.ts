import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import type { Browser } from 'playwright'
import { afterAll, afterEach, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { launchChromium, Watched } from '../../../examples/playground/src/headless-chromium.ts'
import { runNode } from '../../../examples/playground/test/run-node.ts'
import { startWorld } from './loopback-world.ts'

let browser: Browser | undefined

beforeAll(async () => {
  browser = await launchChromium()
}, 60_000)

afterAll(() => browser?.close())

afterEach(() => {
  vi.unstubAllEnvs()
})

async function folderOfTest(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'keyturn-loopback-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  return folder
}

/** Makes `script` what opens addresses in this test. */
async function openWith(script: string): Promise<void> {
  const folder = await folderOfTest()
  await writeFile(join(folder, 'xdg-open'), `#!/bin/sh\n${script}\n`)
  await chmod(join(folder, 'xdg-open'), 0o755)
  vi.stubEnv('PATH', `${folder}${delimiter}${process.env.PATH}`)
}

const onLinux = test.skipIf(process.platform !== 'linux')

test('in Chromium a person signs in and sees that it is done; the page breaks no policy', async (context) => {
  if (!browser) return context.skip('no Chromium here')
  const { login } = await startWorld()
  const profile = await browser.newContext()
  onTestFinished(() => profile.close())
  const watched = new Watched()
  await watched.watch(profile)
  const page = await profile.newPage()
  const shown = Promise.withResolvers<[heading: string | null, color: string]>()
  const auth = await login({
    async open(url) {
      await page.goto(url)
      await page.fill('[name=username]', 'ada')
      await page.fill('[name=password]', 'lovelace')
      await page.click('button.primary')
      await page.click('button:text("Allow")')
      await page.waitForSelector('.done')
      const color = () => getComputedStyle(document.querySelector('.mark') ?? document.body).backgroundColor
      shown.resolve([await page.textContent('h1'), await page.evaluate(color)])
    },
  })
  expect(auth.session).toMatchObject({ status: 'signedIn', claims: { sub: 'ada' } })
  expect(await shown.promise).toEqual(['You are signed in', 'rgb(26, 127, 69)'])
  expect(watched.complaints).toEqual([])
  expect(watched.strangers).toEqual([])
})

test('in Chromium who says no sees that they are not signed in', async (context) => {
  if (!browser) return context.skip('no Chromium here')
  const { login } = await startWorld()
  const page = await browser.newPage()
  onTestFinished(() => page.close())
  const heading = Promise.withResolvers<string | null>()
  const ended = login({
    async open(url) {
      await page.goto(url)
      await page.click('[name=abort]')
      await page.waitForSelector('.failed')
      heading.resolve(await page.textContent('h1'))
    },
  })
  await expect(ended).rejects.toMatchObject({ code: 'authorization-refused', error: 'access_denied' })
  expect(await heading.promise).toBe('You are not signed in')
})

onLinux('by default the system opens the address, which is one argument and read by no shell', async () => {
  const { login, comeBack } = await startWorld()
  const file = join(await folderOfTest(), 'arguments')
  await openWith(`printf '%s\\n' "$#" "$@" > ${file}`)
  const controller = new AbortController()
  const parameters = { note: '$(touch /tmp/x) `id` ; & "' }
  const ended = login({ open: undefined, login: { parameters }, signal: controller.signal })
  const written = () => readFile(file, 'utf8').catch(() => '')
  await expect.poll(written).toMatch(/^1\nhttp.*\n$/)
  const url = (await written()).split('\n')[1] ?? ''
  expect(new URL(url).searchParams.get('note')).toBe(parameters.note)
  await fetch(await comeBack(url))
  expect((await ended).session.status).toBe('signedIn')
})

onLinux.each([
  ['fails', 'exit 3', 'xdg-open ended with 3'],
  ['is killed', 'kill -9 $$', 'xdg-open ended with SIGKILL'],
])('an opener that %s is told', async (_, script, message) => {
  const { login } = await startWorld()
  await openWith(script)
  await expect(login({ open: undefined })).rejects.toMatchObject({ code: 'navigation-failed', cause: { message } })
})

onLinux('a system without opener is told', async () => {
  const { login } = await startWorld()
  vi.stubEnv('PATH', await folderOfTest())
  const error = await login({ open: undefined }).catch((thrown) => thrown)
  expect(error).toMatchObject({ code: 'navigation-failed', cause: { code: 'ENOENT' } })
  expect(JSON.stringify([error, error.cause, error.stack])).not.toContain('code_challenge')
})

onLinux(
  'a program ends when its login has, whatever opener or browser goes on',
  async () => {
    const { server, comeBack } = await startWorld()
    const folder = await folderOfTest()
    const file = join(folder, 'address')
    await openWith(`printf %s "$1" > ${file}.new; mv ${file}.new ${file}; exec sleep 60`)
    const program = new URL('processes/loopback-process.mjs', import.meta.url)
    const { ended, child } = runNode(program, [server.issuer])
    onTestFinished(() => void child.kill())
    const written = () => readFile(file, 'utf8').catch(() => '')
    await expect.poll(written, { timeout: 10_000 }).toMatch(/^http/)
    const callback = await comeBack(await written())
    const idle = connect(Number(new URL(callback).port), '127.0.0.1') // browsers open some in advance
    idle.on('error', () => {})
    await fetch(callback)
    const { code, stdout, stderr } = await ended
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'signedIn\n', stderr: '' })
  },
  30_000,
)
