import { expect, test } from 'vitest'
import { startSessions } from './processes/sessions.ts'

const EXPIRIES = 20
const key = Array(32).fill(7) // a passphrase may take longer than a store has, on a busy machine

test('two processes on one encrypted file outlive 20 expiries of a strictly rotating session', async () => {
  await using sessions = await startSessions({ count: 2, accessTokenTTL: 1, key })
  const { server, refreshes } = sessions
  await expect.poll(refreshes, { timeout: 50_000, interval: 100 }).toBeGreaterThanOrEqual(EXPIRIES)
  const reports = await sessions.reports()
  expect([server.reuses, sessions.sentAgain()]).toEqual([0, []])
  expect(server.tokenRequests({ grantType: 'password' })).toBe(1)
  for (const { errors, warnings, session, stats, tokens } of reports) {
    expect([errors, warnings, session, stats.degradations]).toEqual([[], [], 'signedIn', 0])
    expect(tokens).toBeGreaterThan(EXPIRIES / 2)
  }
  // One renewal an expiry for both together: what one process renews the other finds.
  expect(reports.reduce((sum, { stats }) => sum + stats.tokenRequests, 0)).toBe(server.tokenRequests())
}, 60_000)
