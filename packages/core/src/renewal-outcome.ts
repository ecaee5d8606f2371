import { AuthorizationServerError, type OAuthError, type StoreError, TokenUnavailableError } from './errors.ts'
import type { HeldToken } from './held-token.ts'
import { duringBackOff, lostLease, ours, sessionEnded } from './renewal-errors.ts'
import { forbids, nextFailure, refusalsAfter, renewalDelay } from './renewal-policy.ts'
import type { SessionCopy } from './session-copy.ts'
import type { SessionOptions, Wanted } from './session-options.ts'
import { ended, type Failure, type SessionEnd, type SessionRecord, succeeded, told } from './session-record.ts'
import type { Issued } from './token-set.ts'

/** One renewal: what is wanted, and with what. */
export interface Renewal extends SessionOptions, Wanted {
  readonly copy: SessionCopy
  /** Tokens that an API refused. */
  readonly rejected: ReadonlySet<string>
  /** Breaks through a back-off: the network has just returned. */
  readonly probe: boolean
  /** Whether somebody signed in or out here since it began. */
  readonly superseded: () => boolean
  /** Whether the lock is still held. */
  readonly leased: () => boolean
  /** Refusals of what this process sent, by token key; '' holds for all. They are not shared: others may send better. */
  readonly refusals: Map<string, Refusal>
  readonly counts: { renewals: number; failures: number }
}

/** An error that does not go away by itself, and when it is looked at again. */
export interface Refusal {
  readonly error: OAuthError
  readonly failure: Failure
}

/** Writes what was issued, unless the session that it belongs to is over: then it is revoked. */
export async function save(
  renewal: Renewal,
  record: SessionRecord,
  tokenSet: Issued,
  event: 'issued' | 'renewed',
): Promise<HeldToken> {
  const { copy } = renewal
  let next = told(succeeded(record, renewal.tokenKey, tokenSet), event)
  for (let tries = 0; tries < 3 && !renewal.superseded(); tries++) {
    if (await copy.write(next)) {
      renewal.refusals.clear()
      if (record.lastSuccessAt !== undefined) renewal.counts.renewals++
      return usable(renewal)
    }
    try {
      await copy.refresh()
    } catch (error) {
      renewal.degraded('a session could not be written and lives in memory', error)
      copy.keep(next)
      return usable(renewal)
    }
    if (copy.record?.ended || copy.record?.refreshToken !== record.refreshToken) break
    next = { ...next, version: copy.base.version }
  }
  if (copy.record && !copy.record.ended) throw lostLease()
  return discard(renewal, tokenSet)
}

/** The store failed and nothing else can be done: remembered here alone, for others may still reach it. */
export function storageFailed({ refusals, counts }: Renewal, cause: StoreError): OAuthError {
  const failure = nextFailure(refusals.get('')?.failure, 'storage', 0)
  const { message, fix, retryable } = cause
  const error = retryable
    ? new TokenUnavailableError('storage', message, { cause, fix, retryAt: failure.retryAt })
    : cause
  refusals.set('', { error, failure })
  counts.failures++
  return error
}

/** What came after the end of its session is revoked. */
export async function discard({ client, degraded }: Renewal, { refreshToken }: Issued): Promise<never> {
  if (refreshToken) {
    await client.revoke(refreshToken, 'refresh_token').catch((error) => {
      degraded('a refresh token that came after the end of its session could not be revoked', error)
    })
  }
  throw sessionEnded('signed-out')
}

export async function end(
  renewal: Renewal,
  record: SessionRecord,
  reason: SessionEnd['reason'],
  cause: OAuthError,
): Promise<never> {
  const error = cause instanceof AuthorizationServerError ? cause.error : undefined
  const { lastSuccessAt } = record
  const written = await write(
    renewal,
    ended(record, { reason, origin: 'server', error, lastSuccessAt, at: Date.now() }),
  )
  throw written ? sessionEnded(reason, cause) : lostLease()
}

