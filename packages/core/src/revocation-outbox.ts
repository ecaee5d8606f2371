import { timerBehind } from './deadline.ts'
import { type OAuthError, TokenUnavailableError } from './errors.ts'
import { forbids, nextFailure, PROBE_INTERVAL } from './renewal-policy.ts'
import { dead, type Revocation, type RevocationContext, type RevocationOutbox, type Revocations } from './revocation.ts'
import { LONGEST_WAIT } from './server-answers.ts'
import { type Failure, nextVersion, parseRecord, type SessionRecord } from './session-record.ts'
import { storageCall } from './storage-call.ts'
import { versionOf } from './token-store.ts'

/** Milliseconds after a sign-out until what the server could not be told is given up: 7 days. */
const LIFE = 604_800_000
/** How many tokens wait at most; the oldest are given up first. */
const MOST = 100
/** Milliseconds until a store that failed is asked again. */
const AGAIN = 60_000

/** A token that waits. */
interface Pending extends Pick<Revocation, 'token' | 'kind'> {
  /** When it is given up, epoch milliseconds. */
  readonly until: number
}

interface Outbox {
  readonly pending: readonly Pending[]
  /** Keeps all who share the store from sending: while one of them does, and after that failed. */
  readonly failure?: Failure | undefined
}

/**
 * A sign-out that the server cannot be told of is finished later (RFC 7009): what is to be revoked waits in the store, for
 * 7 days at most, and is sent once by whoever uses the store when the server is back.
 */
export function revocationOutbox(): RevocationOutbox {
  return (context) => new StoredRevocations(context)
}

/** `options` with an outbox: what is not a page has one unless it brings its own. */
export function withOutbox<T extends { outbox?: RevocationOutbox | undefined }>(options: T): T {
  return { ...options, outbox: options.outbox ?? revocationOutbox() }
}

/** In a record of its own that all sessions of the client share and that is no session; in memory where the store fails. */
class StoredRevocations implements Revocations {
  readonly #context: RevocationContext
  readonly #key: string
  /** What the store does not have. */
  #memory: Outbox = { pending: [] }
  /** What waited when that was known last. */
  #last = this.#memory
  #timer: ReturnType<typeof setTimeout> | undefined
  #disposed = false

  constructor(context: RevocationContext) {
    const { issuer, clientId } = context.client
    this.#context = context
    this.#key = JSON.stringify([issuer, clientId, 'revocations'])
  }

