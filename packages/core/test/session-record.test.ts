import { expect, test, vi } from 'vitest'
import {
  emptyRecord,
  ended,
  nextVersion,
  parseRecord,
  type SessionRecord,
  type StoredToken,
  succeeded,
  told,
} from '../src/session-record.js'
import type { Issued } from '../src/token-set.js'

const ISSUED = 1_900_000_000_000
const HOUR = 3_600_000
const LONGEST = 366 * 86_400_000

const token = (more: object = {}): StoredToken => ({
  accessToken: 'access',
  tokenType: 'Bearer',
  issuedAt: ISSUED,
  expiresAt: ISSUED + HOUR,
  ...more,
})
const issued = (more: Partial<Issued> = {}) => ({
  accessToken: 'next',
  tokenType: 'Bearer' as const,
  issuedAt: ISSUED + 10,
  expiresAt: ISSUED + HOUR,
  ...more,
})

/** A record with everything in it that one can have, in the order in which a check leaves it. */
const whole = {
  format: 1,
  version: 5,
  tokens: { a: token({ scope: 'read' }), b: token({ tokenType: 'DPoP' }) },
  refreshToken: 'refresh',
  seed: 'hash',
  idToken: 'id',
  claims: { sub: 'alice' },
  sending: 3,
  failures: { '': { code: 'network', count: 1, at: 1, retryAt: 2 } },
  refusals: 2,
  lastSuccessAt: 4,
  startedAt: 1,
  timeline: [{ at: 1, event: 'issued', detail: 'signed in' }],
} as const satisfies SessionRecord

/** What is made of `input`, and whether that was told as damage. */
function parsed(input: unknown) {
  const damaged = vi.fn()
  return { record: parseRecord(input, damaged), damaged: damaged.mock.calls.length > 0 }
}

test('a record that is in order is taken as it is, and nothing is told', () => {
  expect(parsed(whole)).toEqual({ record: whole, damaged: false })
  const over = { ...emptyRecord(), version: 1, ended: { reason: 'refused', origin: 'server', at: 1 } } as const
  expect(parsed(over)).toEqual({ record: over, damaged: false })
  expect(parsed({ format: 1, version: 1, tokens: {} })).toEqual({
    record: { format: 1, version: 1, tokens: {} },
    damaged: false,
  })
})

test('where nothing is stored there is no record, and no damage', () => {
  expect(parsed(undefined)).toEqual({ record: undefined, damaged: false })
})

test.each([
  ['null', null],
  ['text', 'garbage'],
  ['a number', 5],
  ['a list', []],
  ['another format', { ...whole, format: 2 }],
  ['a format that is text', { ...whole, format: '1' }],
  ['a version that is text', { ...whole, version: '5' }],
  ['a version that is no number', { ...whole, version: Number.NaN }],
  ['a version without end', { ...whole, version: Number.POSITIVE_INFINITY }],
  ['tokens that are text', { ...whole, tokens: 'none' }],
  ['tokens that are null', { ...whole, tokens: null }],
  ['tokens that are a list', { ...whole, tokens: [] }],
  ['a refresh token that is a number', { ...whole, refreshToken: 5 }],
  ['an empty refresh token', { ...whole, refreshToken: '' }],
  ['a seed that is a number', { ...whole, seed: 5 }],
  ['an ID token that is a number', { ...whole, idToken: 5 }],
  ['claims that are null', { ...whole, claims: null }],
  ['claims without subject', { ...whole, claims: { name: 'Alice' } }],
  ['claims with an empty subject', { ...whole, claims: { sub: '' } }],
  ['an end that is null', { ...whole, ended: null }],
  ['an end without reason', { ...whole, ended: { at: 1 } }],
  ['an end without time', { ...whole, ended: { reason: 'refused' } }],
])('%s is no record, and that is told', (_, input) => {
  expect(parsed(input)).toEqual({ record: undefined, damaged: true })
})

test.each([
  ['no access token', { accessToken: undefined }],
  ['an empty access token', { accessToken: '' }],
  ['an access token that is a number', { accessToken: 5 }],
  ['a type that nobody knows', { tokenType: 'mac' }],
  ['an issue that is text', { issuedAt: 'now' }],
  ['an issue that is a number as text', { issuedAt: `${ISSUED}` }],
  ['an expiry that is a number as text', { expiresAt: `${ISSUED + HOUR}` }],
  ['an expiry that is text', { expiresAt: 'never' }],
  ['an expiry without end', { expiresAt: Number.POSITIVE_INFINITY }],
  ['an expiry at its issue', { expiresAt: ISSUED }],
  ['an expiry before its issue', { expiresAt: ISSUED - 1 }],
  ['a life of more than a leap year', { expiresAt: ISSUED + LONGEST + 1 }],
])('a stored token with %s is dropped, and the rest of the record is kept', (_, more) => {
  const input = { ...whole, tokens: { bad: token(more), good: token() } }
  expect(parsed(input)).toEqual({ record: { ...whole, tokens: { good: token() } }, damaged: true })
})

