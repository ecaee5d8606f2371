/** The clock of this machine, which can be set wrong for all tabs of the page: only so can one watch what comes of it. */
const KEY = 'keyturn playground clock'

const now = Date.now.bind(Date)
const listeners = new Set<(shift: number) => void>()
let shift = stored()
Date.now = () => now() + shift

addEventListener('storage', ({ key }) => {
  if (key === KEY || key === null) apply(stored())
})

/** The time as it is. */
export const realNow: () => number = now

/** How far `Date.now()` is ahead of it, milliseconds. */
export const clockShift = (): number => shift

/** Sets the clock wrong by so many milliseconds, or right. */
export function setClock(milliseconds: number): void {
  if (milliseconds === 0) localStorage.removeItem(KEY)
  else localStorage.setItem(KEY, String(milliseconds))
  apply(milliseconds)
}

/** Calls back after every change. */
export function onClockChange(listener: (shift: number) => void): void {
  listeners.add(listener)
}

function stored(): number {
  return Number(localStorage.getItem(KEY) ?? 0) || 0
}

function apply(milliseconds: number): void {
  if (milliseconds === shift) return
  shift = milliseconds
  for (const listener of listeners) listener(shift)
}
