import { OAuthError } from '@keyturn/core'
import { expect } from 'vitest'
import { SECOND } from '../renewal-harness.ts'
import { type Call, LIFETIME, type Log, RETRY_AFTER, type Sent, TIMEOUT } from './model-log.ts'

/** A back-off is never shorter (R8). */
const SHORTEST_DELAY = SECOND / 2
/** In which a change of the store reaches everybody: the stores of the model dawdle for some turns. */
const NEWS = 40
/** The fake monotonic clock goes back a little when the wall clock is set. */
const SLACK = 10
/** How long after a read that failed its tab may not have read again. */
const BLIND = 4 * SECOND
/** A clock of the model moves in steps. */
const STEP = 1.1 * SECOND

/** What must hold of everything that happened, however it came. */
export function judge(log: Log): void {
  for (const sent of Map.groupBy(log.sent, ({ refreshToken }) => refreshToken).values()) assertSentOnce(log, sent)
  for (const call of log.calls) {
    if (call.tab.crashed) continue
    const { settled } = call
    expect(settled, 'every promise settles').toBeDefined()
    if (settled === undefined) continue
    expect(settled.at - call.at, 'within five time-outs').toBeLessThanOrEqual(5 * TIMEOUT + STEP)
    if (settled.error !== undefined) expect(settled.error, 'no error is of another type').toBeInstanceOf(OAuthError)
    if (settled.token !== undefined) assertGood(log, call, settled, settled.token)
  }
  assertEndsAreTrue(log)
  expect(log.wrongKeys, 'sent with another key than theirs').toEqual([])
}

/** Once more at once after a lost answer (R11), then the back-off (R8); never once the successor is known. */
function assertSentOnce({ stored, jumps, wakes, unwritten, unread, changes }: Log, all: Sent[]): void {
  let atOnce = 0
  for (const [index, again] of all.entries()) {
    const before = all[index - 1]
    if (before === undefined) continue
    // Who signs out while the store fails is signed out here and at the server, and others learn of it later.
    const isOver = changes.some(({ tab, at }) => tab === before.tab && at <= again.at)
    if (isOver && unwritten.some(({ tab }) => tab === before.tab)) continue
    const known = stored.some(({ at, record }) => record?.refreshToken === before.successor && at <= again.at)
    // Of what could not be written and may have been all the same nobody knows while nothing can be read either: a store
    // that fails from the start leaves a session to go on from memory.
    const isUnsure = unwritten.some((one) => one.tab === again.tab && one.refreshToken === again.refreshToken)
    if (isUnsure && unread.some(({ tab, at }) => tab === again.tab && at <= again.at && again.at - at < BLIND)) continue
    const keptBy = before.successor !== undefined && (known || !before.tab.crashed)
    expect(keptBy, `${again.refreshToken} was sent though its successor was known`).toBe(false)
    const endedAt = before.endedAt ?? Number.POSITIVE_INFINITY
    expect(before.tab.crashed || endedAt <= again.at + SLACK, 'never two at once').toBe(true)
    const between = (at: number) => before.at - SLACK <= at && at <= again.at + SLACK
    if (unwritten.some(({ tab }) => tab === before.tab)) continue // of how it failed the others may not know
    if (before.tab.crashed || [...jumps, ...unwritten, ...unread].some(({ at }) => between(at)) || wakes.some(between))
      continue
    const waited = again.at - endedAt
    if (before.status === 429) expect(waited, 'Retry-After is obeyed').toBeGreaterThanOrEqual(RETRY_AFTER * SECOND)
    if (before.status === 503) expect(waited, 'trouble is backed off from').toBeGreaterThanOrEqual(SHORTEST_DELAY)
    if (waited < SHORTEST_DELAY) atOnce++
  }
  expect(atOnce, `${all[0]?.refreshToken} was sent again at once`).toBeLessThanOrEqual(1)
}

function assertGood(log: Log, call: Call, at: NonNullable<Call['settled']>, token: string): void {
  const minted = log.minted.get(token)
  expect(minted, 'a token comes from the server').toBeDefined()
  if (minted === undefined) return
  // Who only found it in the store, with a clock that was set back since, cannot know how old it is.
  const setBack = log.jumps.some((jump) => jump.by < 0 && jump.at >= minted.at && jump.at <= at.at + SLACK)
  const forgot = log.changes.some((change) => change.tab === call.tab && change.at >= minted.at)
  if (!setBack || (minted.tab === call.tab && !forgot)) {
    expect(at.at - minted.at, 'no expired token is handed out').toBeLessThan(LIFETIME)
  }
  expect(at.wall - minted.wall, 'nor one that ended by the wall clock').toBeLessThan(LIFETIME)
  expect(call.forgotten, 'no token that was forgotten before it was asked for').not.toContain(token)
  // Where the store has held another session, or none, for a while, everybody knows.
  const lastly = log.stored.findLastIndex(({ record }) => log.isOf(record, minted.family))
  const over = log.stored[lastly + 1]
  if (lastly < 0 || over === undefined) return
  if ([...log.unread, ...log.unwritten].some(({ tab }) => tab === call.tab)) return // it may learn of that later
  expect(at.turn, 'no token of a session that is over').toBeLessThanOrEqual(over.turn + NEWS)
}

/** A session ends because its user or its server says so, or because an answer with its refresh token was lost. */
function assertEndsAreTrue({ stored, sent, families, revokedByServer, unwritten, unread, seed }: Log): void {
  for (const [index, { record }] of stored.entries()) {
    if (!record?.ended || record.ended.reason === 'signed-out') continue
    const { reason } = record.ended
    const before = stored[index - 1]?.record
    if (before?.ended || (!before && unwritten.length > 0)) continue
    const refreshToken = before?.refreshToken ?? seed
    const family = families.get(refreshToken)
    // Where the store failed, the one that was refused may never have been there.
    const isThat = (one: Sent) => one.refreshToken === refreshToken || unwritten.length > 0
    const refused = sent.filter((one) => isThat(one) && one.refused)
    expect(refused.length, `the server refused what ended as ${reason}`).toBeGreaterThan(0)
    if (family !== undefined && revokedByServer.has(family)) continue
    // Where the store failed, what was sent may be in no journal, and who signed out may be known to the server first.
    if (unwritten.length + unread.length > 0) continue
    expect(reason).toBe('rotation-lost')
    const lost = sent.filter((one) => one.refreshToken === refreshToken && !one.successor && !one.refused)
    const crashed = sent.filter((one) => one.refreshToken === refreshToken && one.tab.crashed)
    expect(lost.length + crashed.length, 'an answer was lost').toBeGreaterThan(0)
  }
}
