import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ENDS_ON_ITS_WAY, measure } from './measure.ts'
import type { PartOptions } from './once.ts'
import { startServers } from './servers.ts'

const cli = fileURLToPath(new URL('../../cli/src/cli.ts', import.meta.url))
const child = fileURLToPath(new URL('./shared-session.ts', import.meta.url))
const RENEWALS = 3

/** The password grant: signed in by one process, kept alive by two others through three renewals, then signed out. */
export async function sharedFile({ done, ...options }: PartOptions): Promise<void> {
  const servers = await startServers(options)
  const { server, orders } = servers
  const folder = await mkdtemp(join(tmpdir(), 'keyturn-once-'))
  const env = {
    ...process.env,
    ISSUER: server.issuer,
    API_URL: orders.url,
    SCOPE: 'openid profile api:read offline_access',
    USER_NAME: 'ada',
    PASSWORD: 'lovelace',
    SESSION_FILE: join(folder, 'session'),
    SESSION_KEY: 'a passphrase',
    RENEWALS: String(RENEWALS),
  }
  const withoutPassword = { ...env, PASSWORD: '' }
  const run = (file: string, ...args: string[]) => runNode([file, ...args], withoutPassword)
  const grants = (grantType: string) => server.tokenRequests({ grantType, status: 200 })

  const row = await measure(
    `password + file: ${RENEWALS} renewals, 2 processes`,
    servers,
    async () => {
      const login = await runNode([cli, 'login'], env)
      assert(login.code === 0, `cli login: ${login.output}`)
      const both = await Promise.all([run(child), run(child)])
      for (const { code, output } of both) assert(code === 0, output)
      assert(both[0]?.output === both[1]?.output, 'the two processes saw different tokens')
      assert(grants('password') === 1, `the password was sent ${grants('password')} times`)
      const more = grants('refresh_token') - RENEWALS // where the last token was seen late, one more may be under way
      assert(more === 0 || more === 1, `${RENEWALS + more} renewals instead of ${RENEWALS}`)
      const who = await run(cli, 'whoami')
      assert(who.code === 0 && who.output.startsWith('Ada'), `cli whoami: ${who.output}`)
      const logout = await run(cli, 'logout')
      assert(logout.code === 0, `cli logout: ${logout.output}`)
      assert((await run(cli, 'whoami')).code === 1, 'still signed in after cli logout')
    },
    ENDS_ON_ITS_WAY,
  )
  await rm(folder, { recursive: true })
  await servers.stop()
  done(row)
}

function runNode(args: string[], env: NodeJS.ProcessEnv): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, args, { env, timeout: 45_000 }, (error, stdout, stderr) => {
      resolve({ code: error ? 1 : 0, output: `${stdout}${stderr}`.trim() })
    })
  })
}
