import type { StoredRecord } from '@keyturn/core'
import fc from 'fast-check'

/** How many runs a property has; the seed of one that fails is in its message. */
export const RUNS: number = Number(globalThis.process?.env.PROOF_RUNS ?? 60)

/** Whatever a store of plain data can give back: damage does not ask what is plausible. */
export const anything: fc.Arbitrary<unknown> = fc.oneof(
  fc.anything({ withBigInt: true, withDate: true, withMap: true, withSet: true, withTypedArray: true, maxDepth: 2 }),
  fc.json().map((text): unknown => JSON.parse(text)),
  fc.constantFrom<unknown[]>(
    Number.NaN,
    Number.MAX_VALUE,
    -1,
    2 ** 53,
    1e300,
    '',
    '5',
    '9'.repeat(20),
    {},
    [],
    [1],
    null,
  ),
  fc.constant(JSON.parse('{"__proto__":{"version":1,"format":1,"tokens":{}},"constructor":1,"toString":2,"toJSON":3}')),
  fc.constant('x'.repeat(100_000)),
  fc.constant(circular()),
)

/** A record in order, with each of its members. */
export function soundRecord(tokenKey: string): StoredRecord {
  const now = Date.now()
  return {
    format: 1,
    version: now - 1000,
    tokens: {
      [tokenKey]: { accessToken: 'stored-token', tokenType: 'Bearer', issuedAt: now - 1000, expiresAt: now + 300_000 },
    },
    refreshToken: 'stored-refresh-token',
    idToken: 'stored-id-token',
    claims: { sub: 'ada' },
    sending: now - 500,
    failures: { '': { code: 'network', count: 1, at: now - 500, retryAt: now + 500 } },
    refusals: 0,
    lastSuccessAt: now - 1000,
    startedAt: now - 1000,
    timeline: [{ at: now - 1000, event: 'issued', detail: 'signed in' }],
  }
}

/** What may have become of a record since it was written. */
export function damagedRecord(tokenKey: string): fc.Arbitrary<unknown> {
  const sound = fc.constant(null).map(() => soundRecord(tokenKey) as unknown as Record<string, unknown>)
  const names = Object.keys(soundRecord(tokenKey))
  const ended = { reason: 'refused', origin: 'server', at: 1 }
  return fc.oneof(
    anything,
    // cut short, as text
    fc.tuple(sound, fc.nat(400)).map(([record, length]) => JSON.stringify(record).slice(0, length)),
    // some members gone
    fc.tuple(sound, fc.subarray(names)).map(([record, gone]) => without(record, gone)),
    // some members garbage
    fc
      .tuple(sound, fc.array(fc.tuple(fc.constantFrom(...names, 'ended', 'seed', 'more'), anything), { maxLength: 4 }))
      .map(([record, changes]) => ({ ...record, ...Object.fromEntries(changes) })),
    // garbage further in
    fc
      .tuple(sound, fc.constantFrom('tokens', 'failures', 'claims', 'ended'), fc.dictionary(fc.string(), anything))
      .map(([record, name, members]) => ({ ...record, [name]: { ...Object(record[name]), ...members } })),
    fc
      .tuple(sound, fc.constantFrom('accessToken', 'tokenType', 'issuedAt', 'expiresAt', 'scope'), anything)
      .map(([record, name, value]) => inToken(record, tokenKey, name, value)),
    // of another time
    fc.tuple(sound, fc.constantFrom(0, 2, 3, '1', null)).map(([record, format]) => ({ ...record, format })),
    sound.map(({ refreshToken: _, ...record }) => ({ ...record, tokens: {}, ended })),
    // huge
    sound.map((record) => ({ ...record, timeline: Array(5000).fill({ at: 1, event: 'x'.repeat(100) }) })),
    sound.map((record) => ({
      ...record,
      tokens: Object.fromEntries(Array.from({ length: 5000 }, (_, index) => [index, ended])),
    })),
  )
}

function without(record: Record<string, unknown>, names: string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).filter(([name]) => !names.includes(name)))
}

function inToken(record: Record<string, unknown>, key: string, name: string, value: unknown): unknown {
  const tokens = Object(record.tokens)
  return { ...record, tokens: { [key]: { ...tokens[key], [name]: value } } }
}

function circular(): unknown {
  const record: Record<string, unknown> = { format: 1, version: 1, tokens: {} }
  record.claims = { sub: 'ada', record }
  return record
}
