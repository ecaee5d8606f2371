import { mkdirSync, rmdirSync, statSync, utimesSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { errorCode, fileError, isPassing } from './file-error.ts'
import { removedAtExit } from './held-locks.ts'
import { free, type Hold } from './lease.ts'

/** How long a lock is left alone at least, milliseconds: one that has just been made does not say yet until when it holds. */
const SHORTEST = 2_000
/** And at most. */
const LONGEST = 600_000
/** How often in a row Windows may refuse a folder for no lasting reason. */
const PATIENCE = 40

/** A lock that is held, or was. */
export interface FileHold extends Hold {
  /** Has nobody taken it over? Unlike `valid()` it does not look at the clock. */
  isOurs(): boolean
}

/**
 * Waits for the lock that the folder `directory` stands for, and takes it for `duration` milliseconds. One whose holder
 * has had it for longer than it said is taken over; a holder never prolongs it.
 */
export async function acquire(directory: string, duration: number): Promise<FileHold> {
  for (let attempt = 0, refusals = 0; ; attempt++) {
    try {
      const hold = take(directory, duration)
      if (hold !== undefined) return hold
      if (await removeStale(directory)) continue
      refusals = 0
    } catch (error) {
      if (!isPassing(error) || ++refusals > PATIENCE) throw fileError(error, directory)
    }
    await sleep(Math.min(50, 10 * 1.3 ** attempt) * (0.5 + Math.random()))
  }
}

/** Takes the lock if it is free. */
function take(directory: string, duration: number): FileHold | undefined {
  const startedAt = performance.now()
  const startedOn = Date.now()
  try {
    mkdirSync(directory)
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return undefined
    throw error
  }
  // Until when it holds, less what every lock is left alone; by this machine's clock, for a file server's can be another.
  const until = startedOn + Math.min(Math.max(duration, SHORTEST), LONGEST) - SHORTEST
  utimesSync(directory, until / 1_000, until / 1_000)
  let mtime = mtimeOf(directory)
  const isOurs = () => mtime !== undefined && mtimeOf(directory) === mtime
  const release = () => {
    stopRemoving()
    // In the same tick: by the next one it can be the successor's.
    if (isOurs()) remove(directory)
    mtime = undefined
  }
  const stopRemoving = removedAtExit(release)
  // A clock that is set back counts as well: the others see it too.
  const elapsed = () => Math.max(performance.now() - startedAt, Math.abs(Date.now() - startedOn))
  return { isOurs, valid: () => elapsed() < duration && isOurs(), release: async () => release() }
}

/**
 * Removes a lock whose time is over; tells whether it did. One process at a time goes through this door: of two that both
 * saw the old lock, the second would remove what the first has just taken.
 */
async function removeStale(directory: string): Promise<boolean> {
  if (!isStale(directory)) return false
  const door = `${directory}.door`
  const entered = take(door, SHORTEST)
  if (entered === undefined) {
    if (isStale(door)) remove(door)
    return false
  }
  try {
    if (!entered.valid() || !isStale(directory)) return false
    remove(directory)
    return true
  } finally {
    await free(entered)
  }
}

function remove(directory: string): void {
  try {
    rmdirSync(directory)
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error
  }
}

/** Far in the future is stale too: the clock was set back, and nobody may wait until it is there again. */
function isStale(directory: string): boolean {
  const mtime = mtimeOf(directory)
  if (mtime === undefined) return false
  const over = Date.now() - mtime
  return over > SHORTEST || over < -LONGEST
}

/** Never throws; `undefined` where there is nothing to see. */
function mtimeOf(directory: string): number | undefined {
  try {
    return statSync(directory, { throwIfNoEntry: false })?.mtimeMs
  } catch {
    return undefined
  }
}

/** Runs `task` under the lock. It takes a moment, and asks `isOurs` in the tick in which it changes something. */
export async function withLock<T>(
  directory: string,
  duration: number,
  task: (isOurs: () => boolean) => Promise<T>,
): Promise<T> {
  const hold = await acquire(directory, duration)
  try {
    return await task(hold.isOurs)
  } finally {
    await free(hold)
  }
}
