import type { Session } from './session.ts'
import type { SessionEnd } from './session-record.ts'
import type { Claims } from './token-set.ts'

/** Who is signed in. `stale`: the last renewal failed. `renewable`: it will outlive its access token. */
export type SessionSnapshot =
  | { readonly status: 'unknown' }
  | { readonly status: 'signedOut'; readonly ended?: SessionEnd }
  | {
      readonly status: 'signedIn'
      readonly claims?: Claims | undefined
      readonly freshness: 'fresh' | 'stale'
      readonly renewable: boolean
    }

/** What a session looks like now. */
export function snapshotOf({ known, copy, stale, signedOutAt }: Session, asksAgain: boolean): SessionSnapshot {
  const { record, held } = copy
  if (!known) return { status: 'unknown' }
  if (record?.ended) {
    const { ended } = record
    const byAnother = ended.origin === 'user' && ended.at !== signedOutAt
    return { status: 'signedOut', ended: byAnother ? { ...ended, origin: 'another' } : ended }
  }
  const renewable = record?.refreshToken !== undefined
  if (
    !record ||
    !(renewable || (asksAgain && held.size > 0) || [...held.values()].some((token) => token.phase !== 'expired'))
  ) {
    return { status: 'signedOut' }
  }
  const freshness = stale ? 'stale' : 'fresh'
  return { status: 'signedIn', claims: record.claims, freshness, renewable: renewable || asksAgain }
}

/** Whether anything that a listener can see is different. */
export function differs(one: SessionSnapshot, other: SessionSnapshot): boolean {
  return JSON.stringify(one) !== JSON.stringify(other)
}
