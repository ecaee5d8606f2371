import { unlessAborted } from './deadline.ts'
import { OAuthError, TokenUnavailableError } from './errors.ts'

/** What is told of a connection that is gone, or could not be had, before another one is tried. */
export interface Disconnection {
  /** Milliseconds until then. */
  readonly delay: number
  /** Why, as far as it is known: what the source or the platform rejected with. */
  readonly error?: unknown
}

const LONGEST_DELAY = 120_000
/** No timer can wait longer, milliseconds. */
const LONGEST_TIMER = 2 ** 31 - 1

/** A connection that has lasted for so many milliseconds was wanted by the server; what ended it is something new. */
export const ACCEPTED_AFTER = 10_000

/**
 * Milliseconds before the next attempt: never less than `least`, doubled with every failure in a row up to two minutes,
 * and up to half as much again, so that those who were cut off together do not come back together.
 */
export function reconnectionDelay(least: number, failures: number, error?: unknown): number {
  const delay = Math.max(least, Math.min(least * 2 ** failures, LONGEST_DELAY))
  const told = error instanceof TokenUnavailableError ? error.retryAt - Date.now() : 0
  return Math.round(Math.max(delay + (Math.random() * delay) / 2, told))
}

/** Whether a failure to connect may pass by itself: an outage, or what fetch rejects with. */
export function mayPass(error: unknown): boolean {
  return !(error instanceof OAuthError) || (error.retryable && error.code !== 'connection-failed')
}

/**
 * Waits, or rejects with the signal's reason. What is `awaited` by the app keeps a process alive, as the connection would,
 * and is over when the network returns; a timer of the background does neither.
 */
export function pause(ms: number, signal: AbortSignal, awaited: boolean): Promise<void> {
  let end = () => {}
  let isOver = false
  const over = new Promise<void>((resolve) => {
    end = () => {
      isOver = true
      resolve()
    }
  })
  const timer = setTimeout(end, Math.min(ms, LONGEST_TIMER))
  if (awaited) globalThis.addEventListener?.('online', end)
  else Object(timer).unref?.()
  return unlessAborted(over, signal).finally(() => {
    if (!isOver) Object(timer).ref?.() // else Node keeps something of it until it would have been over
    clearTimeout(timer)
    globalThis.removeEventListener?.('online', end)
  })
}
