import type { Row } from './measure.ts'
import { inBrowser } from './once-browser.ts'
import { boundToKeys } from './once-dpop.ts'
import { sharedFile } from './once-shared-file.ts'
import { signIn } from './once-sign-in.ts'
import { steppedUp } from './once-step-up.ts'
import { worker } from './once-worker.ts'

/** Seconds. A second of it may be lost, because a JWT expires at a whole one; the rest has room for a renewal that fails. */
const LIFETIME = 9
const WATCHDOG = 180_000

/** What a part is given; it starts servers of its own, so that what they count is its own doing. */
export interface PartOptions {
  accessTokenTTL: number
  /** Whether the APIs refuse everything, to see what a run that fails looks like. */
  refuse: boolean
  /** Prints a line of the table. */
  done: (row: Row) => void
  /** Prints anything else. */
  say: (line: string) => void
}

/** Does everything without a person and prints what the servers counted; resolves with the exit code. */
export async function runOnce({ refuse }: { refuse: boolean }): Promise<number> {
  const watchdog = setTimeout(() => {
    console.error(`Not done after ${WATCHDOG / 1000} s`)
    process.exit(1)
  }, WATCHDOG).unref()
  console.log(`Tokens live ${LIFETIME} s here, so three lifetimes take half a minute. The servers count.\n`)
  console.log(lineOf('', 'token requests', 'API calls', 'failures'))

  const started = Date.now()
  const rows: Row[] = []
  const clear = process.stdout.isTTY ? '\r\x1b[K' : ''
  const progress = setInterval(() => {
    if (clear) process.stdout.write(`${clear}… ${Math.round((Date.now() - started) / 1000)} s`)
  }, 1000)
  const say = (line: string) => {
    process.stdout.write(clear)
    console.log(line)
  }
  const done = (row: Row) => {
    rows.push(row)
    say(lineOf(row.part, row.tokenRequests, row.apiCalls, row.failures))
  }
  const parts = [inBrowser, signIn, steppedUp, boundToKeys, sharedFile, worker]
  const options = { accessTokenTTL: LIFETIME, refuse, done, say }
  const results = await Promise.allSettled(parts.map((part) => part(options)))
  clearTimeout(watchdog)
  clearInterval(progress)
  process.stdout.write(clear)

  const sum = (figure: 'tokenRequests' | 'apiCalls' | 'failures') => rows.reduce((all, row) => all + row[figure], 0)
  console.log(`${lineOf('all', sum('tokenRequests'), sum('apiCalls'), sum('failures'))}\n`)
  const problems = [
    ...rows.flatMap(({ part, problems }) => problems.map((problem) => `${part}: ${problem}`)),
    ...results.flatMap((result) => (result.status === 'rejected' ? [String(result.reason)] : [])),
  ]
  if (problems.length === 0) {
    console.log('Everything is as it should be.')
    return 0
  }
  for (const problem of problems) console.log(`FAILED  ${problem}`)
  return 1
}

function lineOf(part: string, ...figures: (string | number)[]): string {
  const widths = [16, 11, 10]
  return part.padEnd(43) + figures.map((figure, i) => String(figure).padStart(widths[i] ?? 0)).join('')
}
