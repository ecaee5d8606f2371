import { inspect } from 'node:util'
import { type RedisClient, redisStore, refreshToken, StoreError } from '@keyturn/node'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { startRedis } from '../../../scripts/redis.mjs'
import { testAuthorizationServer } from '../../core/test/authorization-server.ts'
import { sourceAt } from '../../core/test/renewal-harness.ts'
import { record } from '../../core/test/token-store-contract.ts'
import { type Connected, clientNames, connect } from './redis-clients.ts'

let redis: Awaited<ReturnType<typeof startRedis>>
let all: Connected[] = []

beforeEach(async () => {
  redis = await startRedis()
  all = await Promise.all(clientNames.map((name) => connect(name, redis.url)))
}, 60_000)

afterEach(async () => {
  for (const { close } of all) close()
  await redis?.stop()
})

async function took(work: () => Promise<unknown>): Promise<[error: unknown, milliseconds: number]> {
  const before = performance.now()
  const error = await work().then(
    () => undefined,
    (reason: unknown) => reason,
  )
  return [error, performance.now() - before]
}

test.each(['freeze', 'kill'] as const)(
  'without Redis (%s) a call is given up, and sooner from then on; with it all is as before',
  { timeout: 60_000 },
  async (fate) => {
    const stores = all.map(({ client }) => redisStore(client))
    for (const store of stores) await store.get('alice')
    await redis[fate]()
    const givenUp = stores.map(async (store) => {
      for (const [nth, work] of [
        () => store.get('alice'),
        () => store.replace('alice', undefined, record(1)),
        () => store.lock('alice', async () => {}),
      ].entries()) {
        const [error, milliseconds] = await took(work)
        expect(error).toBeInstanceOf(StoreError)
        expect(error).toMatchObject({ code: 'storage', retryable: true })
        expect(milliseconds).toBeLessThan(nth === 0 ? 4_500 : 1_900)
      }
    })
    await Promise.all(givenUp)
    if (fate === 'kill') await redis.start()
    else redis.thaw()
    for (const [index, store] of stores.entries()) {
      const name = `back ${index}`
      await expect.poll(() => store.get(name).catch(() => 'gone'), { timeout: 20_000 }).toBeUndefined()
      expect(await store.replace(name, undefined, record(1))).toBe(true)
      expect(await store.lock(name, async (lease) => lease.valid())).toBe(true)
    }
  },
)

test('an answer that came while this process was busy counts', async () => {
  for (const { client } of all) {
    const store = redisStore(client)
    await store.get('alice')
    const answer = store.get('alice')
    // The command leaves now; the answer is there long before anybody looks.
    await new Promise((resolve) => setImmediate(resolve))
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_500)
    expect(await answer).toBeUndefined()
  }
}, 30_000)

test('a lock that was given up, and granted nevertheless, is given back', async () => {
  const [one, other] = all.map(({ client }) => redisStore(client))
  redis.freeze()
  await expect(one?.lock('alice', async () => 'never', 600_000)).rejects.toThrow(StoreError)
  redis.thaw()
  await expect
    .poll(() => other?.lock('alice', async () => 'free').catch(() => 'gone'), { timeout: 20_000 })
    .toBe('free')
})

test('a lock that was granted as the connection broke is given back', async () => {
  const { client } = all[2] ?? (await connect('iovalkey', redis.url))
  if (!('call' in client)) throw new Error('not this one')
  let isBroken = true
  const breaking: RedisClient = {
    call: async (...words) => {
      const reply = await client.call(...words)
      const breaks = isBroken && String(words[1]).includes("'NX'")
      isBroken &&= !breaks
      if (breaks) throw new Error('Connection is closed.')
      return reply
    },
  }
  const store = redisStore(breaking)
  await expect(store.lock('alice', async () => 'never', 600_000)).rejects.toThrow(StoreError)
  expect(await redisStore(client).lock('alice', async () => 'free')).toBe('free')
})

