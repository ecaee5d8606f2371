import { type Lease, StoreError } from '@keyturn/core'

/**
 * A Web Lock with a lease. The platform never takes a lock away from a tab that is frozen or hangs; here a tab that has
 * held it for the whole `duration` is passed over. Which acquisition it is shows in a second lock with a name of its own,
 * so that a lock which many tabs take in turn is not mistaken for one that never comes back.
 */
export async function webLock<T>(name: string, critical: (lease: Lease) => Promise<T>, duration = 30_000): Promise<T> {
  let outcome: Promise<T> | undefined
  const enter = async () => {
    const until = performance.now() + duration
    const wallUntil = Date.now() + duration
    const valid = () => performance.now() < until && Date.now() < wallUntil
    await navigator.locks.request(`${name} #${crypto.randomUUID()}`, () => {
      outcome = critical({ valid })
      return outcome
    })
  }
  const waiting = new AbortController()
  let timer: ReturnType<typeof setTimeout> | undefined
  const watchHolder = async (before: string | undefined) => {
    const holder = await currentHolder(name)
    if (outcome !== undefined) return
    if (holder !== undefined && holder === before) waiting.abort(holder)
    else timer = setTimeout(() => watchHolder(holder).catch(() => {}), duration)
  }
  watchHolder(undefined).catch(() => {}) // where nobody can be asked, the lock is waited for as the platform does
  try {
    await navigator.locks.request(name, { signal: waiting.signal }, enter)
  } catch (error) {
    if (outcome === undefined && !waiting.signal.aborted) throw error
    if (outcome === undefined) {
      await navigator.locks.request(waiting.signal.reason, { steal: true }, () => {})
      await navigator.locks.request(name, { steal: true }, enter).catch(() => {})
    }
  } finally {
    clearTimeout(timer)
  }
  if (outcome === undefined) throw new StoreError('Another tab took the lock')
  return outcome // also where another tab took the lock over meanwhile: the lease tells
}

async function currentHolder(name: string): Promise<string | undefined> {
  const { held } = await navigator.locks.query()
  return held?.find((lock) => lock.name?.startsWith(`${name} #`))?.name
}
