// What a second tab of the same browser can be told to do; tests say it through `tabs.ts`.
import { indexedDBStore, type Lease, type StoredRecord } from '@keyturn/browser'
import { increment, pause, range } from '../../core/test/stored-records.ts'

const store = indexedDBStore()
let release = (_value: string) => {}
let lease: Lease | undefined
let outcome = 'none'
let changes = 0

const actions = {
  get: (key: string) => store.get(key),
  replace: (key: string, expected: number | undefined, next: StoredRecord | undefined) =>
    store.replace(key, expected, next),
  async increment(key: string, times: number) {
    for (let count = 0; count < times; count++) await increment(store, key)
  },
  watch(key: string) {
    store.watch?.(key, () => changes++)
  },
  changes: () => changes,
  /** Gets in line for the lock, and keeps it until told to let go. */
  queue(key: string, duration?: number) {
    outcome = 'waiting'
    lease = undefined
    const finished = new Promise<string>((resolve) => {
      release = resolve
    })
    const entered = async (given: Lease) => {
      lease = given
      outcome = 'inside'
      return finished
    }
    store.lock(key, entered, duration).then(
      (value) => {
        outcome = value
      },
      (error) => {
        outcome = `${error.name}: ${error.message}`
      },
    )
  },
  letGo: () => release('done'),
  /** Gets in line many times at once, for `stay` milliseconds each; tells which leases held. */
  takeTurns(key: string, times: number, stay: number, duration: number) {
    const turn = async (lease: Lease) => {
      await pause(stay)
      return lease.valid()
    }
    return Promise.all(range(times).map(() => store.lock(key, turn, duration)))
  },
  state: () => ({ outcome, valid: lease?.valid() ?? false }),
}

export type Actions = typeof actions

Object.assign(globalThis, { actions })
