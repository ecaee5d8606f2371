import { settledWithin, within } from './deadline.ts'
import { AuthorizationServerError, LoginRequiredError, type OAuthError, TokenUnavailableError } from './errors.ts'
import { completed } from './grant.ts'
import type { HeldToken } from './held-token.ts'
import { isOfCredentials, lostLease, ours, sessionEnded, tokenRejected, unavailable } from './renewal-errors.ts'
import { forbids, isOvertaken, nextFailure, refusalsAfter, renewalDelay } from './renewal-policy.ts'
import type { SessionCopy } from './session-copy.ts'
import type { Wanted } from './session-options.ts'
import { emptyRecord, ended, type SessionEnd, type SessionRecord, succeeded, told } from './session-record.ts'
import { tokenParameters } from './token-parameters.ts'
import type { Issued } from './token-set.ts'

/** One renewal: what is wanted, and under which circumstances. */
export interface Renewal extends Wanted {
  readonly session: SessionCopy
  /** Tokens that an API refused. */
  readonly rejected: ReadonlySet<string>
  /** Breaks through a back-off: the network has just returned. */
  readonly probe: boolean
  /** Whether nobody signed in or out here since it began. */
  readonly isCurrent: () => boolean
  /** Whether, besides, the lock is still held. */
  readonly isMine: () => boolean
  /** R12: the store cannot be read, or not be locked. */
  readonly storeError?: OAuthError | undefined
}

/**
 * R5, under the lock: re-read → check the lease → journal "sending" → request → replace if unchanged. Rejects with an
 * `OAuthError`; what the failure means for the session is in the record by then.
 */
export async function renew(renewal: Renewal): Promise<HeldToken> {
  const { session, tokenKey, rejected, storeError } = renewal
  if (!session.base.ended) await session.saved // one write after another
  await (storeError ? look(session) : session.load())
  assertMine(renewal)
  const held = session.held.get(tokenKey)
  const refused = held && rejected.has(held.stored.accessToken)
  if (!refused && held?.until('should')) {
    session.failed.clear() // a sibling did better
    return held
  }
  assertAskable(renewal, session.base)
  const record = { ...session.base, refusals: refused ? refusalsOf(session.base, held) : 0 }
  const { refreshToken } = record
  if (storeError) session.options.degraded('the token store fails, tokens live in memory', storeError)
  // A refresh token that others may have waits for the store.
  if (refreshToken && !(storeError && session.isShared(refreshToken))) {
    return refresh(renewal, record, refreshToken)
  }
  return ask(renewal, record, (error) => {
    const { ended: over, tokens } = record
    if (over && (!storeError || session.unsaved)) throw sessionEnded(over.reason)
    if (storeError) return fail(renewal, record, storeError)
    const valid = [...session.held.values()].some((other) => other.until('expired'))
    if (valid || Object.keys(tokens).length === 0) throw error
    return end(renewal, record, 'expired', error)
  })
}

/** Where the lock alone fails, it can be seen whether others have what was not written for certain, and what they did. */
function look(session: SessionCopy): Promise<void> {
  const looked = session.save().then(() => session.load())
  return settledWithin(1000, looked.then(session.options.changed))
}

/** What the grant does when there is nothing to refresh, or it has to wait; `over` where that needs a person. */
async function ask(
  renewal: Renewal,
  record: SessionRecord,
  over: (error: LoginRequiredError) => Promise<never>,
): Promise<HeldToken> {
  const { session, request } = renewal
  const { grant, client } = session.options
  const late = () => new TokenUnavailableError('timeout', 'The grant did not answer')
  let tokenSet: Issued
  try {
    tokenSet = await completed(() => within(3 * client.timeout, late, async () => grant(client, request)))
  } catch (error) {
    return error instanceof LoginRequiredError ? over(error) : fail(renewal, record, error)
  }
  const before = { ...record, refreshToken: undefined } // it ends with the grant's success, not with a failure (R6)
  return save(renewal, before, { ...tokenSet, scope: tokenSet.scope ?? request.scope }, 'issued')
}

