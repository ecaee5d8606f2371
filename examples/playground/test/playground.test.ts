import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { Breakage } from '../src/breakage.ts'
import { startServers } from '../src/servers.ts'
import { runNode } from './run-node.ts'

const main = new URL('../src/main.ts', import.meta.url)

test('--once does everything without a person, and the servers count no failure', { timeout: 200_000 }, async () => {
  const { code, stdout, stderr } = await runNode(main, ['--once']).ended
  expect(stderr).toBe('')
  expect(stdout).toContain('Everything is as it should be.')
  expect(code).toBe(0)
  const rows = stdout.split('\n').flatMap((line) => {
    const [, part = '', ...figures] = /^(\S.*?) {2,}(\d+) +(\d+) +(\d+)$/.exec(line) ?? []
    return part ? [[part, ...figures.map(Number)] as const] : []
  })
  const row = (name: string) => rows.find(([part]) => String(part).startsWith(name))?.slice(1)
  expect(row('code + PKCE')).toEqual([1, 0, 0])
  expect(row('both APIs')?.slice(1)).toEqual([20, 0])
  expect(row('sign-out')).toEqual([1, 0, 0])
  expect(row('step-up refused')).toEqual([0, 1, 0])
  expect(row('step-up: two factors')).toEqual([2, 5, 0])
  expect(row('DPoP: 2 keys')).toEqual([4, 14, 0]) // of which the servers answered 2 and 4 with a nonce
  expect(row('DPoP: a stolen token')).toEqual([0, 3, 0])
  const [sharing, ...others] = row('password + file') ?? []
  expect([4, 5]).toContain(sharing) // one more where a busy machine shows the last token late
  expect(others).toEqual([expect.any(Number), 0])
  expect(row('worker')).toEqual([5, expect.any(Number), 0]) // of which the server answered one 503
  const [tokenRequests = 0, calls = 0, failures] = row('all') ?? []
  expect(failures).toBe(0)
  expect(tokenRequests).toBeLessThan(27)
  expect(calls).toBeGreaterThan(200)
})

test('--once names what failed and exits 1', { timeout: 90_000 }, async () => {
  const { code, stdout } = await runNode(main, ['--once', '--refuse']).ended
  expect(code).toBe(1)
  expect(stdout).toMatch(/^FAILED {2}worker: .*401$/m)
  expect(stdout).toMatch(/^FAILED {2}both APIs.*401$/m)
  expect(stdout).toMatch(/^FAILED {2}password \+ file.*401$/m)
  expect(stdout).toMatch(/^FAILED {2}step-up: .*403/m)
  expect(stdout).toMatch(/^FAILED {2}DPoP: 2 keys.*403$/m)
  expect(stdout).not.toContain('as it should be')
})

test.each(['SIGINT', 'SIGTERM'] as const)(
  'without a terminal it prints a line each second until %s',
  async (signal) => {
    const run = runNode(main)
    await expect.poll(() => run.stdout, { timeout: 20_000 }).toMatch(/worker: token good .* ada: token good .*\n.*\n/)
    run.child.kill(signal)
    const { code, stdout, stderr } = await run.ended
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const served = 'calls served [1-9]\\d*, refused 0, held back 0, tokens bought 1, requests failed 0'
    for (const name of ['worker', 'ada']) expect(stdout).toMatch(new RegExp(`${name}: token [^|]*, ${served}`))
  },
)

const hasScript = process.platform === 'linux' && spawnSync('script', ['--version']).status === 0

test.skipIf(!hasScript)('in a terminal keys break the server, and it is left as it was found', async () => {
  const command = `${process.execPath} ${fileURLToPath(main)}`
  const child: ChildProcess = spawn('script', ['-qefc', command, '/dev/null'], {
    env: { ...process.env, TERM: 'xterm' },
  })
  let screen = ''
  child.stdout?.setEncoding('utf8').on('data', (chunk) => {
    screen += chunk
  })
  const press = async (key: string, said: string) => {
    child.stdin?.write(key)
    await expect.poll(() => screen, { timeout: 20_000 }).toContain(said)
  }
  await press('', 'the server is well')
  await press('5', 'answers 503 to 2 requests')
  await press('4', 'answers 429, Retry-After 5 to 2 requests')
  await press('h', 'the server hangs to the next 2 requests')
  await press('r', 'revokes everything')
  child.stdin?.write('\x1b[A') // an arrow is not an a
  await press('a', 'the server is gone')
  await press('o', 'is back')
  const ended = once(child, 'close')
  child.stdin?.write('\x03')
  expect((await ended)[0]).toBe(0)
  expect(screen.lastIndexOf('\x1b[?25h')).toBeGreaterThan(screen.lastIndexOf('\x1b[?25l'))
  expect(screen.lastIndexOf('\x1b[?1049l')).toBeGreaterThan(screen.lastIndexOf('\x1b[?1049h'))
})

test('a key breaks the server for two requests, unless it is made well before', async () => {
  const servers = await startServers({ accessTokenTTL: 5 })
  onTestFinished(() => servers.stop())
  const { server } = servers
  const breakage = new Breakage(server)
  const status = async () => (await fetch(`${server.issuer}/token`, { method: 'POST' })).status
  expect(breakage.trouble).toBeUndefined()
  await breakage.press('5')
  expect(breakage.trouble).toBe('answers 503 to the next 2 requests')
  expect(await status()).toBe(503)
  expect(breakage.trouble).toBe('answers 503 to the next request')
  expect([await status(), await status()]).toEqual([503, 400])
  expect(breakage.trouble).toBeUndefined()
  await breakage.press('4')
  await breakage.press('o')
  expect(await status()).toBe(400)
  await breakage.press('a')
  expect(breakage.trouble).toBe('is gone: no connection')
  await expect(status()).rejects.toThrow('fetch failed')
  await breakage.press('a')
  expect(await status()).toBe(400)
})
