import { type Lease, StoreError } from '@keyturn/core'

/**
 * A Web Lock with a lease. The platform never takes a lock away from a tab that is frozen or hangs; here a tab gives it
 * back after `duration`, and one that cannot even do that is passed over by whoever waits that long.
 */
export async function webLock<T>(name: string, critical: (lease: Lease) => Promise<T>, duration = 30_000): Promise<T> {
  const { locks } = navigator
  const term = Math.min(duration, 2 ** 31 - 1)
  let held = true
  let outcome: Promise<T> | undefined
  const enter = () => {
    const until = Date.now() + term // the clock that goes on while a computer sleeps; timer and thief are there besides
    outcome = (async () => critical({ valid: () => held && Date.now() < until }))()
    const end = new Promise<void>((over) => setTimeout(over, term)).then(() => {
      held = false
    })
    const turn = Promise.race([outcome, end])
    // Shows which acquisition this is, so that a lock which is taken in turn is not mistaken for one that never comes back.
    locks.request(name + crypto.randomUUID(), () => turn).catch(() => {})
    return turn
  }
  try {
    while (!outcome) {
      const holder = await holderOf(name)
      const patience = AbortSignal.timeout(term)
      try {
        await locks.request(name, { signal: patience }, enter)
      } catch (error) {
        if (outcome || !patience.aborted) throw error
        // One of those who wait takes the place of who has been there all the time; the others get in line again.
        await locks.request(`after ${holder}`, { ifAvailable: true }, async (mine) => {
          if (mine && (await holderOf(name)) === holder) await locks.request(name, { steal: true }, enter)
        })
      }
    }
  } catch (cause) {
    if (!outcome) throw new StoreError('The browser gave no lock', { cause })
  } finally {
    held = false // at its end, or because another tab passed this one over
  }
  return outcome
}

/** Tells acquisitions apart: all that is held under the name, the lock and the mark of who has it. */
async function holderOf(name: string): Promise<string> {
  const { held = [] } = await navigator.locks.query()
  return held.flatMap((lock) => (lock.name?.startsWith(name) ? [lock.clientId, lock.name] : [])).join()
}