async function refresh(renewal: Renewal, before: SessionRecord, refreshToken: string): Promise<HeldToken> {
  const { session, request, storeError } = renewal
  const { client, own, warn } = session.options
  // Many servers that rotate shrink the session for good when they are asked for less than it has.
  const scope = request.scope === own.request.scope ? undefined : request.scope
  const resource = String(request.resource) === String(own.request.resource) ? undefined : request.resource
  if (scope !== undefined) warn('A refresh asks for other scope than the session has: some servers keep it that narrow')
  const parameters = tokenParameters({ ...request, scope, resource })
  parameters.set('refresh_token', refreshToken)
  // Whoever comes after a crash learns from the journal that this refresh token may be spent.
  const written = await write(renewal, { ...before, sending: before.sending ?? Date.now() })
  const record = session.base
  if (!written || record.refreshToken !== refreshToken) throw lostLease()
  let lost = before.sending !== undefined
  for (;;) {
    let sent = false
    const beforeSend = () => {
      assertMine(renewal, refreshToken)
      sent = true
    }
    let tokenSet: Issued
    try {
      const checks = { beforeSend, refreshed: { claims: record.claims, warn }, key: record.key }
      tokenSet = await completed(() => client.tokenRequest('refresh_token', parameters, checks))
    } catch (error) {
      const { code, error: said } = error as AuthorizationServerError
      if (said === 'invalid_grant') return refused(renewal, record, error as OAuthError, lost)
      if (sent && (code === 'network' || code === 'timeout') && !lost) {
        lost = true // R11: once more with the same refresh token, for the answer may be all that was lost
        if (storeError) await look(session) // it took its time
        continue
      }
      const answered = !sent || error instanceof AuthorizationServerError || code === 'throttled'
      return fail(renewal, answered && !lost ? { ...record, sending: undefined } : record, error)
    }
    return save(renewal, record, tokenSet, 'renewed')
  }
}

/** R6: the server refused the refresh token. Is it still the newest? Can the grant ask again? Else it is over. */
async function refused(renewal: Renewal, record: SessionRecord, error: OAuthError, lost: boolean): Promise<HeldToken> {
  const { session } = renewal
  session.options.counts.failures++
  if (!session.unsaved) await session.load()
  if (session.record?.refreshToken !== record.refreshToken) throw lostLease()
  const without = told({ ...record, refreshToken: undefined, sending: undefined }, 'failed', 'invalid_grant')
  return ask(renewal, without, () => end(renewal, record, lost ? 'rotation-lost' : 'refused', error))
}

/** Writes what was issued, unless the session that it belongs to is over: then it is revoked. */
async function save(
  renewal: Renewal,
  before: SessionRecord,
  tokenSet: Issued,
  event: 'issued' | 'renewed',
): Promise<HeldToken> {
  const { session, tokenKey, isCurrent } = renewal
  const { counts, revoke, degraded } = session.options
  let next = told(succeeded(before, tokenKey, tokenSet), event)
  for (let tries = 0; isCurrent(); tries++) {
    if (await write(renewal, next)) {
      session.failed.clear()
      if (before.lastSuccessAt !== undefined) counts.renewals++
      return usable(renewal)
    }
    try {
      if (tries === 3) throw lostLease() // a store that takes nothing and has nothing newer is one that fails
      await session.load()
    } catch (error) {
      degraded('a session could not be written and lives in memory', error)
      session.keep(next)
      return usable(renewal)
    }
    const { record } = session
    if (record?.ended || record?.refreshToken !== before.refreshToken) break
    if (isOvertaken(record, before, tokenKey, tokenSet)) return usable(renewal)
    next = { ...next, version: session.base.version }
  }
  const { record } = session
  const isOver = !record || record.ended
  // A sibling's tokens of the same session may be of one family with these: revoking one would end them all.
  const isAnother = before.startedAt !== undefined && record?.startedAt !== before.startedAt
  if (isOver || isAnother) await revoke(succeeded(emptyRecord(), tokenKey, tokenSet))
  throw isOver ? sessionEnded('signed-out') : lostLease()
}

