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
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms)
    const settled = () => {
      clearTimeout(timer)
      resolve()
    }
    work.then(settled, settled)
  })
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

/** In Node a timer keeps the process alive unless told otherwise; elsewhere it is a number. */
export function unreferenced(timer: unknown): void {
  if (typeof timer === 'object' && timer !== null && 'unref' in timer && typeof timer.unref === 'function')
    timer.unref()
}
