import { redisStore } from '@keyturn/node'
import { afterAll, beforeAll } from 'vitest'
import { startRedis } from '../../../scripts/redis.mjs'
import { tokenStoreContract } from '../../core/test/token-store-contract.ts'
import { type Connected, clientNames, connect } from './redis-clients.ts'

let redis: Awaited<ReturnType<typeof startRedis>>
const clients = new Map<string, Connected[]>()

beforeAll(async () => {
  redis = await startRedis()
  for (const name of clientNames) {
    clients.set(name, await Promise.all([connect(name, redis.url), connect(name, redis.url)]))
  }
}, 60_000)

afterAll(async () => {
  for (const { close } of [...clients.values()].flat()) close()
  await redis?.stop()
})

const key = crypto.getRandomValues(new Uint8Array(32))
const ways = { redis: { key }, ioredis: {}, iovalkey: { key: [crypto.getRandomValues(new Uint8Array(32)), key] } }
let count = 0
for (const name of clientNames) {
  tokenStoreContract(`redisStore on ${name}`, async () => {
    const options = { ...ways[name], prefix: `test-${++count}:` }
    const [one, other] = clients.get(name) ?? []
    if (!one || !other) throw new Error('no client')
    return { store: redisStore(one.client, options), reopen: () => redisStore(other.client, options) }
  })
}
