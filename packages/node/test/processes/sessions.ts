import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startAuthorizationServer } from '../../../../examples/playground/src/authorization-server.ts'

/** What a process says when it stops. */
export interface Report {
  tokens: number
  errors: string[]
  warnings: string[]
  session: string
  stats: { tokenRequests: number; degradations: number }
}

export interface SessionsOptions {
  /** How many processes. */
  count: number
  /** Seconds that an access token lives. */
  accessTokenTTL: number
  /** What the file is encrypted with; default: a passphrase. */
  key?: number[]
  /** Of a request, milliseconds; the lease is three of them. */
  timeout?: number
}

/** Starts processes that share one session in one encrypted file, at a server that rotates strictly. */
export async function startSessions({ count, accessTokenTTL, ...options }: SessionsOptions) {
  const folder = await mkdtemp(join(tmpdir(), 'keyturn-'))
  const server = await startAuthorizationServer({ apis: ['https://orders.example/'], accessTokenTTL })
  const file = join(folder, 'session.json')
  const script = new URL('session-process.mjs', import.meta.url)
  const settings = JSON.stringify({ issuer: server.issuer, file, ...options })
  const children = Array.from({ length: count }, () => fork(script, [settings]))
  return {
    server,
    children,
    /** Which process has frozen, as soon as one has. */
    frozen: () => {
      const text = existsSync(`${file}.frozen`) ? readFileSync(`${file}.frozen`, 'utf8') : ''
      return children.findIndex(({ pid }) => text === `${pid}`)
    },
    refreshes: () => server.tokenRequests({ grantType: 'refresh_token', status: 200 }),
    /** Which refresh tokens came more than once. */
    sentAgain(): string[] {
      const sent = server.log.flatMap(({ refreshToken }) => refreshToken ?? [])
      return sent.filter((token, index) => sent.indexOf(token) !== index)
    },
    /** Lets all of them stop. */
    reports: () => Promise.all(children.map(reportOf)),
    async [Symbol.asyncDispose]() {
      for (const child of children) child.kill('SIGKILL')
      await server.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function reportOf(child: ChildProcess): Promise<Report> {
  const message = once(child, 'message')
  child.send('stop')
  const [said] = (await message) as [Report]
  await once(child, 'exit')
  return said
}
