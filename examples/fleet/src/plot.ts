/** What happened within one stretch of time. */
export interface Sample {
  served: number
  failed: number
  bought: number
  /** Whether Redis answered. */
  redis: boolean
}

/** The whole of it. */
export interface Totals {
  served: number
  failed: number
  bought: number
}

const HEIGHTS = '▁▂▃▄▅▆▇█'

/** Time from left to right, the newest stretches that there is room for. */
export function plot(samples: readonly Sample[], totals: Totals, columns: number): string[] {
  const room = Math.max(1, columns - 26)
  const shown = samples.slice(-room)
  const most = Math.max(1, ...shown.map(({ served }) => served))
  const height = ({ served }: Sample) => {
    return served === 0 ? ' ' : (HEIGHTS[Math.ceil((served / most) * HEIGHTS.length) - 1] ?? ' ')
  }
  const row = (title: string, total: number | string, mark: (sample: Sample) => string) => {
    return `${title.padEnd(15)}${shown.map(mark).join('').padEnd(room)} ${String(total).padStart(9)}`
  }
  const count = (value: number) => (value === 0 ? '·' : value < 10 ? String(value) : '+')
  return [
    row('calls served', totals.served, height),
    row('calls failed', totals.failed, ({ failed }) => count(failed)),
    row('tokens bought', totals.bought, ({ bought }) => count(bought)),
    row('Redis', samples.at(-1)?.redis === false ? 'gone' : 'well', ({ redis }) => (redis ? '━' : ' ')),
  ]
}
