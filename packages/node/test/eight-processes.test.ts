import { describe, expect, test } from 'vitest'
import { startSessions } from './processes/sessions.ts'

/** The long form is KEYTURN_EXPIRIES=200. */
const EXPIRIES = Number(process.env.KEYTURN_EXPIRIES ?? 10)
const key = Array<number>(32).fill(7)

const three = { count: 3, accessTokenTTL: 2, key, timeout: 2_000 }

type Sessions = Awaited<ReturnType<typeof startSessions>>

// They mostly wait, so they wait together.
describe.concurrent('one session in one file', () => {
  test(
    `eight processes outlive ${EXPIRIES} expiries, and no refresh token is sent twice`,
    async () => {
      await using sessions = await startSessions({ count: 8, accessTokenTTL: 2, key })
      const { server, refreshes } = sessions
      await expect.poll(refreshes, { timeout: EXPIRIES * 8_000, interval: 100 }).toBeGreaterThanOrEqual(EXPIRIES)
      const reports = await sessions.reports()
      expect([server.reuses, sessions.sentAgain()]).toEqual([0, []])
      expect(server.tokenRequests({ grantType: 'password' })).toBe(1)
      for (const { errors, session, tokens } of reports) {
        expect([errors, session]).toEqual([[], 'signedIn'])
        expect(tokens).toBeGreaterThan(EXPIRIES / 2)
      }
      expect(reports.reduce((sum, { stats }) => sum + stats.tokenRequests, 0)).toBe(server.tokenRequests())
    },
    30_000 + EXPIRIES * 8_000,
  )

  describe.skipIf(process.platform === 'win32')('with one process frozen in the middle of a renewal', () => {
    async function freezeAndThaw({ children, frozen, refreshes }: Sessions, when: 'unsent' | 'sent') {
      const renewed = async (times: number) => {
        const before = refreshes()
        await expect.poll(refreshes, { timeout: 20_000, interval: 20 }).toBeGreaterThanOrEqual(before + times)
      }
      await renewed(1)
      // Whose turn it is: who has drawn the longest lead renews every time.
      for (const child of children) child.send(when)
      await expect.poll(frozen, { timeout: 20_000, interval: 20 }).toBeGreaterThanOrEqual(0)
      await renewed(1) // the others have waited for its lease to end
      children[frozen()]?.kill('SIGCONT')
      await renewed(3)
    }

    test('frozen before it sent: the others go on after its lease, and it sends nothing when it thaws', async () => {
      await using sessions = await startSessions(three)
      const { server } = sessions
      await freezeAndThaw(sessions, 'unsent')
      const reports = await sessions.reports()
      expect([server.reuses, sessions.sentAgain()]).toEqual([0, []])
      expect(server.tokenRequests({ grantType: 'password' })).toBe(1)
      for (const { session } of reports) expect(session).toBe('signedIn')
      for (const { errors } of reports.toSpliced(sessions.frozen(), 1)) expect(errors).toEqual([])
    }, 80_000)

    test('frozen after it sent: the session is replaced once, and it writes over nothing when it thaws', async () => {
      await using sessions = await startSessions(three)
      const { server } = sessions
      await freezeAndThaw(sessions, 'sent')
      const reports = await sessions.reports()
      // What it was answered died with its lease, so the others could only present the spent refresh token: once.
      expect(server.reuses).toBe(1)
      expect(sessions.sentAgain()).toHaveLength(1)
      expect(server.tokenRequests({ grantType: 'password' })).toBe(2)
      for (const { session } of reports) expect(session).toBe('signedIn')
      for (const { errors } of reports.toSpliced(sessions.frozen(), 1)) expect(errors).toEqual([])
    }, 80_000)
  })
})
