import { indexedDBStore, StoreError } from '@keyturn/browser'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { pause } from '../../core/test/stored-records.ts'
import { closeTabs, hasDebugger, openTab, type Tab } from './tabs.ts'

// Every test has a lock of its own: what one leaves behind disturbs no other.
let key: string
beforeEach(() => {
  key = crypto.randomUUID()
})
afterEach(closeTabs)

/** Short enough to wait for; the long one nobody waits for. */
const LEASE = 1000
const LONG = 20_000
const store = indexedDBStore()

async function holding(duration = LONG): Promise<Tab> {
  const tab = await openTab()
  await tab.tell('queue', key, duration)
  await is(tab, 'inside')
  return tab
}

const is = (tab: Tab, outcome: string) =>
  vi.waitFor(async () => expect((await tab.tell('state')).outcome).toBe(outcome), { timeout: 5000, interval: 20 })

/** Where its own lease has ended it is the clock that tells; this one had a longer one, and hears of it a moment after it thawed. */
const knowsThatItIsOver = (tab: Tab) =>
  vi.waitFor(async () => expect(await tab.tell('state')).toEqual({ outcome: 'inside', valid: false }), 5_000)

async function entered(duration = LEASE) {
  const start = performance.now()
  return store.lock(key, async (lease) => ({ after: performance.now() - start, valid: lease.valid() }), duration)
}

test('a lock that another tab holds is waited for', async () => {
  const tab = await holding()
  let got = false
  const mine = store.lock(key, async () => {
    got = true
  })
  await pause(100)
  expect(got).toBe(false)
  await tab.tell('letGo')
  await mine
  expect(got).toBe(true)
  await is(tab, 'done')
})

test('a tab that is closed frees its lock at once', async () => {
  const tab = await holding()
  const mine = entered(LONG)
  await tab.close()
  expect((await mine).after).toBeLessThan(5000)
})

test('a tab that never lets go gives way after its lease, and knows', async () => {
  const tab = await holding(3 * LEASE) // of which some is over when it is asked
  expect(await tab.tell('state')).toEqual({ outcome: 'inside', valid: true })
  const { after, valid } = await entered(LONG) // so that it is not this tab that passes it over
  expect(valid).toBe(true)
  expect(after).toBeLessThan(LONG / 2)
  expect(await tab.tell('state')).toEqual({ outcome: 'inside', valid: false })
  await tab.tell('letGo')
  await is(tab, 'done')
})

test.runIf(hasDebugger)(
  'a tab that is frozen while it holds the lock is passed over, and knows when it thaws',
  async () => {
    const tab = await holding()
    await tab.freeze()
    const { after, valid } = await entered()
    expect(valid).toBe(true)
    expect(after).toBeGreaterThan(LEASE - 50)
    expect(after).toBeLessThan(LONG / 2)
    await tab.thaw()
    await knowsThatItIsOver(tab)
    await tab.tell('letGo')
    await is(tab, 'done')
    expect((await entered(LONG)).after).toBeLessThan(LONG / 2)
  },
)

test.runIf(hasDebugger)(
  'a tab that was frozen in line, and so never learned that it was its turn, is passed over',
  async () => {
    const [holder, frozen] = [await holding(), await openTab()]
    await frozen.tell('queue', key, LONG)
    await vi.waitFor(async () => {
      const { pending } = await navigator.locks.query()
      expect(pending?.some(({ name }) => name?.includes(key))).toBe(true)
    }, 5_000)
    await frozen.freeze()
    await holder.tell('letGo')
    const { after } = await entered()
    expect(after).toBeLessThan(LONG / 2)
    await frozen.thaw()
    await frozen.tell('letGo')
    await vi.waitFor(async () => expect((await frozen.tell('state')).outcome).toMatch(/^(done|StoreError: .*)$/), 5_000)
  },
)

test.runIf(hasDebugger)('of many tabs that pass over the same holder, one at a time goes on', async () => {
  const frozen = await holding()
  const waiting = await Promise.all([openTab(), openTab(), openTab(), openTab()])
  await frozen.freeze()
  await Promise.all(waiting.map((tab) => tab.tell('queue', key, 2 * LEASE)))
  const valid = async () => {
    const states = await Promise.all(waiting.map((tab) => tab.tell('state')))
    return waiting.filter((_, index) => states[index]?.valid)
  }
  const served = new Set<Tab>()
  while (served.size < waiting.length) {
    await vi.waitFor(async () => expect((await valid()).some((tab) => !served.has(tab))).toBe(true), {
      timeout: 10_000,
    })
    await pause(50)
    const [turn, ...others] = await valid()
    expect(others).toEqual([])
    if (turn) served.add(turn)
    await turn?.tell('letGo')
    if (turn) await is(turn, 'done')
  }
  await frozen.thaw()
  await knowsThatItIsOver(frozen)
})

test('a lock that is taken in turn, by many tabs or by one, is not mistaken for one that never comes back', async () => {
  const tabs = await Promise.all([openTab(), openTab()])
  const turns = tabs.map((tab) => tab.tell('takeTurns', key, 30, 50, LONG)) // in line until it is theirs
  await vi.waitFor(async () => expect((await navigator.locks.query()).pending?.length).toBeGreaterThan(30), 5_000)
  // So long that no turn of theirs takes as long, on a busy machine either; all that are left take longer.
  expect((await entered(LEASE)).after).toBeGreaterThan(LEASE)
  expect((await Promise.all(turns)).flat()).toEqual(Array.from({ length: 60 }, () => true))
})

test('what the platform refuses is an error of the lock, not a bare AbortError', async () => {
  const [holder, thief] = [await holding(), store.lock(key, async () => 'inside', LONG)]
  const { held = [] } = await navigator.locks.query()
  for (const { name = '' } of held.filter(({ name }) => name?.includes(key))) {
    await navigator.locks.request(name, { steal: true }, () => {})
  }
  expect(await thief).toBe('inside')
  await holder.tell('letGo')
  await is(holder, 'done')
})

test('a page without Web Locks gets no lock, and that is an error of the store', async () => {
  vi.spyOn(navigator, 'locks', 'get').mockReturnValue(undefined as unknown as LockManager)
  const refused = store.lock(key, async () => 'inside').catch((error: unknown) => error)
  expect(await refused).toBeInstanceOf(StoreError)
  vi.restoreAllMocks()
})