async function end(
  renewal: Renewal,
  record: SessionRecord,
  reason: SessionEnd['reason'],
  cause: OAuthError,
): Promise<never> {
  const error = cause instanceof AuthorizationServerError ? cause.error : undefined
  const over = ended(record, { reason, origin: 'server', error, lastSuccessAt: record.lastSuccessAt, at: Date.now() })
  throw (await write(renewal, over)) ? sessionEnded(reason, cause) : lostLease()
}

/** Remembers a failure (R8), in the record where it may work later, and throws it. */
async function fail(renewal: Renewal, before: SessionRecord, thrown: unknown): Promise<never> {
  const { session, tokenKey, isCurrent, storeError } = renewal
  // Without the lock siblings go on meanwhile: what they wrote is not undone.
  const record = storeError && session.base.version !== before.version ? session.base : before
  const { counts, own } = session.options
  const error = ours(thrown)
  const { code, retryable } = error
  if (code === 'busy') throw error
  if (isOfCredentials(error) && session.failed.get('')?.error === error) throw error // nothing was sent
  counts.failures++
  const scope = code === 'request-refused' && tokenKey !== own.tokenKey ? tokenKey : ''
  const isShared = retryable && error !== storeError
  const last = isShared ? record.failures?.[scope] : session.failed.get(scope)?.failure
  // Whoever comes asks the store once more; only those who waited for it make the next wait longer.
  const tooSoon = error === storeError && last && forbids(last)
  const failure = tooSoon ? last : nextFailure(last, code, error instanceof TokenUnavailableError ? error.retryAt : 0)
  session.failed.set(scope, { error, failure })
  const failures = isShared ? { ...record.failures, [scope]: failure } : record.failures
  const next = told({ ...record, failures }, 'failed', error instanceof AuthorizationServerError ? error.error : code)
  if (storeError) {
    if (isShared && isCurrent()) session.keep(next)
  } else if (!(await write(renewal, next)) && isCurrent()) {
    throw lostLease() // somebody else went on meanwhile, perhaps with success
  }
  throw retryable ? unavailable(failure, error) : error
}

/** False where somebody else's write, or a sign-in or sign-out here, came first. */
async function write({ session, isCurrent, storeError }: Renewal, record: SessionRecord): Promise<boolean> {
  // A sign-in that the store could not take yet comes first, and wins over whatever it has.
  if (!storeError && session.holdsSignIn) await session.save()
  if (!isCurrent()) return false
  if (!storeError && !session.holdsSignIn) return session.write(record)
  session.keep(record)
  return true
}

function assertMine({ isMine, session }: Renewal, refreshToken: string | undefined = session.base.refreshToken): void {
  if (!isMine() || session.base.refreshToken !== refreshToken) throw lostLease() // or a sibling has gone on from it
}

function assertAskable({ probe, tokenKey, session }: Renewal, record: SessionRecord): void {
  if (probe) return
  for (const scope of ['', tokenKey]) {
    const failed = session.failed.get(scope)
    if (failed && !failed.error.retryable && !isOfCredentials(failed.error) && forbids(failed.failure)) {
      throw failed.error
    }
    const failure = record.failures?.[scope]
    if (failure && forbids(failure)) throw unavailable(failure, failed?.error)
  }
}

/** How many tokens in a row were refused as soon as they were issued; throws while the next one has to wait (R8). */
function refusalsOf({ refusals = 0 }: SessionRecord, held: HeldToken): number {
  const wait = renewalDelay(refusals) - held.age
  if (wait > 0) throw tokenRejected(wait)
  return refusalsAfter(refusals, held.age)
}

/** The renewed token, unless the server issued once more what an API had refused. */
function usable({ session, tokenKey, rejected }: Renewal): HeldToken {
  const held = session.held.get(tokenKey)
  if (!held) throw lostLease()
  if (rejected.has(held.stored.accessToken)) throw tokenRejected(renewalDelay(session.base.refusals ?? 0))
  return held
}
