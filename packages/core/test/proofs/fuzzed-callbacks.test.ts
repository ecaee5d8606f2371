import { InvalidCallbackError } from '@keyturn/core'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type App, REDIRECT_URI, startApp } from '../sign-in-server.ts'
import { RUNS } from './fuzzed-records.ts'

const OURS = ['code', 'state', 'iss', 'session_state', 'error', 'error_description', 'error_uri']

const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.string(),
  fc.constantFrom(
    '',
    '\0',
    'null',
    '__proto__',
    '\u202e',
    '\ud800',
    '%',
    '%zz',
    '%00',
    '&',
    '=',
    '#',
    '?',
    'x'.repeat(100_000),
  ),
)

/** How a value is written in an address: as forms do, every byte as %xx, as it is. */
const spelling = fc.constantFrom(
  (value: string) => new URLSearchParams({ x: value }).toString().slice(2),
  (value: string) =>
    [...Buffer.from(value.slice(0, 1000))].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join(''),
  (value: string) => value,
)

type Pair = readonly [name: string, value: string]
type Change = (pairs: readonly Pair[]) => readonly Pair[]

const name = fc.oneof({ weight: 5, arbitrary: fc.constantFrom(...OURS, 'response') }, { weight: 1, arbitrary: text })
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.tuple(name, text).map(([key, value]) => (pairs: readonly Pair[]) => [...pairs, [key, value] as const]),
  fc.tuple(name, text).map(
    ([key, value]) =>
      (pairs: readonly Pair[]) =>
        pairs.map((pair) => (pair[0] === key ? ([key, value] as const) : pair)),
  ),
  name.map((key) => (pairs: readonly Pair[]) => pairs.filter(([other]) => other !== key)),
  name.map((key) => (pairs: readonly Pair[]) => [...pairs, ...pairs.filter(([other]) => other === key)]),
  fc.tuple(name, fc.constantFrom('', 'x', ' ', '\0', '/')).map(
    ([key, end]) =>
      (pairs: readonly Pair[]) =>
        pairs.map(([other, value]) => [other, other === key ? value + end : value] as const),
  ),
  name.map(
    (key) => (pairs: readonly Pair[]) =>
      pairs.map(([other, value]) => [other, other === key ? value.slice(0, -1) : value] as const),
  ),
  name.map(
    (key) => (pairs: readonly Pair[]) =>
      pairs.map(([other, value]) => [other, other === key ? value.toUpperCase() : value] as const),
  ),
  fc.constant((pairs: readonly Pair[]) => pairs.toReversed()),
  fc.constant((pairs: readonly Pair[]) => [...pairs, ['tab', 'open orders'] as const]),
)

const address = fc.record({
  changes: fc.array(change, { maxLength: 4 }),
  spell: spelling,
  base: fc.oneof(
    { weight: 9, arbitrary: fc.constant(REDIRECT_URI) },
    fc.constantFrom(
      `${REDIRECT_URI}/`,
      'https://app.example/',
      'https://evil.example/callback',
      'http://app.example/callback',
    ),
  ),
  mark: fc.oneof({ weight: 9, arbitrary: fc.constant('?') }, fc.constantFrom('#', '?#', '#?', ';')),
  hash: fc.oneof(
    fc.constant(''),
    text.map((value) => `#${value}`),
  ),
})

/** The response to the last login, as pairs. */
const answerTo = ({ page, server }: App): Pair[] => [...new URL(server.authorize(page.lastVisited)).searchParams]

const queryOf = (url: string) => new URL(url).search.slice(1).split('&')
const isOurs = (pair: string) => OURS.includes(pair.split('=')[0] ?? '')

test('whatever is in the address, it is nothing to handle, a login that came back, or an error with a type', {
  timeout: 60_000 + RUNS * 1000,
}, async () => {
  const property = fc.asyncProperty(address, async ({ changes, spell, base, mark, hash }) => {
    const app = startApp()
    await app.auth.login({ appState: 'other' })
    const other = app.page.lastVisited
    await app.auth.login({ appState: 'mine' })
    const good = answerTo(app)
    const pairs = changes.reduce<readonly Pair[]>((all, one) => one(all), good)
    const url = base + mark + pairs.map(([key, value]) => `${key}=${spell(value)}`).join('&') + hash
    app.page.url = url
    app.page.events.length = 0

    const outcome = await app.auth.handleCallback().catch((error: unknown) => error)
    const read = URL.parse(url)?.searchParams ?? new URLSearchParams()
    const isMine = base === REDIRECT_URI && read.get('state') === Object.fromEntries(good).state
    const redeemed = app.server.tokenRequests.length
    expect(redeemed, 'a code is redeemed for its own state only, and once').toBeLessThanOrEqual(isMine ? 1 : 0)
    if (outcome instanceof InvalidCallbackError) {
      expect(outcome.code).toMatch(/^(invalid-state|invalid-response|authorization-refused|exchange-failed)$/)
      expect(outcome.appState, 'kept through failures').toBe(isMine ? 'mine' : undefined)
      expect(outcome.message.length).toBeLessThan(1000)
      expect(app.auth.session).toMatchObject({ status: 'signedOut' })
    } else if (outcome !== undefined) {
      expect(outcome).toEqual({ appState: 'mine' })
      expect(redeemed).toBe(1)
      expect(app.auth.session).toMatchObject({ status: 'signedIn' })
    }
    if (outcome === undefined) {
      expect(app.page.events, 'what is not ours stays').toEqual([])
      expect(redeemed).toBe(0)
    } else {
      const kept = queryOf(app.page.url).filter(Boolean)
      expect(kept.filter(isOurs), 'ours is gone').toEqual([])
      expect(kept, 'all else stays').toEqual(queryOf(url).filter((pair) => pair && !isOurs(pair)))
      expect(new URL(app.page.url).hash).toBe(new URL(url).hash)
    }
    expect(app.page.visited, 'nothing navigates by itself').toHaveLength(2)

    app.page.url = app.server.authorize(other)
    expect(await app.auth.handleCallback(), 'the other login survives').toEqual({ appState: 'other' })
  })
  await fc.assert(property, { numRuns: RUNS })
})
