import { readFileSync, statSync, unwatchFile, watch, watchFile } from 'node:fs'
import { basename, dirname } from 'node:path'
import { locate, makeFolder, readText } from './atomic-file.ts'

/** One write makes several events; they are looked at together, milliseconds. */
const DEBOUNCE = 20
/** macOS begins to watch a moment after it was asked to: a change in between is found by looking once, milliseconds. */
const SETTLED = 250
const POLL = 1_000

/** What tells one state of a record in the text of a file from another: its version, or that it is damaged. */
export type StateIn = (text: string, key: string) => Promise<number | 'damaged' | undefined>

interface Watched {
  readonly listeners: Set<() => void>
  state: ReturnType<StateIn>
}

/** Watches the records of one file; keeps no process alive. */
export class RecordWatch {
  readonly #path: string
  readonly #stateIn: StateIn
  readonly #watched = new Map<string, Watched>()
  #close: (() => void) | undefined
  #timer: NodeJS.Timeout | undefined
  #due = Number.POSITIVE_INFINITY
  #checks: Promise<void> = Promise.resolve()

  constructor(path: string, stateIn: StateIn) {
    this.#path = path
    this.#stateIn = stateIn
  }

  /** Calls `listener` after each change of the record, whoever made it; returns what ends that. */
  add(key: string, listener: () => void): () => void {
    const path = located(this.#path)
    if (this.#close === undefined) {
      this.#close = watchPath(path, () => this.#checkIn(DEBOUNCE))
      this.#checkIn(SETTLED)
    }
    let watched = this.#watched.get(key)
    if (watched === undefined) {
      // Read in this tick: what is written from now on is a change.
      const state = this.#stateIn(readNow(path), key).catch(() => undefined)
      watched = { listeners: new Set(), state }
      this.#watched.set(key, watched)
    }
    const { listeners } = watched
    listeners.add(listener)
    return () => {
      listeners.delete(listener)
      if (listeners.size === 0 && this.#watched.get(key)?.listeners === listeners) this.#watched.delete(key)
      if (this.#watched.size === 0) this.#stop()
    }
  }

  #stop(): void {
    this.#close?.()
    this.#close = undefined
    clearTimeout(this.#timer)
    this.#due = Number.POSITIVE_INFINITY
  }

  #checkIn(delay: number): void {
    const due = performance.now() + delay
    if (due >= this.#due) return
    this.#due = due
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.#due = Number.POSITIVE_INFINITY
      // A file that cannot be read now is no change; whoever reads it next is told why.
      this.#checks = this.#checks.then(() => this.#check()).catch(() => {})
    }, delay).unref()
  }

  async #check(): Promise<void> {
    const text = await readText(located(this.#path))
    for (const [key, watched] of this.#watched) {
      const before = await watched.state
      const state = await this.#stateIn(text, key)
      if (state === before) continue
      watched.state = Promise.resolve(state)
      for (const listener of watched.listeners) queueMicrotask(() => watched.listeners.has(listener) && listener())
    }
  }
}

/** Watches the folder: a file that is replaced is another one each time. Polls where that cannot be done. */
function watchPath(path: string, changed: () => void): () => void {
  let close = () => {}
  const poll = () => {
    watchFile(path, { persistent: false, interval: POLL }, changed)
    close = () => unwatchFile(path, changed)
  }
  try {
    const folder = dirname(path)
    makeFolder(folder)
    const watched = inodeOf(folder)
    const watcher = watch(folder, { persistent: false }, (_, name) => {
      if (name === null || name === basename(path)) changed()
      // A folder that is gone tells of nothing any more, also when there is another of its name.
      if (inodeOf(folder) !== watched) giveUp()
    })
    let isGivenUp = false
    const giveUp = () => {
      if (isGivenUp) return
      isGivenUp = true
      watcher.close()
      poll()
      changed()
    }
    close = () => watcher.close()
    watcher.on('error', giveUp)
  } catch {
    poll()
  }
  return () => close()
}

/** Never throws; `undefined` where there is nothing to see. */
function inodeOf(folder: string): number | undefined {
  try {
    return statSync(folder, { throwIfNoEntry: false })?.ino
  } catch {
    return undefined
  }
}

function located(path: string): string {
  try {
    return locate(path)
  } catch {
    return path
  }
}

function readNow(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
