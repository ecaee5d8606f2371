/**
 * Gives `work` a signal and at most `ms` milliseconds; then rejects with `late()`, whether `work` heeds the signal or
 * not. Own timers rather than `AbortSignal.timeout`: that one cannot be moved by a fake clock.
 */
export async function within<T>(ms: number, late: () => Error, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  let timer: ReturnType<typeof setTimeout> | undefined
  const expiry = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const error = late()
      reject(error)
      controller.abort(error)
    }, ms)
  })
  try {
    return await Promise.race([work(controller.signal), expiry])
  } finally {
    clearTimeout(timer)
  }
}

/** Waits until `work` has settled, however, but no longer than `ms` milliseconds. */
export function settledWithin(ms: number, work: Promise<unknown>): Promise<void> {
  const settled = () => {}
  return within(ms, Error, () => work).then(settled, settled)
}

/** A timer that keeps no process alive: in Node it does unless told otherwise. */
export function timerBehind(work: () => void, ms: number): ReturnType<typeof setTimeout> {
  const timer = setTimeout(work, ms)
  Object(timer).unref?.()
  return timer
}

/** Is `over` after `ms` milliseconds, or once `end` was called. */
export function pauseFor(ms: number): { over: Promise<void>; end: () => void } {
  const { promise: over, resolve } = Promise.withResolvers<void>()
  const timer = timerBehind(resolve, ms)
  const end = () => {
    clearTimeout(timer)
    resolve()
  }
  return { over, end }
}

/** Waits for `shared` until the caller's own signal aborts; `shared` goes on. */
export function unlessAborted<T>(shared: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return shared
  return new Promise<T>((resolve, reject) => {
    const abort = () => reject(signal.reason)
    shared.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
    if (signal.aborted) return abort()
    signal.addEventListener('abort', abort, { once: true })
  })
}
