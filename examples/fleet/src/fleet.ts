// A real Redis, an authorization server, an API, and workers that share one token: how many are bought, how many calls served.
import { type ChildProcess, fork } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { parseArgs } from 'node:util'
import { startRedis } from '../../../scripts/redis.mjs'
import { startServers } from '../../playground/src/servers.ts'
import { plot, type Sample, type Totals } from './plot.ts'

export interface FleetOptions {
  /** How many workers; default 10. */
  workers?: number
  /** Seconds that a token lives; default 12. */
  lifetime?: number
  /** Ends by itself after so many tokens were bought; default: never. */
  tokens?: number
}

const SAMPLE = 500

/** Runs until it is stopped, and says what it came to; resolves with the exit code. */
export async function runFleet({ workers = 10, lifetime = 12, tokens = Infinity }: FleetOptions = {}): Promise<number> {
  const [redis, servers] = await Promise.all([startRedis(), startServers({ accessTokenTTL: lifetime })])
  const { server, orders } = servers
  const totals: Totals = { served: 0, failed: 0, bought: 0 }
  const samples: Sample[] = []
  const failures = new Set<string>()
  let isBack = true
  let state: 'well' | 'killed' | 'frozen' = 'well'
  const sample = (): Sample => ({ served: 0, failed: 0, bought: 0, redis: isBack })
  let current = sample()

  const heard = (message: unknown) => {
    const outcome = message === 'served' ? 'served' : 'failed'
    totals[outcome]++
    current[outcome]++
    if (outcome === 'failed') failures.add(String(message))
  }
  const env = {
    ...process.env,
    ISSUER: server.issuer,
    CLIENT_ID: 'worker',
    CLIENT_SECRET: 'worker-secret',
    SCOPE: 'api:read',
    RESOURCE: orders.audience,
    API_URL: orders.url,
    REDIS_URL: redis.url,
    TOKEN_KEY: randomUUID(),
    EVERY: '100',
  }
  const children = Array.from({ length: workers }, () => {
    return fork(new URL('worker.ts', import.meta.url), { env, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  })
  for (const child of children) child.on('message', heard)

  const { promise: stopped, resolve: stop } = Promise.withResolvers<void>()
  const press = async (key: string) => {
    if (key === 'q' || key === '\x03') return stop()
    if (key === 'k' && state !== 'frozen') {
      isBack = state === 'killed'
      state = isBack ? 'well' : 'killed'
      await (isBack ? redis.start() : redis.kill())
    }
    if (key === 'f' && state !== 'killed') {
      isBack = state === 'frozen'
      state = isBack ? 'well' : 'frozen'
      if (isBack) redis.thaw()
      else redis.freeze()
    }
  }
  const screen = openScreen(press)
  const title = `${workers} workers, one Redis; a token lives ${lifetime} s`
  const look = () => {
    const bought = server.tokenRequests({ status: 200 })
    current.bought = bought - totals.bought
    totals.bought = bought
    samples.push(current)
    current = sample()
    screen.draw([title, '', ...plot(samples, totals, screen.columns()), '', 'k kill Redis   f freeze it   q quit'])
    if (bought >= tokens) stop()
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, stop)
  const timer = setInterval(look, SAMPLE)
  await stopped
  clearInterval(timer)
  screen.close()
  await Promise.all(children.map(ended))
  await Promise.all([redis.stop(), servers.stop()])
  for (const line of plot(samples, totals, 80)) console.log(line)
  for (const failure of failures) console.log(`FAILED  ${failure}`)
  return totals.failed > 0 ? 1 : 0
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise((resolve) => child.once('exit', resolve))
  child.disconnect()
  await gone
}

/** Over the whole terminal where there is one; otherwise nothing is drawn, and no key is heard. */
function openScreen(press: (key: string) => Promise<void>) {
  const { stdin, stdout } = process
  if (!stdin.isTTY || !stdout.isTTY) return { columns: () => 80, draw: () => {}, close: () => {} }
  const restore = () => void stdout.write('\x1b[?25h\x1b[?1049l')
  const onKey = (chunk: Buffer) => {
    for (const key of chunk.toString().toLowerCase()) void press(key)
  }
  stdout.write('\x1b[?1049h\x1b[?25l')
  process.once('exit', restore)
  stdin.setRawMode(true)
  stdin.on('data', onKey)
  return {
    columns: () => stdout.columns || 80,
    draw: (lines: string[]) => void stdout.write(`\x1b[H${lines.map((line) => `${line}\x1b[K`).join('\r\n')}\x1b[J`),
    close() {
      stdin.off('data', onKey)
      stdin.setRawMode(false)
      stdin.pause()
      process.off('exit', restore)
      restore()
    },
  }
}

if (import.meta.main) {
  const option = { type: 'string' } as const
  const { values } = parseArgs({ options: { workers: option, lifetime: option, tokens: option } })
  const numbers = Object.entries(values).map(([name, value]) => [name, Number(value)])
  process.exitCode = await runFleet(Object.fromEntries(numbers))
}
