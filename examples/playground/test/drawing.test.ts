import { stripVTControlCharacters } from 'node:util'
import { expect, test } from 'vitest'
import type { ActorView } from '../src/actor.ts'
import { draw } from '../src/drawing.ts'
import { lineOf } from '../src/lines.ts'
import type { Scene } from '../src/scene.ts'

const now = Date.UTC(2026, 0, 1)
const life = 100_000

const actor = (more: Partial<ActorView> = {}): ActorView => ({
  name: 'worker',
  title: 'client credentials → invoices',
  token: { issuedAt: now - 0.5 * life, expiresAt: now + 0.5 * life },
  stale: false,
  served: 1234,
  refused: 0,
  heldBack: 0,
  bought: 99,
  failed: 3,
  ...more,
})

const scene = (more: Partial<Scene> = {}): Scene => ({
  now,
  issuer: 'http://127.0.0.1:40000',
  reuses: 0,
  actors: [actor(), actor({ name: 'ada', title: 'password, rotation → orders' })],
  events: Array.from({ length: 50 }, (_, i) => ({
    at: now + i,
    who: 'worker',
    what: `event ${i} ${'which takes many words '.repeat(5)}`,
    mood: 'good',
  })),
  ...more,
})

const plain = (view: Scene, columns = 80, rows = 24) => draw(view, { columns, rows, color: false })
const barOf = (view: ActorView, columns = 102) => plain(scene({ actors: [view] }), columns)[4]?.trim() ?? ''

test.each([
  [60, 20],
  [80, 24],
  [120, 40],
])('a terminal of %d columns and %d rows is filled and nothing sticks out', (columns, rows) => {
  const troubles: Scene[] = [
    scene(),
    scene({ trouble: 'answers 429, Retry-After 5 to the next 2 requests', reuses: 3 }),
    scene({ actors: [actor({ stale: true }), actor({ token: undefined, retryAt: now + 120_000 })], events: [] }),
  ]
  for (const view of troubles) {
    for (const color of [true, false]) {
      const lines = draw(view, { columns, rows, color })
      expect(lines.length).toBe(rows)
      for (const line of lines) expect(stripVTControlCharacters(line).length).toBeLessThanOrEqual(columns)
      expect(stripVTControlCharacters(lines.join('\n'))).toBe(draw(view, { columns, rows, color: false }).join('\n'))
    }
  }
})

test('even a terminal that is far too small gets no line too many', () => {
  for (const line of plain(scene(), 20, 5)) expect(line.length).toBeLessThanOrEqual(20)
  expect(plain(scene(), 20, 5).length).toBe(5)
})

test('without colour there is no escape sequence, with colour every line ends plain', () => {
  expect(plain(scene()).join('')).not.toContain('\x1b')
  const coloured = draw(scene(), { columns: 80, rows: 24 })
  expect(coloured.join('')).toContain('\x1b[0;32m')
  for (const line of coloured) expect(line.lastIndexOf('\x1b[0m')).toBe(line.lastIndexOf('\x1b'))
})

test('the bar runs down from issue to expiry, through the zones of renewal', () => {
  const aged = (part: number) =>
    barOf(actor({ token: { issuedAt: now - part * life, expiresAt: now + (1 - part) * life } }))
  expect(aged(0)).toBe('█'.repeat(75) + '▓'.repeat(10) + '▒'.repeat(10) + '░'.repeat(5))
  expect(aged(0.5)).toBe('━'.repeat(50) + '█'.repeat(25) + '▓'.repeat(10) + '▒'.repeat(10) + '░'.repeat(5))
  expect(aged(0.97)).toBe('━'.repeat(97) + '░'.repeat(3))
  expect(aged(3)).toBe('━'.repeat(100))
  expect(barOf(actor({ token: undefined }))).toBe('━'.repeat(100))
})

test('an hour-long token is renewed in its last five minutes or so', () => {
  const hour = barOf(actor({ token: { issuedAt: now, expiresAt: now + 3_600_000 } }), 242)
  expect(hour.indexOf('▓') / 240).toBeCloseTo(3225 / 3600, 2)
  expect(hour.indexOf('▒') / 240).toBeCloseTo(3375 / 3600, 2)
})

test('one reads how the server and the tokens are, what was counted, what happened and which key does what', () => {
  const text = plain(scene({ trouble: 'hangs' })).join('\n')
  expect(text).toContain('● the server hangs')
  expect(text).toContain('good for 50.0 s')
  expect(text).toMatch(/served 1234 {2}refused 0 {2}held back 0 {2}tokens bought 99 {2}requests failed 3/)
  expect(text).toContain('event 49')
  expect(text).toMatch(/5 503 .*4 429, Retry-After 5 .*h hang .*a away\/back .*r revoke all\s+o OK again .*q stop/)
  const bad = plain(
    scene({ reuses: 2, actors: [actor({ stale: true }), actor({ token: undefined, retryAt: now + 3000 })] }),
  )
  expect(bad.join('\n')).toMatch(/2 spent refresh tokens.*renewal failed, still good.*no token, asks again in 3 s/s)
})

test('without a terminal the same facts are one line', () => {
  const view = scene({ trouble: 'hangs', actors: [actor(), actor({ name: 'ada', token: undefined, heldBack: 4 })] })
  expect(lineOf(view)).toMatch(
    /server hangs \| worker: token good for 50\.0 s, calls served 1234, .* \| ada: no token, .*held back 4/,
  )
  expect(lineOf(view)).not.toContain('\n')
})
