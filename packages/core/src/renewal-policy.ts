import type { OAuthError } from './errors.ts'
import { LONGEST_WAIT } from './server-answers.ts'
import type { Failure, SessionRecord } from './session-record.ts'
import type { Issued } from './token-set.ts'

/** Milliseconds after a token's issue at which it should be renewed, must be renewed, and is expired. */
export interface Thresholds {
  should: number
  must: number
  expired: number
}

/** Where `factor` comes from: drawn once, so that those who share a store do not all wake at once. */
export const drawFactor = (): number => 0.75 + Math.random() / 2

/** R2: `lifetime` in milliseconds; `factor` between 0.75 and 1.25. */
export function thresholds(lifetime: number, factor: number): Thresholds {
  const lead = Math.min(lifetime * 0.2, 300_000) * factor
  return { should: lifetime - lead, must: lifetime - Math.min(10_000, lifetime * 0.05), expired: lifetime }
}

const FIRST_DELAY = 1000
const LONGEST_DELAY = 120_000

function doubled(count: number): number {
  return Math.min(FIRST_DELAY * 2 ** (count - 1), LONGEST_DELAY)
}

/** R8: the failure to remember after one more of them; `told` is when the server wants to be asked again. */
export function nextFailure(
  last: Failure | undefined,
  code: Failure['code'],
  told: number,
  now: number = Date.now(),
): Failure {
  const count = (last?.count ?? 0) + 1
  const delay = doubled(count)
  const retryAt =
    told > now ? Math.min(told, now + LONGEST_WAIT) : Math.round(now + delay / 2 + (Math.random() * delay) / 2)
  return { code, count, at: now, retryAt }
}

/** What failed here last, and when it is looked at again. */
export interface Failed {
  readonly error: OAuthError
  readonly failure: Failure
}

/** The same of an error that no server told a time of. */
export function failedAgain(error: OAuthError, last: Failed | undefined): Failed {
  return { error, failure: nextFailure(last?.failure, error.code, 0) }
}

/** Whether a failure still forbids to ask; one from the future, or without end, is a mistake and forbids nothing. */
export function forbids({ retryAt, at }: Failure, now: number = Date.now()): boolean {
  return now < retryAt && now >= at && retryAt - at <= LONGEST_WAIT
}

/** One of these at most every so often may break through a back-off, when the network returns or a page is shown. */
export const PROBE_INTERVAL = 30_000

const ACCEPTED_AFTER = 5000

/** R8: an API refused a token of this age; how many in a row were refused so soon that they were never accepted. */
export function refusalsAfter(before: number, age: number): number {
  return age < ACCEPTED_AFTER + renewalDelay(before) ? before + 1 : 0
}

/** Milliseconds after its issue before a token that was refused at once may be renewed. */
export function renewalDelay(refusals: number): number {
  return refusals === 0 ? 0 : doubled(refusals)
}

/** Whether what somebody wrote since `before` is newer than `tokenSet`; never where that has rotated the refresh token. */
export function isOvertaken(
  now: SessionRecord | undefined,
  before: SessionRecord,
  tokenKey: string,
  { issuedAt, refreshToken = before.refreshToken }: Issued,
): boolean {
  const theirs = now?.tokens[tokenKey]
  // What was there before may look newer, where a clock was set back.
  const isNew = theirs?.accessToken !== before.tokens[tokenKey]?.accessToken
  return isNew && Number(theirs?.issuedAt) > issuedAt && refreshToken === before.refreshToken
}
