import type { Session } from './session.ts'
import type { SessionEnd } from './session-record.ts'
import type { Claims } from './token-set.ts'

/** Who is signed in. `stale`: the last renewal failed. `renewable`: it will outlive its access token. */
export type SessionSnapshot<C extends Claims = Claims> =
  | { readonly status: 'unknown' }
  | { readonly status: 'signedOut'; readonly ended?: SessionEnd }
  | {
      readonly status: 'signedIn'
      readonly claims?: C | undefined
      readonly freshness: 'fresh' | 'stale'
      readonly renewable: boolean
    }

/** What a session looks like now. */
export function snapshotOf({ known, base, held, failed, intentAt, options }: Session): SessionSnapshot {
  if (!known) return { status: 'unknown' }
  const { ended, refreshToken, claims, failures } = base
  if (ended) {
    const byAnother = ended.origin === 'user' && ended.at !== intentAt
    return { status: 'signedOut', ended: byAnother ? { ...ended, origin: 'another' } : ended }
  }
  const tokens = [...held.values()]
  const renewable = refreshToken !== undefined || options.asksAgain
  if (!refreshToken && !(options.asksAgain ? tokens.length : tokens.some((token) => token.until('expired')))) {
    return { status: 'signedOut' }
  }
  const stale = failures?.[''] || failed.has('')
  return { status: 'signedIn', ...(claims && { claims }), freshness: stale ? 'stale' : 'fresh', renewable }
}
