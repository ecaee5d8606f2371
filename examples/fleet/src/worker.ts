// One worker of many: calls an API all the time with a machine's token that all of them share in Redis.
import { setTimeout as wait } from 'node:timers/promises'
import { authenticatedFetch, clientCredentials, redisStore } from '@keyturn/node'
import { createClient } from 'redis'

const { ISSUER = '', CLIENT_ID = '', CLIENT_SECRET = '', API_URL = '', SCOPE, RESOURCE } = process.env
const { REDIS_URL = 'redis://localhost', TOKEN_KEY = '', EVERY = '1000' } = process.env

const redis = createClient({ url: REDIS_URL })
redis.on('error', () => {}) // it connects again by itself, and the tokens are in memory until then
await redis.connect()

const source = clientCredentials({
  issuer: ISSUER,
  clientId: CLIENT_ID,
  clientSecret: CLIENT_SECRET,
  scope: SCOPE,
  resource: RESOURCE,
  store: redisStore(redis, { key: TOKEN_KEY }),
  onWarning: () => {}, // it is in source.explain()
})
const api = authenticatedFetch(source, { apis: API_URL })

const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort())
process.once('disconnect', () => stop.abort())

while (!stop.signal.aborted) {
  try {
    const response = await api(API_URL, { signal: stop.signal })
    await response.text()
    say(response.ok ? 'served' : `refused with ${response.status}`)
  } catch (error) {
    if (!stop.signal.aborted) say(error instanceof Error ? error.message : String(error))
  }
  await wait(Number(EVERY) * (0.5 + Math.random()), undefined, { signal: stop.signal }).catch(() => {}) // the loop ends
}
await source[Symbol.asyncDispose]()
redis.destroy()
if (process.connected) process.disconnect()

function say(outcome: string): void {
  if (process.connected)
    process.send?.(outcome, () => {}) // who has gone meanwhile counts no more
  else console.log(`${new Date().toISOString()}  ${outcome}`)
}
