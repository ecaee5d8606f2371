import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { clientCredentials, redisStore } from '@keyturn/node'
import { startRedis } from '../../../../scripts/redis.mjs'
import { clientNames, connect } from '../redis-clients.ts'
import { startTokenServer } from './token-server.ts'

/** What a process says when it stops. */
export interface Report {
  /** Which process. */
  index: number
  served: number
  errors: { name: string; code: string; message: string; retryable: boolean }[]
  /** Tokens that it was given after their end. */
  expired: string[]
  /** Tokens that it was given for somebody else. */
  foreign: string[]
  /** What its sessions are. */
  states: string[]
}

export interface FleetOptions {
  /** How many processes. */
  count: number
  /** Seconds that an access token lives. */
  lifetime: number
  /** Of a request, milliseconds; a lease is three of them. */
  timeout: number
  /** Whose sessions they share; without any, all want the same token of a machine. */
  users?: string[]
  /** Whether Redis keeps what it has when it is killed. */
  kept?: boolean
}

const key = Array<number>(32).fill(7)

/** A real Redis, an authorization server that counts, and processes that are connected and wait for `begin`. */
export async function startFleet({ count, lifetime, users, kept = false, timeout }: FleetOptions) {
  const [redis, server] = await Promise.all([startRedis({ kept }), startTokenServer({ lifetime })])
  const { issuer, requests } = server
  const seeds = users?.map((user) => [user, server.newRefreshToken(user)])
  const workers = Array.from({ length: count }, (_, index) => {
    const client = clientNames[index % clientNames.length]
    // However many there are, they ask some two hundred times a second together.
    const settings = { index, issuer, url: redis.url, client, seeds, key, timeout, every: Math.max(50, 5 * count) }
    return fork(new URL('worker.mjs', import.meta.url), [JSON.stringify(settings)])
  })
  await Promise.all(workers.map((worker) => once(worker, 'message')))
  const living = () => workers.filter((worker) => worker.exitCode === null && worker.signalCode === null)
  const begin = () => {
    for (const worker of workers) worker.send('begin')
  }
  return {
    redis,
    server,
    workers,
    begin,
    /** Lets them begin, and waits until the first of them has a token. */
    async beginAndServe(): Promise<void> {
      begin()
      await until(async () => (await tokensOf(workers)).every(Boolean))
    },
    /** Waits until each has another token than these, and tells which. */
    async afterwards(before: (string | undefined)[]): Promise<(string | undefined)[]> {
      let tokens: (string | undefined)[] = []
      await until(async () => {
        tokens = await tokensOf(living())
        return tokens.every((token) => token && !before.includes(token))
      })
      return tokens
    },
    tokens: () => tokensOf(living()),
    /** The token that one who comes anew finds. */
    async stored(): Promise<string> {
      const { client, close } = await connect('ioredis', redis.url)
      const store = redisStore(client, { key: Uint8Array.from(key) })
      const source = clientCredentials({ issuer, clientId: 'worker', clientSecret: 'secret', store, timeout })
      return source.getAccessToken().finally(close)
    },
    /** Who has sent the nth request, and how to strike it. */
    senderOf(nth: number) {
      const index = requests[nth - 1]?.worker ?? -1
      return { index, signal: (signal: NodeJS.Signals) => workers[index]?.kill(signal) }
    },
    /** Lets all that are left stop. */
    reports: () => Promise.all(living().map(reportOf)),
    async [Symbol.asyncDispose]() {
      for (const worker of workers) worker.kill('SIGKILL')
      await Promise.all([redis.stop(), server.stop()])
    },
  }
}

export type Fleet = Awaited<ReturnType<typeof startFleet>>

/** Waits until something is so, a minute at most, and two seconds more for each of many processes. */
export async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + 60_000 + 2_000 * Number(process.env.KEYTURN_PROCESSES ?? 0)
  while (!(await isSo())) {
    if (Date.now() > end) throw new Error(`it took too long until ${isSo}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** The last token that each was given. */
async function tokensOf(workers: ChildProcess[]): Promise<(string | undefined)[]> {
  return Promise.all(
    workers.map(async (worker) => {
      const said = once(worker, 'message')
      worker.send('now')
      const [{ last }] = (await said) as [{ last: Record<string, string> }]
      return last.machine
    }),
  )
}

async function reportOf(worker: ChildProcess): Promise<Report> {
  const said = once(worker, 'message')
  worker.send('stop')
  const [report] = (await said) as [Report]
  return report
}
