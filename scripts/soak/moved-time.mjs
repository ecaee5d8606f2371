// A clock that moves when it is told to: node:test's has no performance.now, and vitest's needs vitest.

let now = 0
let serial = 0
const start = Date.parse('2030-01-01T00:00:00Z')
/** @type {Map<number, { at: number, run: () => void }>} */
const timers = new Map()

/** From now on every timer and every clock of this process is moved by `elapse`. */
export function moveTime() {
  Date.now = () => start + now
  Object.defineProperty(performance, 'now', { value: () => now })
  globalThis.setTimeout = (run, delay = 0, ...values) => {
    const id = ++serial
    timers.set(id, { at: now + Math.max(Number(delay) || 0, 0), run: () => run(...values) })
    return Object.assign(Object(id), { unref() {}, ref() {}, [Symbol.toPrimitive]: () => id })
  }
  globalThis.clearTimeout = (timer) => {
    if (timer !== undefined && timer !== null) timers.delete(Number(timer))
  }
}

/** Timers that have neither run nor been cleared. */
export const pendingTimers = () => timers.size

/** Lets everything run that waits for no clock. */
export async function turns(count = 3) {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve))
}

export async function elapse(ms) {
  const end = now + ms
  for (;;) {
    await turns()
    const due = [...timers].filter(([, { at }]) => at <= end).sort(([, one], [, other]) => one.at - other.at)[0]
    if (due === undefined) break
    timers.delete(due[0])
    now = Math.max(now, due[1].at)
    due[1].run()
  }
  now = end
}
