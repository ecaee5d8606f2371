import assert from 'node:assert/strict'
import { setTimeout as wait } from 'node:timers/promises'
import { clientCredentials } from '@keyturn/node'
import { work } from '../../worker/src/worker.ts'
import { ENDS_ON_ITS_WAY, measure } from './measure.ts'
import type { PartOptions } from './once.ts'
import { startServers } from './servers.ts'

const LIFETIMES = 3

/** Machine tokens through three lifetimes; when the first ends the server answers 503. */
export async function worker({ done, ...options }: PartOptions): Promise<void> {
  const servers = await startServers(options)
  const { server, orders } = servers
  const source = clientCredentials({
    issuer: server.issuer,
    clientId: 'worker',
    clientSecret: 'worker-secret',
    scope: 'api:read',
    resource: orders.audience,
  })
  const bought = () => server.tokenRequests({ status: 200 })
  const refused = () => server.tokenRequests({ status: 503 })

  const row = await measure(
    `worker: ${LIFETIMES} lifetimes, 503 in the first`,
    servers,
    async () => {
      const stop = new AbortController()
      const outcomes: (number | Error)[] = []
      const report = (outcome: number | Error) => {
        outcomes.push(outcome)
        if (outcome !== 200) stop.abort()
      }
      const outage = async () => {
        await until(() => bought() > 0, stop.signal)
        await wait(500 * options.accessTokenTTL, undefined, { signal: stop.signal })
        server.fault({ status: 503 })
        await until(() => refused() > 0, stop.signal)
        server.fault()
        await until(() => bought() > LIFETIMES, stop.signal)
      }
      await source.client.metadata() // not in the second of the first token
      await wait(1000 - (Date.now() % 1000)) // the first token's whole seconds are then whole
      const working = work({ source, url: orders.url, signal: stop.signal, every: 50, report })
      await outage().catch(() => {}) // stopped, because a call failed
      stop.abort()
      await working

      const [failed] = outcomes.filter((outcome) => outcome !== 200)
      assert(failed === undefined, `a call came to ${failed instanceof Error ? failed.message : failed}`)
      const unheard = orders.served - outcomes.length // the last call may have been served and given up on its way back
      assert(unheard === 0 || unheard === 1, `${outcomes.length} calls made, ${orders.served} served`)
      assert(refused() > 0, 'no token request was answered 503')
      assert(bought() === LIFETIMES + 1, `${bought()} tokens bought for ${LIFETIMES} lifetimes`)
    },
    ENDS_ON_ITS_WAY,
  )
  await source[Symbol.asyncDispose]()
  await servers.stop()
  done(row)
}

async function until(condition: () => boolean, signal: AbortSignal): Promise<void> {
  while (!condition()) await wait(10, undefined, { signal })
}
