import { createHash } from 'node:crypto'
import { memoryStore, type OAuthError, type SourceOptions, type StoredRecord, type TokenStore } from '@keyturn/core'
import { afterEach, beforeEach, expect, vi } from 'vitest'
import { CLIENT_ID, type TestServer } from './authorization-server.ts'

/** When every test begins. */
export const START: number = Date.parse('2030-01-01T00:00:00Z')
export const SECOND = 1000
export const MINUTE = 60_000
export const HOUR = 3_600_000

/**
 * Fake clocks for every test of the file, and a watch over what must never happen in any of them: a rejection that
 * nobody handles, or an uncaught error. What promises and streams live from (microtasks, setImmediate) stays real.
 */
export function movedTime(): void {
  const unhandled: unknown[] = []
  const note = (error: unknown) => unhandled.push(error)
  beforeEach(() => {
    vi.useFakeTimers({
      toFake: ['Date', 'performance', 'setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'],
      now: START,
    })
    // The same digest without the thread pool, whose pace a fake clock cannot know.
    vi.spyOn(crypto.subtle, 'digest').mockImplementation(async (_, data) => {
      const bytes = ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : data
      return new Uint8Array(createHash('sha256').update(new Uint8Array(bytes)).digest()).buffer
    })
    process.on('unhandledRejection', note)
  })
  afterEach(async () => {
    await turns(5)
    process.off('unhandledRejection', note)
    vi.restoreAllMocks()
    vi.useRealTimers()
    expect(unhandled.splice(0)).toEqual([])
  })
}

/** Lets everything run that waits for no clock. */
export async function turns(count = 3): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** Moves both clocks and runs what was due, in steps so small that what one timer starts has its own time. */
export async function elapse(milliseconds: number, step: number = Math.max(milliseconds / 100, 250)): Promise<void> {
  await turns()
  for (let left = milliseconds; left > 0; left -= step) {
    vi.advanceTimersByTime(Math.min(step, left))
    await turns(2)
  }
}

/** Moves the wall clock alone: somebody set it, or the machine slept. */
export function setClock(by: number): void {
  vi.setSystemTime(Date.now() + by)
}

/** From now on no timer fires: a page in the background, a frozen process. The clocks go on. */
export function timersNeverFire(): void {
  vi.spyOn(globalThis, 'setTimeout').mockReturnValue(0 as unknown as ReturnType<typeof setTimeout>)
}

type Outcome<T> =
  | { value: T; error?: undefined; after: number }
  | { value?: undefined; error: OAuthError; after: number }

/** How a promise settled, and after how many (fake) milliseconds. */
export async function outcome<T>(promise: Promise<T>): Promise<Outcome<T>> {
  const before = performance.now()
  return promise.then(
    (value) => ({ value, after: performance.now() - before }),
    (error) => ({ error, after: performance.now() - before }),
  )
}

/** The same, moving the clock until it has settled; fails where that takes longer than `most`. */
export async function settled<T>(promise: Promise<T>, most: number): Promise<Outcome<T>> {
  const before = performance.now()
  let done = false
  const result = outcome(promise).finally(() => {
    done = true
  })
  await turns(5)
  while (!done && performance.now() - before <= most) {
    vi.advanceTimersByTime(100)
    await turns(2)
  }
  if (!done) throw new Error(`not settled after ${most} ms`)
  return result
}

/** Many tests in one process look like a source per call (spending.test.ts). */
const OF_TESTS = / sources of client .* in a row have bought the same token/

/** The options of a source at the test server; `warnings` has what it was told. */
export function sourceAt(server: TestServer, more: Partial<SourceOptions> = {}) {
  const warnings: string[] = []
  const options = {
    issuer: server.issuer,
    clientId: CLIENT_ID,
    clientSecret: server.settings.secret,
    fetch: server.fetch,
    onWarning(message: string) {
      if (!OF_TESTS.test(message)) warnings.push(message)
    },
    ...more,
  } satisfies SourceOptions
  return { options, warnings }
}

type Operation = 'get' | 'replace' | 'lock' | 'unlock' | 'watch'
type Trouble = 'throws' | 'hangs'

/** A memory store that counts its calls and fails on demand; `records` sees and changes what is in it behind all backs. */
export function troubledStore() {
  const inner = memoryStore()
  const trouble: Partial<Record<Operation, Trouble | undefined>> = {}
  const calls: Record<Operation, number> = { get: 0, replace: 0, lock: 0, unlock: 0, watch: 0 }
  const keys = new Set<string>()
  const meet = async (operation: Operation) => {
    calls[operation]++
    if (trouble[operation] === 'hangs') await new Promise(() => {})
    if (trouble[operation] === 'throws') throw new Error(`the disk is full (${operation})`)
  }
  const store: TokenStore = {
    async get(key) {
      keys.add(key)
      await meet('get')
      return inner.get(key)
    },
    async replace(key, expected, next) {
      await meet('replace')
      return inner.replace(key, expected, next)
    },
    async lock(key, critical, duration) {
      await meet('lock')
      const value = await inner.lock(key, critical, duration)
      await meet('unlock')
      return value
    },
    watch(key, listener) {
      calls.watch++
      if (trouble.watch === 'throws') throw new Error('no channel')
      return inner.watch?.(key, listener) ?? (() => {})
    },
  }
  const key = () => {
    const [only] = keys
    if (only === undefined) throw new Error('The store was never asked')
    return only
  }
  return {
    store,
    trouble,
    calls,
    key,
    record: () => inner.get(key()),
    /** What a sibling writes. */
    async change(change: (record: StoredRecord) => StoredRecord): Promise<void> {
      const record = await inner.get(key())
      if (!record) throw new Error('There is no record')
      await inner.replace(key(), record.version, { ...change(record), version: record.version + 1 })
    },
  }
}