/** Remembers a failure (R8), in the record where it may work later, and throws it. */
export async function fail(renewal: Renewal, record: SessionRecord, thrown: unknown): Promise<never> {
  const error = ours(thrown)
  const { code, message, fix, cause, retryable } = error
  if (code === 'busy') throw error
  const known = renewal.refusals.get('')?.error
  if (isOfCredentials(error) && known === error) throw error // remembered by whoever asks for them: nothing was sent
  renewal.counts.failures++
  const scope = code === 'request-refused' && renewal.tokenKey !== renewal.own.tokenKey ? renewal.tokenKey : ''
  const last = retryable ? record.failures?.[scope] : renewal.refusals.get(scope)?.failure
  const failure = nextFailure(last, code, error instanceof TokenUnavailableError ? error.retryAt : 0)
  renewal.refusals.set(scope, { error, failure })
  const failures = retryable ? { ...record.failures, [scope]: failure } : record.failures
  const written = await write(
    renewal,
    told({ ...record, failures }, 'failed', error instanceof AuthorizationServerError ? error.error : code),
  )
  if (!written && !renewal.superseded()) throw lostLease() // somebody else went on meanwhile, perhaps with success
  if (!(error instanceof TokenUnavailableError)) throw error
  throw new TokenUnavailableError(code, message, { cause, fix, retryAt: failure.retryAt })
}

/** Undefined where somebody else's write, or a sign-in or sign-out here, came first. */
export async function write({ copy, superseded }: Renewal, record: SessionRecord): Promise<SessionRecord | undefined> {
  return superseded() ? undefined : copy.write(record)
}

export function assertMine({ leased, superseded }: Renewal): void {
  if (!leased() || superseded()) throw lostLease()
}

export function assertAskable({ probe, tokenKey, refusals }: Renewal, record: SessionRecord): void {
  if (probe) return
  for (const scope of ['', tokenKey]) {
    const refusal = refusals.get(scope)
    if (refusal && !refusal.error.retryable && !isOfCredentials(refusal.error) && forbids(refusal.failure))
      throw refusal.error
    const failure = record.failures?.[scope]
    if (failure && forbids(failure)) throw duringBackOff(failure, refusal?.error)
  }
}

/** R7: these are asked for every time, and sent only where they have changed. */
function isOfCredentials({ code }: OAuthError): boolean {
  return code === 'client-refused' || code === 'credentials-refused'
}

export function assertSameUser({ claims }: SessionRecord, tokenSet: Issued): void {
  if (!claims || !tokenSet.claims || claims.sub === tokenSet.claims.sub) return
  throw new TokenUnavailableError('invalid-response', 'The ID token of a refresh is of another user')
}

/** How many tokens in a row were refused as soon as they were issued; throws while the next one has to wait (R8). */
export function refusalsOf({ refusals = 0 }: SessionRecord, held: HeldToken): number {
  const wait = renewalDelay(refusals) - held.age
  if (wait <= 0) return refusalsAfter(refusals, held.age)
  throw tokenRejected(wait)
}

function tokenRejected(wait: number): OAuthError {
  return new TokenUnavailableError('token-rejected', 'The API refuses every new token', {
    retryAt: Date.now() + wait,
    fix: 'Check that the API takes tokens of this issuer, with this audience and scope.',
  })
}

/** The renewed token, unless the server issued once more what an API had refused. */
export function usable({ copy, tokenKey, rejected }: Renewal): HeldToken {
  const held = copy.held.get(tokenKey)
  if (!held) throw lostLease()
  if (rejected.has(held.stored.accessToken)) throw tokenRejected(renewalDelay(copy.record?.refusals ?? 0))
  return held
}

/** When this token may be asked for again after a failure, epoch milliseconds; 0: at once. */
export function retryAt(
  tokenKey: string,
  record: SessionRecord | undefined,
  refusals: ReadonlyMap<string, Refusal>,
): number {
  const failures = ['', tokenKey].flatMap((scope) => [record?.failures?.[scope], refusals.get(scope)?.failure])
  return Math.max(0, ...failures.map((failure) => (failure && forbids(failure) ? failure.retryAt : 0)))
}