test('a refresh token that was spent is sent by nobody else while Redis cannot take the next one', async () => {
  const [mine, theirs] = [all[1]?.client, all[2]?.client]
  if (!mine || !theirs || !('call' in mine)) throw new Error('not this one')
  let isFull = false
  const filling: RedisClient = {
    call: (...words) => {
      const writes = String(words[1]).includes('HSET') && !words.some((word) => word.includes('"sending"'))
      return isFull && writes ? Promise.reject(new Error('OOM command not allowed')) : mine.call(...words)
    },
  }
  const server = testAuthorizationServer()
  const { options } = sourceAt(server, { timeout: 20_000 })
  const seeded = { ...options, refreshToken: server.newRefreshToken() }
  const [one, other] = [filling, theirs].map((client) => refreshToken({ ...seeded, store: redisStore(client) }))
  const rejectedToken = await one?.getAccessToken()
  isFull = true
  const token = await one?.getAccessToken({ rejectedToken })
  const asked = other?.getAccessToken({ rejectedToken })
  isFull = false
  expect(await asked).toBe(token)
  expect([server.tokenRequests().length, server.reuses]).toEqual([2, []])
  await expect.poll(() => all[2]?.command('KEYS', '*:lock')).toEqual([])
})

test('a lease ends on time though Redis can tell nobody', async () => {
  const [store] = all.map(({ client }) => redisStore(client))
  const lost = store?.lock(
    'alice',
    async (lease) => {
      redis.freeze()
      const before = lease.valid()
      await expect.poll(() => lease.valid(), { timeout: 10_000, interval: 20 }).toBe(false)
      return before
    },
    2_000,
  )
  expect(await lost).toBe(true)
})

test('a holder that was frozen finds its lease lost before any of its timers has run', async () => {
  const [store] = all.map(({ client }) => redisStore(client))
  const valid = store?.lock(
    'alice',
    async (lease) => {
      const before = lease.valid()
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_100)
      return [before, lease.valid()]
    },
    2_000,
  )
  expect(await valid).toEqual([true, false])
})

test('a lease that could not be given back is given back later', async () => {
  const { client } = all[2] ?? (await connect('iovalkey', redis.url))
  if (!('call' in client)) throw new Error('not this one')
  let refusals = 0
  const refusing: RedisClient = {
    call: (...words) => {
      const isRelease = String(words[1]).includes("'DEL'") && !String(words[1]).includes('HSET')
      return isRelease && refusals++ < 2 ? Promise.reject(new Error('Connection is closed')) : client.call(...words)
    },
  }
  expect(await redisStore(refusing).lock('alice', async () => 'value')).toBe('value')
  expect(await redisStore(client).lock('alice', async () => refusals)).toBe(3)
})

test('what a critical section returns is not lost with the lock', async () => {
  const [store] = all.map(({ client }) => redisStore(client))
  const value = store?.lock('alice', async () => {
    await redis.kill()
    return 'earned'
  })
  expect(await value).toBe('earned')
})

test('an error says what to change, and nothing of what was to be stored', async () => {
  const { command } = all[1] ?? (await connect('ioredis', redis.url))
  await command('ACL', 'SETUSER', 'reader', 'on', '>word', '~*', '+get', '+info', '+client', '+hello')
  const closed = createClient({ url: redis.url })
  const reader = new Redis(redis.url, { username: 'reader', password: 'word', lazyConnect: true })
  const refused: [client: RedisClient, fix: string][] = [
    [closed, 'connect()'],
    [reader, 'EVAL'],
  ]
  for (const [client, fix] of refused) {
    const error = await redisStore(client)
      .replace('alice', undefined, record(1, 'very secret'))
      .catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(StoreError)
    expect(error).toMatchObject({ code: 'storage', fix: expect.stringContaining(fix) })
    expect(inspect(error, { depth: 9 })).not.toContain('secret')
  }
  reader.disconnect()
})

test('what is no client is refused at once', () => {
  for (const client of [{}, { get: () => {} }, { call: 1 }, undefined]) {
    expect(() => redisStore(client as unknown as RedisClient)).toThrow(StoreError)
  }
})
