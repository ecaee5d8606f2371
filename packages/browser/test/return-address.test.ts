import { returnAddress } from '@keyturn/browser'
import { expect, test } from 'vitest'

const { origin, host } = location
const home = `${origin}/`

test('an address of this origin is returned to, whole and absolute', () => {
  expect(returnAddress('/orders?id=1#top')).toBe(`${origin}/orders?id=1#top`)
  expect(returnAddress(`${origin}/orders`)).toBe(`${origin}/orders`)
  expect(returnAddress('orders')).toBe(new URL('orders', location.href).href)
  expect(returnAddress('//evil.example', '/start')).toBe(`${origin}/start`)
})

test.each([
  '//evil.example',
  '///evil.example',
  '/\\evil.example',
  '\\\\evil.example',
  '/\t/evil.example',
  ' //evil.example',
  'https:evil.example',
  'https://evil.example',
  `https://${host}.evil.example`,
  `https://${host}@evil.example`,
  `//${host}:1@evil.example`,
  `ftp://${host}/`,
  'javascript:alert(1)',
  'java\nscript:alert(1)',
  'data:text/html,x',
  `blob:${origin}/x`,
  `filesystem:${origin}/x`,
  'about:blank',
  'http://[',
  undefined,
  null,
  7,
  {},
  ['/orders'],
])('%j is not returned to', (address) => {
  const returned = returnAddress(address)
  expect(new URL(returned).origin).toBe(origin)
  expect(returned).toBe(home)
})

test('a path that starts with two slashes stays on this origin', () => {
  expect(new URL(returnAddress(`${origin}//evil.example`), home).origin).toBe(origin)
})
