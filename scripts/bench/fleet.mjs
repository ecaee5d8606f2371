// Workers that share one token in a real Redis, each with a connection of its own as if it were another process.
import { TokenManager } from '@keyturn/core'
import { redisStore } from '@keyturn/node'
import { Redis } from 'ioredis'
import { startRedis } from '../redis.mjs'
import { contenders, server } from './contenders.mjs'
import { msalFleet } from './msal.mjs'

const SIZE = 100

/** Gives `measure` a fleet; then it is gone. */
export async function withFleet(measure) {
  const redis = await startRedis()
  const clients = Array.from({ length: SIZE }, () => new Redis(redis.url))
  const key = crypto.getRandomValues(new Uint8Array(32))
  const grant = async () => ({ ...(await server.issue()), tokenType: 'Bearer' })
  const sources = clients.map((client) => {
    return new TokenManager(grant, {
      issuer: 'https://as.example',
      clientId: 'bench',
      store: redisStore(client, { key }),
    })
  })
  await measure({
    size: SIZE,
    askAll: () => Promise.all(sources.map((source) => source.getAccessToken())),
    askAllOfMsal: msalFleet(clients),
    askOne: () => sources[0].getAccessToken(),
    alone: contenders.keyturn(),
  })
  for (const client of clients) client.disconnect()
  await redis.stop()
}
