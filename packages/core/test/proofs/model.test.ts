import { LoginRequiredError } from '@keyturn/core'
import fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import { HOUR, MINUTE, movedTime, SECOND, START } from '../renewal-harness.ts'
import { failedOnce } from './model-examples.ts'
import { judge } from './model-invariants.ts'
import { keysWithoutThreads } from './model-keys.ts'
import { faults, TIMEOUT } from './model-log.ts'
import type { Kind, StoreOperation } from './model-tab.ts'
import { type Step, World } from './model-world.ts'

movedTime()

const RUNS = Number(process.env.PROOF_RUNS ?? 150)
const tab = fc.nat(3)

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({ do: fc.constantFrom('get', 'set'), tab, calls: fc.integer({ min: 1, max: 3 }) }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('reject'), tab, oldest: fc.boolean() }) },
  { weight: 7, arbitrary: fc.record({ do: fc.constant('fault'), fault: fc.constantFrom(...names(faults)) }) },
  {
    weight: 10,
    arbitrary: fc.record({ do: fc.constant('elapse'), ms: fc.constantFrom(100, 1000, 6000, 13_000, 46_000, 61_000) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('jump'), ms: fc.constantFrom(HOUR, -HOUR, MINUTE, -MINUTE) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constantFrom('revoke', 'signIn', 'crash', 'wake'), tab }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('open') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('serverRevokes') }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('storeFails'),
      operations: fc.constantFrom<StoreOperation[]>(['get'], ['replace'], ['answer'], ['get', 'replace']),
      fault: fc.constantFrom('throws', 'fails slowly', 'hangs', 'slow', 'late'),
      times: fc.integer({ min: 1, max: 3 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('lockFails'),
      fault: fc.constantFrom('refused', 'hangs', 'late', 'kept'),
    }),
  },
)

const history = fc.array(fc.tuple(step, fc.nat(4)), { minLength: 5, maxLength: 60 })

test.each<[Kind, number, string]>([
  ['authorizationCode', 0, 'unbound'],
  ['authorizationCode', MINUTE, 'unbound'],
  ['password', 0, 'unbound'],
  ['refreshToken', 0, 'unbound'],
  ['authorizationCode', 0, 'bound to a key'],
  ['password', 0, 'bound to a key'],
  ['refreshToken', 0, 'bound to a key'],
])(
  'whatever happens to the tabs of a session (%s, grace of %i ms, %s), no refresh token is spent twice and no session lost',
  { timeout: MINUTE + RUNS * SECOND },
  async (kind, grace, binding) => {
    const property = fc.asyncProperty(history, fc.integer(), async (steps, seed) => {
      const world = begin(kind, grace, binding !== 'unbound', seed)
      for (const [one, pause] of steps) {
        await world.run(one)
        await world.turns(pause)
      }
      await recovers(world)
      judge(world.log)
      await world.close()
    })
    // The same histories every time, unless somebody looks for new ones.
    const same = process.env.PROOF_RUNS ? {} : { seed: 1 }
    const endOnFailure = process.env.PROOF_SHRINK === '0'
    await fc.assert(property, { ...same, numRuns: RUNS + failedOnce.length, examples: failedOnce, endOnFailure })
  },
)

/** Two tabs, of which the first signs in, at the same moment in every run. */
function begin(kind: Kind, grace: number, bound: boolean, seed: number): World {
  vi.clearAllTimers()
  vi.setSystemTime(START)
  const random = mulberry32(seed)
  vi.spyOn(Math, 'random').mockImplementation(random) // so that a seed is the same story every time
  if (bound) keysWithoutThreads()
  const world = new World(kind, grace, bound, random)
  const first = world.open()
  world.open()
  world.act(first, { do: 'signIn', tab: 0 })
  return world
}

/** Nothing fails any more: after the longest back-off everybody who is signed in has a token that is accepted. */
async function recovers(world: World): Promise<void> {
  world.mend()
  await world.elapse(5 * TIMEOUT)
  await world.elapse(2 * MINUTE)
  for (const tab of world.living) {
    const call = world.call(tab, tab.source.getAccessToken())
    for (let waited = 0; !call.settled && waited < 5 * TIMEOUT; waited += SECOND / 4) await world.elapse(SECOND / 4)
    const { token, error } = call.settled ?? {}
    const { record, families, revokedByServer } = world.log
    const family = families.get(record?.refreshToken ?? '') ?? 0
    const over = world.isOver
    if (over) expect(error).toBeInstanceOf(LoginRequiredError)
    else if (!revokedByServer.has(family)) expect(token && world.server.accepts(token), String(error)).toBe(true)
    expect(tab.source.session).toMatchObject({ status: over ? 'signedOut' : 'signedIn' })
  }
}

/** A small generator of numbers that are random enough, and the same for the same seed. */
function mulberry32(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

function names<T extends object>(table: T): (keyof T)[] {
  return Object.keys(table) as (keyof T)[]
}
