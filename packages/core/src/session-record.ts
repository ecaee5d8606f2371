import type { CryptoKeyPair, JWK } from 'oauth4webapi'
import { type AuthorizationDetail, detailsIn } from './authorization-details.ts'
import type { OAuthErrorCode } from './errors.ts'
import type { Claims, Issued } from './token-set.ts'

/** An access token as it is kept; times are epoch milliseconds. */
export interface StoredToken {
  readonly accessToken: string
  readonly tokenType: 'Bearer' | 'DPoP'
  readonly issuedAt: number
  readonly expiresAt: number
  readonly scope?: string | undefined
  readonly authorizationDetails?: readonly AuthorizationDetail[] | undefined
}

/**
 * A key that tokens are bound to (RFC 9449), as far as its store can keep it: the pair itself, a private JWK where it is
 * kept encrypted, or the thumbprint alone (RFC 7638).
 */
export interface StoredKey {
  readonly thumbprint: string
  readonly pair?: CryptoKeyPair | undefined
  readonly jwk?: JWK | undefined
}

/** A renewal that failed and may work later: nothing is sent again before `retryAt`. */
export interface Failure {
  readonly code: OAuthErrorCode
  readonly count: number
  readonly at: number
  readonly retryAt: number
}

/** Why and when a session ended. */
export interface SessionEnd {
  /** `signed-out`: by `logout()` or `revoke()`; `idle`: nobody was there for as long as the app allows; `refused`: the server refused the refresh token; `rotation-lost`: it refused one whose last answer never arrived; `expired`: nothing to renew with; `storage-cleared`, `damaged`: the stored session is gone or unreadable; `key-lost`: the key that it is bound to is gone. */
  readonly reason:
    | 'signed-out'
    | 'idle'
    | 'refused'
    | 'rotation-lost'
    | 'expired'
    | 'storage-cleared'
    | 'damaged'
    | 'key-lost'
  /** `user`: here; `another`: another tab or process that shares the store. */
  readonly origin: 'user' | 'another' | 'server' | 'storage'
  /** The server's error code. */
  readonly error?: string | undefined
  readonly lastSuccessAt?: number | undefined
  readonly at: number
}

/** Why somebody ends a session; default: `signed-out` by the `user`. */
export interface SignOut {
  readonly reason?: 'signed-out' | 'idle' | undefined
  readonly origin?: 'user' | 'server' | undefined
}

/** One line of a session's story; never a secret. */
export interface TimelineEvent {
  readonly at: number
  readonly event: 'issued' | 'renewed' | 'failed' | 'ended' | 'degraded'
  readonly detail?: string | undefined
}

/** What is kept of a session: plain data. */
export interface SessionRecord {
  readonly format: 1
  /** Grows with every write and is never used twice, not even after a removal. */
  readonly version: number
  readonly tokens: Readonly<Record<string, StoredToken>>
  readonly refreshToken?: string | undefined
  /** Hash of the refresh token that the session was seeded with. */
  readonly seed?: string | undefined
  readonly idToken?: string | undefined
  readonly claims?: Claims | undefined
  /** What its tokens are bound to (RFC 9449). Default: nothing. */
  readonly key?: StoredKey | undefined
  /** Journal: the refresh token was sent at this time and no clear answer came. */
  readonly sending?: number | undefined
  /** By token key; '' holds for all. */
  readonly failures?: Readonly<Record<string, Failure>> | undefined
  /** How many tokens in a row an API refused within seconds of their issue. */
  readonly refusals?: number | undefined
  readonly ended?: SessionEnd | undefined
  readonly lastSuccessAt?: number | undefined
  /** When this session began: with its first token. */
  readonly startedAt?: number | undefined
  /** Until when the server says that the refresh token is good. */
  readonly refreshTokenExpiresAt?: number | undefined
  readonly timeline?: readonly TimelineEvent[] | undefined
}

const TIMELINE_LENGTH = 40

/** The next version: past the last one, and past every version of a record that was here before and is gone. */
export function nextVersion(last: number | undefined): number {
  return Math.max((isVersion(last) ? last : 0) + 1, Date.now())
}

/** A record with nothing in it but where it comes from. */
export function emptyRecord(before?: SessionRecord): SessionRecord {
  return { format: 1, version: before?.version ?? 0, tokens: {}, timeline: before?.timeline }
}

/** `record` with one more line in its story. */
export function told(
  record: SessionRecord,
  event: TimelineEvent['event'],
  detail?: string,
  at: number = Date.now(),
): SessionRecord {
  return { ...record, timeline: [...(record.timeline ?? []), { at, event, detail }].slice(-TIMELINE_LENGTH) }
}

