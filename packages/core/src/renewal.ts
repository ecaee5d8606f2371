import type { Client } from './client.ts'
import { AuthorizationServerError, LoginRequiredError, type OAuthError, type StoreError, TokenUnavailableError } from './errors.ts'
import type { HeldToken } from './held-token.ts'
import { duringBackOff, lostLease, ours, sessionEnded } from './renewal-errors.ts'
import { forbidding, nextFailure, refusalsAfter, renewalDelay } from './renewal-policy.ts'
import type { SessionCopy } from './session-copy.ts'
import { emptyRecord, ended, type SessionEnd, type SessionRecord, succeeded, told } from './session-record.ts'
import { tokenParameters } from './token-parameters.ts'
import { lifetimeOf } from './token-response.ts'
import type { TokenSet } from './token-set.ts'
import type { AccessTokenRequest } from './token-source.ts'

/** What to do when there is nothing to refresh: ask again, or reject with a `LoginRequiredError`. */
export type Grant = (client: Client, request: TokenRequest) => Promise<TokenSet>

/** What a grant is asked for: the caller's wishes, completed with the source's own. */
export type TokenRequest = Pick<AccessTokenRequest, 'scope' | 'parameters'> & { resource?: string | string[] | undefined }

/** One renewal: what is wanted, and with what. */
export interface Renewal {
  readonly client: Client
  readonly grant: Grant
  readonly copy: SessionCopy
  readonly tokenKey: string
  readonly request: TokenRequest
  /** Whether the token is another one than the session's own. */
  readonly isOther: boolean
  /** Tokens that an API refused. */
  readonly rejected: ReadonlySet<string>
  /** Breaks through a back-off: the network has just returned. */
  readonly probe: boolean
  /** Whether somebody signed in or out here since it began. */
  readonly superseded: () => boolean
  /** Whether the lock is still held. */
  readonly leased: () => boolean
  /** The last error, for those who ask during the back-off. */
  readonly last: { error?: OAuthError }
  readonly counts: { renewals: number; failures: number }
  readonly degraded: (what: string, cause?: unknown) => void
}

/**
 * R5, under the lock: re-read → check the lease → journal "sending" → request → replace if unchanged. Rejects with an
 * `OAuthError`; what the failure means for the session is in the record by then.
 */
export async function renew(renewal: Renewal): Promise<HeldToken> {
  const { copy, tokenKey, rejected } = renewal
  await copy.refresh()
  assertMine(renewal)
  const held = copy.held.get(tokenKey)
  if (held?.phase === 'fresh' && !rejected.has(held.stored.accessToken)) return held
  const stored = copy.record ?? emptyRecord()
  assertAskable(renewal, stored)
  const record = { ...stored, refusals: held && rejected.has(held.stored.accessToken) ? refusalsOf(stored, held) : 0 }
  return record.refreshToken === undefined ? ask(renewal, record) : refresh(renewal, record, record.refreshToken)
}

/** R12, the store cannot be read or locked: a grant that can ask again goes on from memory, the others wait. */
export async function renewWithoutStore(renewal: Renewal, cause: StoreError): Promise<HeldToken> {
  const { copy, tokenKey } = renewal
  const record = { ...(copy.record ?? emptyRecord()), refreshToken: undefined }
  assertAskable(renewal, record)
  renewal.degraded('the token store fails, tokens live in memory', cause)
  try {
    copy.keep(told(succeeded(record, tokenKey, await issued(renewal)), 'issued'))
  } catch (error) {
    if (!(error instanceof LoginRequiredError)) return fail(renewal, copy.record ?? record, error, async (_, next) => (copy.keep(next), true))
    throw cause.retryable ? new TokenUnavailableError('storage', cause.message, { cause, fix: cause.fix }) : cause
  }
  return usable(renewal)
}

async function ask(renewal: Renewal, record: SessionRecord): Promise<HeldToken> {
  let tokenSet: Issued
  try {
    tokenSet = await issued(renewal)
  } catch (error) {
    if (!(error instanceof LoginRequiredError)) return fail(renewal, record, error)
    const valid = [...renewal.copy.held.values()].some((held) => held.phase !== 'expired')
    if (valid || Object.keys(record.tokens).length === 0) throw record.ended ? sessionEnded(record.ended.reason) : error
    return end(renewal, record, 'expired', error)
  }
  return save(renewal, record, tokenSet, 'issued')
}

