import { createHash } from 'node:crypto'
import type { StoredRecord, TimelineEvent, TokenStore } from '@keyturn/core'
import { isAnybodyListening, publish, type SessionEvent } from './audit-events.ts'

/** What passes by itself, of the codes that a failure can have. */
const PASSING = new Set([
  'network',
  'timeout',
  'server-error',
  'throttled',
  'busy',
  'storage',
  'invalid-response',
  'callback-failed',
])

/**
 * A store that tells of what is written to it on the channels of `node:diagnostics_channel` (`AuditEvents`): tokens that
 * were issued, renewed or not to be had, sessions that ended. A session's every change goes through its store, once and
 * by one of those who share it; so does its event, in the process that made the change, after the write. Costs one more
 * read per write while somebody listens. Without a store of your own: `auditedStore(memoryStore())`.
 */
export function auditedStore(store: TokenStore): TokenStore {
  const { watch } = store
  /** When the lock was taken, by session key. */
  const locked = new Map<string, number>()
  return {
    keys: store.keys,
    get: (key) => store.get(key),
    async replace(key, expected, next) {
      if (next === undefined || !isAnybodyListening()) return store.replace(key, expected, next)
      const copy = structuredClone(next) // whoever calls may go on with theirs
      const before = await store.get(key)
      const isWritten = await store.replace(key, expected, copy)
      if (isWritten) tell(key, before, copy, locked.get(key))
      return isWritten
    },
    lock: (key, critical, duration) =>
      store.lock(
        key,
        async (lease) => {
          const began = performance.now()
          locked.set(key, began)
          try {
            return await critical(lease)
          } finally {
            if (locked.get(key) === began) locked.delete(key) // it may be another's, whose lease followed
          }
        },
        duration,
      ),
    ...(watch && { watch: (key, listener) => watch.call(store, key, listener) }),
  }
}

function tell(key: string, before: StoredRecord | undefined, next: StoredRecord, began: number | undefined): void {
  const duration = began === undefined ? undefined : Math.round(performance.now() - began)
  for (const line of newLines(before, next)) {
    const { at, detail } = line
    const session = { at, ...namesIn(key), subject: next.claims?.sub ?? before?.claims?.sub }
    switch (line.event) {
      case 'issued':
      case 'renewed':
        publish(`keyturn:token:${line.event}`, { ...session, ...tokenOf(before, next), duration })
        break
      case 'failed': {
        const name = PASSING.has(detail ?? '') ? 'keyturn:token:unavailable' : 'keyturn:token:refused'
        publish(name, { ...session, error: detail, retryAt: retryAtOf(next), duration })
        break
      }
      case 'ended': {
        const { reason = detail ?? '', origin = 'user', error } = next.ended ?? {}
        const since = before?.ended ? undefined : before?.startedAt
        publish('keyturn:session:ended', {
          ...session,
          reason,
          origin,
          error,
          lasted: since === undefined ? undefined : at - since,
        })
      }
    }
  }
}

/** What the story of `next` has, and that of `before` has not. */
function newLines(before: StoredRecord | undefined, next: StoredRecord): TimelineEvent[] {
  // What comes out of a store may be damaged; whoever keeps the session mends it.
  const known = new Set([Object(before).timeline ?? []].flat().map((line) => JSON.stringify(line)))
  return (next.timeline ?? []).filter((line) => !known.has(JSON.stringify(line)))
}

/** The names in a session key, which is a list of them as JSON; with DPoP something follows that. */
function namesIn(key: string): Pick<SessionEvent, 'issuer' | 'clientId' | 'grant' | 'session'> {
  const session = createHash('sha256').update(key).digest('hex').slice(0, 16)
  const [, list = ''] = /^(\[.*\])/s.exec(key) ?? []
  const [issuer, clientId, grant] = listIn(list).map((name) => (typeof name === 'string' ? name : undefined))
  return { session, issuer, clientId, grant }
}

function listIn(text: string): unknown[] {
  try {
    const list: unknown = JSON.parse(text)
    return Array.isArray(list) ? list : []
  } catch {
    return [] // keys of others may be anything
  }
}

/** The token that is new in `next`. */
function tokenOf(before: StoredRecord | undefined, next: StoredRecord) {
  const known = new Set(Object.values(Object(before?.tokens)).map((token) => Object(token).accessToken))
  const token = Object.values(next.tokens).find(({ accessToken }) => !known.has(accessToken))
  return {
    scope: token?.scope,
    tokenType: token?.tokenType,
    lifetime: token && token.expiresAt - token.issuedAt,
  }
}

function retryAtOf({ failures }: StoredRecord): number | undefined {
  const times = Object.values(failures ?? {}).map(({ retryAt }) => retryAt)
  return times.length > 0 ? Math.max(...times) : undefined
}