/** `record` after a token response: RFC 6749 section 6, where no new refresh token is returned the old one stays. */
export function succeeded(record: SessionRecord, tokenKey: string, tokenSet: Issued): SessionRecord {
  const { accessToken, tokenType, issuedAt, expiresAt, scope, authorizationDetails } = tokenSet
  const token: StoredToken = { accessToken, tokenType, issuedAt, expiresAt, scope, authorizationDetails }
  const tokens: Record<string, StoredToken> = { [tokenKey]: token }
  // Those that are bound to another key than the session is from now on are of no use: nothing could prove them.
  const isSameKey = tokenSet.key?.thumbprint === record.key?.thumbprint
  for (const [key, other] of Object.entries(record.tokens)) {
    if (key !== tokenKey && isSameKey && other.expiresAt > issuedAt) tokens[key] = other
  }
  const { failures: _, sending: __, ended: ___, ...rest } = record
  return {
    ...rest,
    tokens,
    refreshToken: tokenSet.refreshToken ?? record.refreshToken,
    idToken: tokenSet.idToken ?? record.idToken,
    claims: tokenSet.claims ?? record.claims,
    key: tokenSet.key,
    lastSuccessAt: issuedAt,
    startedAt: (record.ended ? undefined : record.startedAt) ?? issuedAt,
    refreshTokenExpiresAt:
      tokenSet.refreshTokenExpiresAt ?? (tokenSet.refreshToken ? undefined : record.refreshTokenExpiresAt),
  }
}

/** Whether `found` is the session that began with `record`, from which nothing else has come here since. */
export function isContinued({ startedAt, lastSuccessAt }: SessionRecord, found: SessionRecord | undefined): boolean {
  return startedAt !== undefined && startedAt === lastSuccessAt && startedAt === found?.startedAt
}

/** What is left of a session that ended: no token, only its story, and which one it was. */
export function ended(record: SessionRecord, end: SessionEnd): SessionRecord {
  const { version, seed, timeline, startedAt } = record
  return told({ format: 1, version, tokens: {}, seed, timeline, startedAt, ended: end }, 'ended', end.reason, end.at)
}

/** The longest that a token is believed to live, milliseconds. */
const MAX_LIFETIME = 366 * 86_400_000

/**
 * What came out of a store, checked before anything in it is believed; `undefined` where it cannot be a record. What is
 * only damaged at its edges (a token, a failure, a line of the story) loses no more than that, and `damaged` is told.
 */
export function parseRecord(input: unknown, damaged: () => void = () => {}): SessionRecord | undefined {
  const text = textOf(input)
  const record = text === undefined ? undefined : checkedRecord(Object(input))
  if (JSON.stringify(record) !== text || (input !== undefined && !record)) damaged()
  return record
}

/** Plain data as text; undefined for what is none: a store may give back circles and big integers. */
function textOf(input: unknown): string | undefined {
  try {
    return JSON.stringify(input)
  } catch {
    return undefined
  }
}

function checkedRecord(input: Record<string, unknown>): SessionRecord | undefined {
  const { format, version, tokens, refreshToken, seed, idToken, claims, ended: end, timeline } = input
  const isOptional = (value: unknown, isSound: boolean) => value === undefined || isSound
  const isSound =
    format === 1 &&
    isVersion(version) &&
    isObject(tokens) &&
    [refreshToken, seed, idToken].every((text) => isOptional(text, isText(text))) &&
    isOptional(claims, isText(Object(claims).sub)) &&
    isOptional(end, isText(Object(end).reason) && isTime(Object(end).at))
  if (!isSound) return undefined
  const times = ['refusals', 'sending', 'lastSuccessAt', 'startedAt', 'refreshTokenExpiresAt'].map((name) => {
    return [name, isTime(input[name]) ? input[name] : undefined]
  })
  return {
    ...input,
    ...Object.fromEntries(times),
    tokens: kept(tokens, isStoredToken),
    failures: isObject(input.failures) ? kept(input.failures, isFailure) : undefined,
    timeline: Array.isArray(timeline) ? timeline.filter(isTimelineEvent) : undefined,
  }
}

function kept(all: object, isSound: (value: Record<string, unknown>) => boolean): Record<string, unknown> {
  return Object.fromEntries(Object.entries(all).filter(([, value]) => isSound(Object(value))))
}

function isStoredToken(token: Record<string, unknown>): boolean {
  const { accessToken, tokenType, issuedAt, expiresAt, authorizationDetails } = token
  if (authorizationDetails !== undefined && !detailsIn(authorizationDetails)) return false
  if (!isSendable(accessToken) || (tokenType !== 'Bearer' && tokenType !== 'DPoP')) return false
  return isTime(issuedAt) && isTime(expiresAt) && expiresAt > issuedAt && expiresAt - issuedAt <= MAX_LIFETIME
}

function isFailure({ at, retryAt, count }: Record<string, unknown>): boolean {
  return isTime(at) && isTime(retryAt) && isTime(count)
}

function isTimelineEvent(value: unknown): boolean {
  return isTime(Object(value).at) && isText(Object(value).event)
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Whether it is a token that a header can carry (RFC 6749 appendix A.12). */
export function isSendable(token: unknown): token is string {
  return typeof token === 'string' && /^[ -~]+$/.test(token)
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && value !== ''
}

/** Whether it can grow: further up, a number and the next one are the same. No clock shows as much. */
function isVersion(value: unknown): value is number {
  return isTime(value) && value > 0 && value < 8.64e15
}

function isTime(value: unknown): value is number {
  return Number.isFinite(value)
}
