import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Servers, startServers } from '../../playground/src/servers.ts'
import { runNode } from '../../playground/test/run-node.ts'

let servers: Servers
let folder: string
const ada = { USER_NAME: 'ada', PASSWORD: 'lovelace' }

beforeEach(async () => {
  servers = await startServers({ accessTokenTTL: 3 })
  folder = await mkdtemp(join(tmpdir(), 'keyturn-cli-'))
})

afterEach(async () => {
  await servers.stop()
  await rm(folder, { recursive: true })
})

function cli(args: string[], env: NodeJS.ProcessEnv = {}, input?: string) {
  const settings = {
    ISSUER: servers.server.issuer,
    API_URL: servers.orders.url,
    SCOPE: 'openid profile api:read offline_access',
    SESSION_FILE: join(folder, 'deep', 'session'),
    ...env,
  }
  return runNode(new URL('../src/cli.ts', import.meta.url), args, settings, input).ended
}

test('who signs in stays signed in from process to process, until they sign out', async () => {
  expect(await cli(['login'], ada)).toEqual({ code: 0, stdout: 'Signed in as ada\n', stderr: '' })
  expect(await cli(['whoami'])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Ada, may .*api:read/) })
  const call = await cli(['call', '/orders/7'])
  expect(JSON.parse(call.stdout)).toMatchObject({ sub: 'ada', path: '/orders/7' })
  expect(await cli(['logout'])).toMatchObject({ code: 0, stdout: 'Signed out\n' })
  expect(await cli(['whoami'])).toEqual({
    code: 1,
    stdout: '',
    stderr: 'Nobody is signed in\nRun: node cli.ts login\n',
  })
  expect(servers.server.tokenRequests({ grantType: 'password' })).toBe(1)
})

test('user name and password can be typed, and the password is not shown', async () => {
  const { code, stdout, stderr } = await cli(['login'], {}, 'ada\nlovelace\n')
  expect({ code, stdout }).toEqual({ code: 0, stdout: 'Signed in as ada\n' })
  expect(stderr).toContain('Password: ')
  expect(stdout + stderr).not.toContain('lovelace')
})

test('processes that run at once renew an expired token once', async () => {
  await cli(['login'], ada)
  await wait(3100)
  servers.server.tokensLive(600) // longer than it takes to start the processes
  const calls = await Promise.all(Array.from({ length: 4 }, () => cli(['call', '/'])))
  expect(calls.map(({ code, stderr }) => [code, stderr])).toEqual(Array(4).fill([0, '']))
  const { server, orders } = servers
  expect(orders.served).toBe(4)
  expect(server.tokenRequests({ grantType: 'refresh_token' })).toBe(1)
  expect(server.reuses).toBe(0)
})

test('a wrong password is refused with what to do, and leaves nobody signed in', async () => {
  await cli(['login'], ada)
  const { code, stderr } = await cli(['login'], { ...ada, PASSWORD: 'wrong' })
  expect(code).toBe(1)
  expect(stderr).toMatch(/invalid_grant.*\nCheck username and password\./)
  expect((await cli(['whoami'])).code).toBe(1)
})

test('a wrong password of somebody else takes nobody out of sight', async () => {
  await cli(['login'], ada)
  expect((await cli(['login'], { USER_NAME: 'alan', PASSWORD: 'wrong' })).code).toBe(1)
  expect(await cli(['whoami'])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Ada/) })
})

test('with a passphrase the file shows neither token nor user', async () => {
  const key = { SESSION_KEY: 'a passphrase' }
  await cli(['login'], { ...ada, ...key })
  const file = await readFile(join(folder, 'deep', 'session'), 'utf8')
  expect(file).not.toMatch(/eyJhbG|"ada|Token"/) // longer than what comes about by chance in what is encrypted
  expect((await cli(['whoami'], key)).code).toBe(0)
  const { code, stderr } = await cli(['whoami'], { SESSION_KEY: 'another' })
  expect(code).toBe(1)
  expect(stderr).toMatch(/^The token file is encrypted with another key\nSet `key` to/m)
})

test('what a server says of the person cannot steer the terminal', async () => {
  const steering = '\u001b]0;title\u0007'
  const server = createServer((request, response) => {
    const issuer = `http://127.0.0.1:${Object(server.address()).port}`
    if (request.url?.startsWith('/.well-known')) {
      return response.end(JSON.stringify({ issuer, token_endpoint: `${issuer}/token` }))
    }
    const [header, claims, signature] = [
      { alg: 'RS256' },
      { iss: issuer, aud: 'cli', sub: `ada${steering}`, iat: Date.now() / 1000, exp: Date.now() / 1000 + 60 },
      'none that is looked at',
    ].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    const tokens = { access_token: 'token', token_type: 'Bearer', expires_in: 60, refresh_token: 'refresh' }
    response.end(JSON.stringify({ ...tokens, id_token: `${header}.${claims}.${signature}`, scope: `all${steering}` }))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const settings = { ISSUER: `http://127.0.0.1:${Object(server.address()).port}` }
  expect((await cli(['login'], { ...ada, ...settings })).code).toBe(0)
  const { stdout } = await cli(['whoami'], settings)
  server.close()
  expect(stdout).toMatch(/^ada.*may all/)
  expect(stdout.trimEnd()).not.toMatch(/\p{Cc}/u)
})

test('USER_NAME finds a session also where the name of who signed in last is gone', async () => {
  await cli(['login'], ada)
  await rm(join(folder, 'deep', 'session.user'))
  expect((await cli(['whoami'])).stderr).toBe('Nobody is signed in\nRun: node cli.ts login\n')
  expect(await cli(['whoami'], { USER_NAME: 'ada' })).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Ada/) })
  expect(await cli(['logout'], { USER_NAME: 'ada' })).toMatchObject({ code: 0, stdout: 'Signed out\n' })
  expect(await cli(['whoami'], { USER_NAME: 'ada' })).toMatchObject({ code: 1 })
})

test('a damaged session is told, kept aside, and replaced by the next login', async () => {
  await cli(['login'], ada)
  const file = join(folder, 'deep', 'session')
  await writeFile(file, 'garbage')
  const { code, stderr } = await cli(['whoami'])
  expect([code, stderr]).toEqual([1, expect.stringMatching(/session was damaged.*\nNobody is signed in\nRun: /)])
  expect((await cli(['login'], ada)).code).toBe(0)
  expect((await cli(['whoami'])).code).toBe(0)
  expect(await readFile(`${file}.damaged`, 'utf8')).toBe('garbage')
})

test('a name that cannot be read is not taken for nobody', async () => {
  await mkdir(join(folder, 'deep', 'session.user'), { recursive: true })
  const { code, stderr } = await cli(['whoami'])
  expect([code, stderr]).toEqual([1, expect.stringMatching(/^EISDIR/)])
})

test('no other URL than the API gets a token', async () => {
  await cli(['login'], ada)
  const { code, stderr } = await cli(['call', servers.invoices.url])
  expect({ code, stderr }).toEqual({ code: 1, stderr: 'The API answered 401\n' })
})

test('wrong usage says how, and a setting that is missing is named', async () => {
  for (const args of [[], ['constructor'], ['call']]) {
    expect(await cli(args)).toMatchObject({ code: 2, stderr: expect.stringContaining('Usage') })
  }
  await cli(['login'], ada)
  expect(await cli(['call', '/'], { API_URL: '' })).toMatchObject({ code: 1, stderr: 'API_URL is not set\n' })
})
