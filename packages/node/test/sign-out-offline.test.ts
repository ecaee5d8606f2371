import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import { startAuthorizationServer } from '../../../examples/playground/src/authorization-server.ts'

// A command that signs out, as a process of its own. (A passphrase may take longer than a store has, on a busy machine.)
const program = `
const { fileStore, password } = await import('@keyturn/node')
const [issuer, path, what] = process.argv.slice(1)
const source = password({
  ...{ issuer, clientId: 'legacy', clientSecret: 'legacy-secret', username: 'ada', password: 'lovelace' },
  ...{ store: fileStore(path, { key: new Uint8Array(32).fill(7) }), onWarning: (message) => console.error(message) },
})
if (what === 'sign in') await source.getAccessToken()
if (what === 'sign out') await source.revoke()
if (what === 'look') source.subscribe(() => {})
console.log(source.session.status)
`

test('a process that signs out offline ends, its file shows nothing, and the next process finishes it', {
  timeout: 120_000,
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'keyturn-sign-out-'))
  const server = await startAuthorizationServer({ accessTokenTTL: 60 })
  onTestFinished(async () => {
    await server.stop()
    await rm(folder, { recursive: true })
  })
  const file = join(folder, 'session.json')
  const run = async (what: string) => {
    const args = ['--input-type=module', '--eval', program, server.issuer, file, what]
    const { stdout, stderr } = await promisify(execFile)(process.execPath, args, {
      timeout: 40_000,
      cwd: import.meta.dirname,
    })
    return [stdout.trim(), stderr.trim()]
  }
  const told = () => server.log.filter(({ path }) => path === '/token/revocation').length
  const entries = async () => Object.keys(JSON.parse(await readFile(file, 'utf8')).records).length
  expect(await run('sign in')).toEqual(['signedIn', ''])
  expect(await entries()).toBe(1)

  await server.away()
  expect(await run('sign out')).toEqual(['signedOut', '']) // in time: nothing keeps it alive
  expect(await entries()).toBe(2)
  const text = await readFile(file, 'utf8')
  expect(text).not.toMatch(/revocations|refresh_token|127\.0\.0\.1/)

  await server.back()
  await new Promise((resolve) => setTimeout(resolve, 1100)) // past the first back-off
  await run('look')
  await expect.poll(told).toBe(1)
  expect(await entries()).toBe(1)
  expect(await readdir(folder)).toEqual(['session.json'])
})
