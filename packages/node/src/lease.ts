import type { Lease } from '@keyturn/core'

const LONGEST_TIMER = 2 ** 31 - 1

/** A lock that is held, or was. */
export interface Hold extends Lease {
  /** Frees it, unless it is somebody else's by now. */
  release(): Promise<void>
}

/** Runs `critical` while `hold` is held. After `duration` milliseconds its lease is lost, and `passedOver` is called. */
export async function withLease<T>(
  hold: Hold,
  duration: number,
  critical: (lease: Lease) => Promise<T>,
  passedOver: () => void,
): Promise<T> {
  let held = true
  const end = async () => {
    if (!held) return
    held = false
    await free(hold)
    passedOver()
  }
  const timer = setTimeout(() => void end(), Math.min(duration, LONGEST_TIMER)).unref()
  try {
    return await critical({ valid: () => held && hold.valid() })
  } finally {
    clearTimeout(timer)
    await end()
  }
}

/** Frees what can be freed. */
export async function free(hold: Hold): Promise<void> {
  try {
    await hold.release()
  } catch {
    // What cannot be freed ends by itself.
  }
}
