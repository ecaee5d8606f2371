import { expect, test } from 'vitest'
import { lifetimeOf } from '../src/token-response.js'

const YEAR = 365 * 86_400

test.each([
  [3600, 3600],
  ['3600', 3600],
  [1, 1],
  [' 60 ', 60],
  [2 ** 31, YEAR],
  [1e300, YEAR],
  [Number.POSITIVE_INFINITY, YEAR],
  [undefined, 300],
  [null, 300],
  ['', 300],
  ['  ', 300],
  ['abc', 300],
  ['3600 seconds', 300],
  [Number.NaN, 300],
  [0, 300],
  [-1, 300],
  ['-3600', 300],
  [Number.NEGATIVE_INFINITY, 300],
  [true, 300],
  [[3600], 300],
  [{ valueOf: () => 3600 }, 300],
])('expires_in %j is %i seconds', (expiresIn, seconds) => {
  expect(lifetimeOf(expiresIn)).toBe(seconds)
})

test.each([0.001, '0.5', 1e-300, Number.MIN_VALUE])(
  'a part of a second (%j) is not a request per call',
  (expiresIn) => {
    expect(lifetimeOf(expiresIn)).toBeGreaterThanOrEqual(1)
  },
)