async function refresh(renewal: Renewal, before: SessionRecord, refreshToken: string): Promise<HeldToken> {
  const { client, request, isOther } = renewal
  const parameters = tokenParameters(isOther ? request : { parameters: request.parameters })
  parameters.set('refresh_token', refreshToken)
  // Whoever comes after a crash learns from the journal that this refresh token may be spent.
  const record = { ...before, sending: before.sending ?? Date.now() }
  if (!(await write(renewal, record))) throw lostLease()
  let lost = before.sending !== undefined
  for (;;) {
    let sent = false
    const beforeSend = () => {
      assertMine(renewal)
      sent = true
    }
    let tokenSet: Issued
    try {
      tokenSet = await completed(() => client.tokenRequest('refresh_token', parameters, { beforeSend }))
      assertSameUser(record, tokenSet)
    } catch (error) {
      const { code } = error as OAuthError
      if (code === 'credentials-refused') return refused(renewal, record, error as OAuthError, lost)
      const noAnswer = sent && (code === 'network' || code === 'timeout')
      if (noAnswer && !lost) {
        lost = true // R11: once more with the same refresh token, for the answer may be all that was lost
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
  const { copy } = renewal
  await copy.refresh()
  if (copy.record?.refreshToken !== record.refreshToken) throw lostLease()
  const rest = { ...record, refreshToken: undefined, sending: undefined }
  let tokenSet: Issued
  try {
    tokenSet = await issued(renewal)
  } catch (asked) {
    if (!(asked instanceof LoginRequiredError)) return fail(renewal, rest, asked)
    return end(renewal, record, lost ? 'rotation-lost' : 'refused', error)
  }
  return save(renewal, rest, tokenSet, 'issued')
}

/** Writes what was issued, unless the session that it belongs to is over: then it is revoked. */
async function save(renewal: Renewal, record: SessionRecord, tokenSet: Issued, event: 'issued' | 'renewed'): Promise<HeldToken> {
  const { copy, client } = renewal
  const next = told(succeeded(record, renewal.tokenKey, tokenSet), event)
  for (let tries = 0; tries < 3 && !renewal.superseded(); tries++) {
    if (await copy.write(next)) {
      if (record.lastSuccessAt !== undefined) renewal.counts.renewals++
      return usable(renewal)
    }
    await copy.refresh()
    if (copy.record?.ended || copy.record?.refreshToken !== record.refreshToken) break
  }
  if (copy.record && !copy.record.ended) throw lostLease()
  if (tokenSet.refreshToken) {
    await client.revoke(tokenSet.refreshToken, 'refresh_token').catch((error) => {
      renewal.degraded('a refresh token that came after the end of its session could not be revoked', error)
    })
  }
  throw sessionEnded('signed-out')
}

async function end(renewal: Renewal, record: SessionRecord, reason: SessionEnd['reason'], cause: OAuthError): Promise<never> {
  const error = cause instanceof AuthorizationServerError ? cause.error : undefined
  const { lastSuccessAt } = record
  const written = await write(renewal, ended(record, { reason, origin: 'server', error, lastSuccessAt, at: Date.now() }))
  throw written ? sessionEnded(reason, cause) : lostLease()
}

/** Remembers a failure in the record (R8) and throws it. */
async function fail(renewal: Renewal, record: SessionRecord, thrown: unknown, keep = write): Promise<never> {
  const error = ours(thrown)
  const { code, message, fix, cause } = error
  if (code === 'busy') throw error
  renewal.last.error = error
  renewal.counts.failures++
  const answer = error instanceof AuthorizationServerError ? error.answer : undefined
  const askLater = error instanceof TokenUnavailableError ? error.retryAt : 0
  const scope = code === 'request-refused' && renewal.isOther ? renewal.tokenKey : ''
  const failure = nextFailure(record.failures?.[scope], code, askLater, answer)
  await keep(renewal, told({ ...record, failures: { ...record.failures, [scope]: failure } }, 'failed', answer?.error ?? code))
  if (!(error instanceof TokenUnavailableError)) throw error
  throw new TokenUnavailableError(code, message, { cause, fix, retryAt: failure.retryAt })
}

/** False where somebody else's write, or a sign-in or sign-out here, came first. */
async function write({ copy, superseded }: Renewal, record: SessionRecord): Promise<boolean> {
  return !superseded() && (await copy.write(record))
}

function assertMine({ leased, superseded }: Renewal): void {
  if (!leased() || superseded()) throw lostLease()
}

function assertAskable({ probe, tokenKey, last }: Renewal, record: SessionRecord): void {
  const failure = forbidding(record, tokenKey)
  if (failure && !probe) throw duringBackOff(failure, last.error)
}

function assertSameUser({ claims }: SessionRecord, tokenSet: Issued): void {
  if (!claims || !tokenSet.claims || claims.sub === tokenSet.claims.sub) return
  throw new TokenUnavailableError('invalid-response', 'The ID token of a refresh is of another user')
}

/** How many tokens in a row were refused as soon as they were issued; throws while the next one has to wait (R8). */
function refusalsOf({ refusals = 0 }: SessionRecord, held: HeldToken): number {
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
function usable({ copy, tokenKey, rejected }: Renewal): HeldToken {
  const held = copy.held.get(tokenKey)
  if (!held) throw lostLease()
  if (rejected.has(held.stored.accessToken)) throw tokenRejected(renewalDelay(copy.record?.refusals ?? 0))
  return held
}

type Issued = TokenSet & { issuedAt: number }

/** What the grant yields, complete: grants of others may leave out when, and err about until when. */
async function completed(request: () => Promise<TokenSet>): Promise<Issued> {
  const before = Date.now()
  const tokenSet = await request().catch((error) => {
    throw ours(error)
  })
  const { accessToken, issuedAt = before, expiresAt } = tokenSet
  if (typeof accessToken !== 'string' || accessToken === '') {
    throw new TokenUnavailableError('invalid-response', 'The grant yielded no access token')
  }
  return { ...tokenSet, issuedAt, expiresAt: issuedAt + lifetimeOf((expiresAt - issuedAt) / 1000) * 1000 }
}

function issued({ grant, client, request }: Renewal): Promise<Issued> {
  return completed(async () => grant(client, request))
}