test('a stored token may live for a leap year', () => {
  const input = { ...whole, tokens: { long: token({ expiresAt: ISSUED + LONGEST }) } }
  expect(parsed(input)).toEqual({ record: input, damaged: false })
})

test.each(['at', 'retryAt', 'count'])('a failure without %s is dropped, the others are kept', (name) => {
  const good = whole.failures['']
  const input = { ...whole, failures: { bad: { ...good, [name]: undefined }, good, none: null } }
  expect(parsed(input)).toEqual({ record: { ...whole, failures: { good } }, damaged: true })
})

test.each([
  ['failures', 'many'],
  ['failures', null],
  ['failures', [1]],
  ['timeline', 'long'],
  ['timeline', { at: 1, event: 'issued' }],
  ['refusals', 'many'],
  ['sending', 'yes'],
  ['lastSuccessAt', 'yesterday'],
  ['startedAt', null],
])('%s that are %j are dropped, and the rest of the record is kept', (name, value) => {
  expect(parsed({ ...whole, [name]: value })).toEqual({ record: { ...whole, [name]: undefined }, damaged: true })
})

test('lines of the story without time or event are dropped, the others are kept', () => {
  const good = whole.timeline[0]
  const timeline = [null, 5, { at: 1 }, { event: 'issued' }, { at: 1, event: 5 }, { at: 'now', event: 'issued' }, good]
  expect(parsed({ ...whole, timeline })).toEqual({ record: { ...whole, timeline: [good] }, damaged: true })
})

test('what nobody here knows in a record is kept', () => {
  const input = { ...whole, later: { version: 2 } }
  expect(parsed(input)).toEqual({ record: input, damaged: false })
})

test('a version is past the last one, and past every one that the clock could have given', () => {
  const now = Date.now()
  expect(nextVersion(now + HOUR)).toBe(now + HOUR + 1)
  expect(nextVersion(5)).toBeGreaterThanOrEqual(now)
  expect(nextVersion(undefined)).toBeGreaterThanOrEqual(now)
  expect(nextVersion(Number.NaN)).toBeGreaterThanOrEqual(now)
})

test('a new record is made from the version and the story of the one before, and from nothing else of it', () => {
  expect(emptyRecord()).toEqual({ format: 1, version: 0, tokens: {} })
  expect(emptyRecord(whole)).toEqual({ format: 1, version: 5, tokens: {}, timeline: whole.timeline })
})

test('a story has its newest forty lines', () => {
  let record: SessionRecord = emptyRecord()
  for (let at = 1; at <= 50; at++) record = told(record, 'renewed', undefined, at)
  expect(record.timeline?.map(({ at }) => at)).toEqual(Array.from({ length: 40 }, (_, index) => index + 11))
})

test('after a token response nothing is left of what stood in the way', () => {
  const end = { reason: 'expired', origin: 'server', at: 1 } as const
  const record = succeeded(
    { ...whole, ended: end },
    'a',
    issued({ refreshToken: 'r2', idToken: 'i2', claims: { sub: 'bob' } }),
  )
  expect(record).toEqual({
    format: 1,
    version: 5,
    seed: 'hash',
    tokens: { a: { ...issued(), scope: undefined }, b: whole.tokens.b },
    refreshToken: 'r2',
    idToken: 'i2',
    claims: { sub: 'bob' },
    refusals: 2,
    lastSuccessAt: ISSUED + 10,
    startedAt: ISSUED + 10,
    timeline: whole.timeline,
  })
})

test('what a token response leaves out stays, but for tokens that are over by then', () => {
  const { startedAt: _, ...before } = whole
  const record = succeeded(before, 'c', issued({ issuedAt: ISSUED + HOUR, expiresAt: ISSUED + 2 * HOUR }))
  expect(record).toMatchObject({ refreshToken: 'refresh', idToken: 'id', claims: { sub: 'alice' } })
  expect(Object.keys(record.tokens)).toEqual(['c'])
  expect(record.startedAt).toBe(ISSUED + HOUR)
  const early = succeeded(before, 'c', issued({ issuedAt: ISSUED + HOUR - 1, expiresAt: ISSUED + 2 * HOUR }))
  expect(Object.keys(early.tokens)).toEqual(['c', 'a', 'b'])
})

test('of a session that ended there is left which and whose it was, its story and its end, but no token', () => {
  const end = { reason: 'refused', origin: 'server', error: 'invalid_grant', lastSuccessAt: 4, at: 9 } as const
  expect(ended(whole, end)).toEqual({
    format: 1,
    version: 5,
    tokens: {},
    seed: 'hash',
    startedAt: 1,
    ended: end,
    timeline: [...whole.timeline, { at: 9, event: 'ended', detail: 'refused' }],
  })
})
