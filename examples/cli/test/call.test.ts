import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest'
import { type Servers, startServers } from '../../playground/src/servers.ts'
import { signInOverHttp } from '../../playground/src/sign-in-over-http.ts'
import { type Run, runNode } from '../../playground/test/run-node.ts'

let servers: Servers
let folder: string
const ada = { username: 'ada', password: 'lovelace' }

beforeEach(async () => {
  servers = await startServers({ accessTokenTTL: 3 })
  folder = await mkdtemp(join(tmpdir(), 'keyturn-call-'))
})

afterEach(async () => {
  await servers.stop()
  await rm(folder, { recursive: true })
})

function call(...args: string[]): Run {
  const run = runNode(new URL('../src/call.ts', import.meta.url), args, {
    ISSUER: servers.server.issuer,
    API_URL: servers.orders.url,
    SCOPE: 'openid profile api:read offline_access',
    SESSION_FILE: join(folder, 'session'),
    SESSION_KEY: 'a passphrase',
    PATH: folder, // with the opener of this test, or none
  })
  onTestFinished(() => void run.child.kill())
  return run
}

const whenSays = (said: () => string | Promise<string>, what: RegExp) =>
  expect.poll(said, { timeout: 20_000 }).toMatch(what)

test.skipIf(process.platform !== 'linux')('who is sent to the browser once needs it no more', async () => {
  const address = join(folder, 'address')
  await writeFile(join(folder, 'xdg-open'), `#!/bin/sh\necho "$1" > ${address}\n`)
  await chmod(join(folder, 'xdg-open'), 0o755)
  const first = call('/orders/7')
  const opened = () => readFile(address, 'utf8').catch(() => '')
  await whenSays(opened, /^http.*\n$/)
  await fetch(await signInOverHttp((await opened()).trim(), ada))
  const { code, stdout, stderr } = await first.ended
  expect([code, stderr]).toEqual([0, ''])
  expect(JSON.parse(stdout)).toMatchObject({ sub: 'ada', path: '/orders/7' })

  await rm(address)
  expect(await call('/orders/8').ended).toMatchObject({ code: 0, stderr: '' })
  expect(await opened()).toBe('')
  expect(servers.server.tokenRequests({ grantType: 'authorization_code' })).toBe(1)
})

test('where no browser can be opened the person signs in elsewhere, once', async () => {
  const first = call('/orders/7')
  await whenSays(() => first.stderr, /and type [A-Z-]+, until .+\n/)
  const [, uri = '', userCode = ''] = /go to (\S+)\nand type (\S+),/.exec(first.stderr) ?? []
  await signInOverHttp(`${uri}?user_code=${userCode}`, ada)
  const { code, stdout } = await first.ended
  expect(code).toBe(0)
  expect(JSON.parse(stdout)).toMatchObject({ sub: 'ada', path: '/orders/7' })
  expect(await call('/orders/8').ended).toMatchObject({ code: 0, stderr: '' })
})

test('who interrupts the login is not signed in', async () => {
  const run = call('/')
  await whenSays(() => run.stderr, /and type/)
  run.child.kill('SIGINT')
  const { code, stderr } = await run.ended
  expect([code, stderr]).toEqual([1, expect.stringMatching(/\nNot signed in: interrupted\n$/)])
})

test('wrong usage says how', async () => {
  expect(await call().ended).toMatchObject({ code: 2, stderr: expect.stringMatching(/^Usage: /) })
})
