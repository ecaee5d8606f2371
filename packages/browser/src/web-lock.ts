import { type Lease, StoreError } from '@keyturn/core'

/**
 * A Web Lock with a lease. The platform never takes a lock away from a tab that is frozen or hangs; here a tab gives it
 * back after `duration`, and one that cannot even do that is passed over.
 */
export async function webLock<T>(name: string, critical: (lease: Lease) => Promise<T>, duration = 30_000): Promise<T> {
  const { locks } = navigator
  let outcome: Promise<T> | undefined
  let held = true
  const enter = () => {
    const until = performance.now() + duration
    const wallUntil = Date.now() + duration
    const valid = () => held && performance.now() < until && Date.now() < wallUntil
    outcome = (async () => critical({ valid }))()
    const { promise: over, resolve: leave } = Promise.withResolvers<void>()
    const timer = setTimeout(leave, Math.min(duration, 2 ** 31 - 1))
    const ended = () => {
      clearTimeout(timer)
      leave()
    }
    outcome.then(ended, ended)
    // Shows which acquisition this is, so that a lock which is taken in turn is not mistaken for one that never comes back.
    locks.request(`${name} #${crypto.randomUUID()}`, () => over).catch(() => {})
    return over
  }
  try {
    while (outcome === undefined) {
      const stuck = await inLine(name, enter, duration)
      if (stuck === undefined) continue
      // One of those who wait takes its place; the others get in line again.
      await locks.request(`${name} after ${stuck}`, { ifAvailable: true }, async (mine) => {
        if (mine && (await holderOf(name)) === stuck) await locks.request(name, { steal: true }, enter)
      })
    }
  } catch (cause) {
    if (outcome === undefined) throw new StoreError('The browser gave no lock', { cause })
  } finally {
    held = false // at its end, or because another tab passed this one over
  }
  return outcome
}

/** Enters when it is its turn; resolves with the holder where that has kept the lock for the whole `duration`. */
async function inLine(name: string, enter: () => Promise<void>, duration: number): Promise<string | undefined> {
  const waiting = new AbortController()
  let entered = false
  let seen: string | undefined
  let since = 0
  let timer: ReturnType<typeof setTimeout> | undefined
  const look = async () => {
    const holder = await holderOf(name)
    if (entered || waiting.signal.aborted) return
    const now = performance.now()
    if (holder !== seen) since = now
    seen = holder
    if (seen !== undefined && now - since >= duration) return waiting.abort()
    timer = setTimeout(looked, duration / 8)
  }
  const looked = () => void look().catch(() => {}) // where nobody can be asked, the lock is waited for as the platform does
  looked()
  try {
    await navigator.locks.request(name, { signal: waiting.signal }, () => {
      entered = true
      return enter()
    })
  } catch (error) {
    if (entered || !waiting.signal.aborted) throw error
    return seen
  } finally {
    clearTimeout(timer)
    waiting.abort()
  }
  return undefined
}

/** Which tab has the lock and, as soon as that shows, with which acquisition. */
async function holderOf(name: string): Promise<string | undefined> {
  const { held = [] } = await navigator.locks.query()
  const holder = held.find((lock) => lock.name === name)
  const mark = held.find((lock) => lock.clientId === holder?.clientId && lock.name?.startsWith(`${name} #`))
  return holder && `${holder.clientId} ${mark?.name}`
}