  async revoke(records: SessionRecord[]): Promise<void> {
    const latest = Date.now() + LIFE
    const pending = dead(records, this.#context.sessions()).map(({ token, kind, expiresAt = latest }) => {
      return { token, kind, until: Math.min(expiresAt, latest) }
    })
    if (pending.length === 0) return
    // Written before there is an answer: whoever signs out may close the page.
    const kept = this.#change((before) => ({ pending: [...before.pending, ...pending], failure: this.#claim(before) }))
    await this.#send(pending, kept)
    void this.flush() // the server is there again: for what waited before, too
  }

  async flush(probe = false): Promise<void> {
    let due: readonly Pending[] = []
    await this.#change((before) => {
      const { failure, pending } = before
      const isDue = !(failure && forbids(failure)) || (probe && Date.now() - failure.at > PROBE_INTERVAL)
      due = isDue ? this.#dead(pending) : []
      return due.length > 0 ? { pending, failure: this.#claim(before) } : before
    })
    await this.#send(due)
  }

  dispose(): void {
    this.#disposed = true
    clearTimeout(this.#timer)
  }

  /** Some servers give at the next sign-in what they gave before. */
  #dead(pending: readonly Pending[]): readonly Pending[] {
    const living = this.#context.sessions()
    const isUsed = (value: string) =>
      living.some(({ refreshToken, tokens }) => {
        return refreshToken === value || Object.values(tokens).some(({ accessToken }) => accessToken === value)
      })
    return pending.filter(({ token }) => !isUsed(token))
  }

  /** Who writes this sends; the others leave it alone until that must be over. */
  #claim({ failure }: Outbox): Failure {
    const at = Date.now()
    return { code: 'busy', count: failure?.count ?? 0, at, retryAt: at + 3 * this.#context.client.timeout }
  }

  async #send([first, ...rest]: readonly Pending[], kept?: Promise<void>): Promise<void> {
    if (first === undefined) return
    const { client, warn } = this.#context
    const told = new Set<string>()
    let outage: OAuthError | undefined
    const send = async ({ token, kind }: Pending) => {
      const error = await client.revoke(token, kind).catch((thrown: OAuthError) => thrown)
      // No metadata is what a captive portal has, too.
      if (error?.retryable || error?.code === 'discovery-failed') {
        outage = error
        return
      }
      if (error) warn(`A token could not be revoked: ${error.message}`)
      told.add(token)
    }
    await send(first)
    if (!outage) await Promise.all(rest.map(send))
    await kept
    await this.#change(({ pending, failure }) => {
      const retryAt = outage instanceof TokenUnavailableError ? outage.retryAt : 0
      return {
        pending: pending.filter(({ token }) => !told.has(token)),
        failure: outage && nextFailure(failure, outage.code, retryAt),
      }
    })
  }

  /** By compare-and-set, so that nobody who shares the store undoes what another did, and one of them sends. */
  async #change(change: (before: Outbox) => Outbox): Promise<void> {
    const { store, degraded } = this.#context
    let failed: unknown
    try {
      for (let tries = 0; store && tries < 10; tries++) {
        const memory = this.#memory
        const found: unknown = await storageCall('answer', () => store.get(this.#key))
        const before = this.#valid(outboxIn(found), memory)
        const next = change(before)
        const isThere = next.pending.length === 0 ? found === undefined : next === before && memory.pending.length === 0
        const version = versionOf(found)
        if (
          isThere ||
          (await storageCall('answer', () => store.replace(this.#key, version, recordOf(next, version))))
        ) {
          if (this.#memory === memory) this.#memory = { pending: [] }
          return this.#schedule(next)
        }
      }
    } catch (error) {
      failed = error
    }
    const before = this.#valid(this.#memory)
    this.#memory = change(before)
    if (failed && this.#memory !== before) degraded('what is to be revoked could not be stored', failed)
    if (failed && this.#memory.pending.length === 0) this.#schedule(this.#last, AGAIN)
    else this.#schedule(this.#memory)
  }

  /** What can still be sent. */
  #valid(...boxes: Outbox[]): Outbox {
    const now = Date.now()
    const all = new Map(boxes.flatMap(({ pending }) => pending.map((one) => [one.token, one])))
    const pending = [...all.values()].filter(({ until }) => until > now).slice(-MOST)
    const lost = [...all.values()].filter((one) => one.kind === 'refresh_token' && !pending.includes(one))
    if (lost.length > 0) this.#context.warn('The server was never told of a sign-out, and its tokens live on')
    return { pending, failure: boxes.find(({ failure }) => failure)?.failure }
  }

  /** No timer keeps a process alive. */
  #schedule(outbox: Outbox, least = 1000): void {
    const { pending, failure } = outbox
    this.#last = outbox
    clearTimeout(this.#timer)
    if (pending.length === 0 || !failure || this.#disposed) return
    const delay = Math.min(Math.max(failure.retryAt - Date.now(), least), LONGEST_WAIT)
    this.#timer = timerBehind(() => void this.flush(), delay + 1)
  }
}

function recordOf({ pending, failure }: Outbox, version: number | undefined): SessionRecord | undefined {
  if (pending.length === 0) return undefined
  const record = { format: 1, version: nextVersion(version), tokens: {}, revocations: pending } as const
  return failure ? { ...record, failures: { '': failure } } : record
}

/** What a store gave, believed in nothing. */
function outboxIn(found: unknown): Outbox {
  const record = parseRecord(found)
  const { revocations } = Object(record)
  const latest = Date.now() + LIFE
  const pending = [revocations ?? []].flat().flatMap((one: unknown): Pending[] => {
    const { token, kind, until } = Object(one)
    const isSound = typeof token === 'string' && /^(refresh|access)_token$/.test(kind) && until > 0
    return isSound ? [{ token, kind, until: Math.min(until, latest) }] : []
  })
  return { pending, failure: record?.failures?.[''] }
}
