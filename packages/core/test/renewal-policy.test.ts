import { expect, test } from 'vitest'
import { drawFactor, forbids, nextFailure, refusalsAfter, renewalDelay, thresholds } from '../src/renewal-policy.js'

test('the factor is between 0.75 and 1.25, and not always the same', () => {
  const factors = Array.from({ length: 1000 }, drawFactor)
  expect(Math.min(...factors)).toBeGreaterThanOrEqual(0.75)
  expect(Math.max(...factors)).toBeLessThanOrEqual(1.25)
  expect(Math.max(...factors) - Math.min(...factors)).toBeGreaterThan(0.4)
})

test.each([
  [1000, [750, 850], 950],
  [5000, [3750, 4250], 4750],
  [300_000, [225_000, 255_000], 290_000],
  [3_600_000, [3_225_000, 3_375_000], 3_590_000],
  [86_400_000, [86_025_000, 86_175_000], 86_390_000],
])('the thresholds of a lifetime of %i ms', (lifetime, should, must) => {
  const [early, late] = [1.25, 0.75].map((factor) => thresholds(lifetime, factor))
  expect([early?.should, late?.should]).toEqual(should)
  expect([early?.must, late?.must, early?.expired]).toEqual([must, must, lifetime])
})

test('a token should be renewed before it must be, and must be before it expires', () => {
  for (let lifetime = 1; lifetime < 1e9; lifetime *= 1.7) {
    for (const factor of [0.75, 1, 1.25]) {
      const { should, must, expired } = thresholds(lifetime, factor)
      expect(should).toBeLessThan(must)
      expect(must).toBeLessThan(expired)
    }
  }
})

test('the back-off doubles up to 2 minutes and keeps at least half of it', () => {
  let failure = nextFailure(undefined, 'server-error', 0, 0)
  for (const delay of [1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 120_000, 120_000]) {
    expect(failure.retryAt - failure.at).toBeGreaterThanOrEqual(delay / 2)
    expect(failure.retryAt - failure.at).toBeLessThanOrEqual(delay)
    failure = nextFailure(failure, 'server-error', 0, 0)
  }
  const after = nextFailure({ ...failure, count: 1e9 }, 'server-error', 0, 0)
  expect(after.retryAt).toBeLessThanOrEqual(120_000)
})

test('a time that the server named is kept, one that has passed is not', () => {
  expect(nextFailure(undefined, 'throttled', 5000, 1000).retryAt).toBe(5000)
  expect(nextFailure(undefined, 'throttled', 999, 1000).retryAt).toBeGreaterThan(1000)
})

test('a failure forbids until its time, and one from the future forbids nothing', () => {
  const failure = { code: 'network', count: 1, at: 1000, retryAt: 2000 } as const
  expect([999, 1000, 1999, 2000].map((now) => forbids(failure, now))).toEqual([false, true, true, false])
})

test('tokens that are refused within seconds of their issue make the next one wait longer', () => {
  expect([0, 1, 2, 3, 7, 8, 100].map(renewalDelay)).toEqual([0, 1000, 2000, 4000, 64_000, 120_000, 120_000])
  expect(refusalsAfter(0, 100)).toBe(1)
  expect(refusalsAfter(0, 60_000)).toBe(0)
  expect(refusalsAfter(3, renewalDelay(3) + 100)).toBe(4)
  expect(refusalsAfter(3, 600_000)).toBe(0)
})
