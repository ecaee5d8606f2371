import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { startAuthorizationServer } from '../../../examples/playground/src/authorization-server.ts'

const EXPIRIES = 20

interface Report {
  tokens: number
  errors: string[]
  warnings: string[]
  session: string
  stats: { tokenRequests: number; degradations: number }
}

async function report(child: ChildProcess): Promise<Report> {
  const message = once(child, 'message')
  child.send('stop')
  const [said] = (await message) as [Report]
  await once(child, 'exit')
  return said
}

test('two processes on one encrypted file outlive 20 expiries of a strictly rotating session', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'keyturn-'))
  const server = await startAuthorizationServer({ apis: ['https://orders.example/'], accessTokenTTL: 1 })
  const children: ChildProcess[] = []
  try {
    const script = new URL('processes/session-process.mjs', import.meta.url)
    for (let n = 0; n < 2; n++) children.push(fork(script, [server.issuer, join(folder, 'session.json')]))
    const refreshes = () => server.tokenRequests({ grantType: 'refresh_token', status: 200 })
    await expect.poll(refreshes, { timeout: 50_000, interval: 100 }).toBeGreaterThanOrEqual(EXPIRIES)
    const reports = await Promise.all(children.map(report))
    expect(server.reuses).toBe(0)
    expect(server.tokenRequests({ grantType: 'password' })).toBe(1)
    for (const { errors, warnings, session, stats, tokens } of reports) {
      expect([errors, warnings, session, stats.degradations]).toEqual([[], [], 'signedIn', 0])
      expect(tokens).toBeGreaterThan(EXPIRIES / 2)
    }
    // One renewal an expiry for both together: what one process renews the other finds.
    expect(reports.reduce((sum, { stats }) => sum + stats.tokenRequests, 0)).toBe(server.tokenRequests())
    const sent = server.log.flatMap(({ refreshToken }) => refreshToken ?? [])
    expect(new Set(sent).size).toBe(sent.length)
  } finally {
    for (const child of children) child.kill('SIGKILL')
    await server.stop()
    await rm(folder, { recursive: true, force: true })
  }
}, 60_000)
