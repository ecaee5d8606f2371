import { mkdirSync, rmdirSync, stat, statSync, utimesSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { errorCode, fileError, isPassing } from './file-error.ts'
import { free, type Hold } from './lease.ts'

/** proper-lockfile takes no lock for stale sooner than this, milliseconds. */
const SHORTEST_STALE = 2_000
const LONGEST_TIMER = 2 ** 31 - 1
/** How often in a row Windows may refuse a folder for no lasting reason. */
const PATIENCE = 40

/** A lock that is held, or was. */
export interface FileHold extends Hold {
  /** Has nobody taken it over? Unlike `valid()` it does not look at the clock. */
  isOurs(): boolean
}

/**
 * Waits for the lock that the folder `directory` stands for, and takes it. One whose holder has had it for longer than
 * `duration` milliseconds is taken over; a holder never prolongs it.
 */
export async function acquire(directory: string, duration: number): Promise<FileHold> {
  const stale = Math.max(duration, SHORTEST_STALE)
  for (let attempt = 0, refusals = 0; ; attempt++) {
    try {
      const hold = await take(directory, duration)
      if (hold !== undefined) return hold
      if (await removeStale(directory, stale)) continue
      refusals = 0
    } catch (error) {
      if (!isPassing(error) || ++refusals > PATIENCE) throw fileError(error, directory)
    }
    await sleep(Math.min(50, 10 * 1.3 ** attempt) * (0.5 + Math.random()))
  }
}

/** Takes the lock if it is free. */
async function take(directory: string, duration: number): Promise<FileHold | undefined> {
  const { default: lockfile } = await import('proper-lockfile')
  const startedAt = performance.now()
  const startedOn = Date.now()
  let mtime: number | undefined
  const isOurs = () => mtime !== undefined && mtimeOf(directory) === mtime
  const removeOurs = () => {
    if (isOurs()) remove(directory)
    mtime = undefined
  }
  // proper-lockfile removes the folder without looking whose it is: by then it can be the successor's. So this looks,
  // in the same tick; and it learns which folder is its own in the tick that makes it.
  const fs = {
    mkdir: calledBack(() => {
      mkdirSync(directory)
      // Its age is told by this machine's clock: a file server's can be another.
      utimesSync(directory, startedOn / 1_000, startedOn / 1_000)
      mtime = mtimeOf(directory)
    }),
    stat,
    utimes: (_path: string, _atime: Date, _mtime: Date, done: () => void) => done(),
    rmdir: calledBack(removeOurs),
    rmdirSync: removeOurs,
  }
  try {
    const release = await lockfile.lock(`${directory}#${crypto.randomUUID()}`, {
      fs,
      lockfilePath: directory,
      realpath: false,
      // It neither takes over nor prolongs: two that take over at once would both have the lock, and who prolongs
      // makes the others wait for longer than a lease after its end.
      stale: Number.POSITIVE_INFINITY,
      update: LONGEST_TIMER,
      onCompromised: () => {},
    })
    // A clock that is set back counts as well: the others see it too.
    const elapsed = () => Math.max(performance.now() - startedAt, Math.abs(Date.now() - startedOn))
    return { isOurs, valid: () => elapsed() < duration && isOurs(), release }
  } catch (error) {
    if (errorCode(error) === 'ELOCKED') return undefined
    throw error
  }
}

/**
 * Removes a lock that is older than `stale` milliseconds; tells whether it did. One process at a time goes through this
 * door: of two that both saw the old lock, the second would remove what the first has just taken.
 */
async function removeStale(directory: string, stale: number): Promise<boolean> {
  if (!isStale(directory, stale)) return false
  const door = `${directory}.door`
  const entered = await take(door, SHORTEST_STALE)
  if (entered === undefined) {
    if (isStale(door, SHORTEST_STALE)) remove(door)
    return false
  }
  try {
    if (!entered.valid() || !isStale(directory, stale)) return false
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

/** In the future is stale too: the clock was set back, and nobody may wait until it is there again. */
function isStale(directory: string, stale: number): boolean {
  const mtime = mtimeOf(directory)
  return mtime !== undefined && Math.abs(Date.now() - mtime) > stale
}

/** Never throws; `undefined` where there is nothing to see. */
function mtimeOf(directory: string): number | undefined {
  try {
    return statSync(directory, { throwIfNoEntry: false })?.mtimeMs
  } catch {
    return undefined
  }
}

function calledBack(act: () => void): (path: string, done: (error?: unknown) => void) => void {
  return (_, done) => {
    try {
      act()
    } catch (error) {
      return done(error)
    }
    done()
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
