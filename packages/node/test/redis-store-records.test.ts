import { type RedisClient, redisStore, StoreError } from '@keyturn/node'
import { Cluster } from 'ioredis'
import { createCluster } from 'redis'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { startRedis } from '../../../scripts/redis.mjs'
import { record } from '../../core/test/token-store-contract.ts'
import { type Connected, connect, interrupted } from './redis-clients.ts'

const DAY = 86_400_000
let redis: Awaited<ReturnType<typeof startRedis>>
let connected: Connected

beforeAll(async () => {
  redis = await startRedis()
  connected = await connect('iovalkey', redis.url)
}, 60_000)

beforeEach(() => connected.command('FLUSHALL'))

afterAll(async () => {
  connected?.close()
  await redis?.stop()
})

const keys = async () => ((await connected.command('KEYS', '*')) as string[]).sort()

test('every key has a time to live, longer than that of any token in it', async () => {
  const store = redisStore(connected.client)
  const expiresAt = Date.now() + 3 * DAY
  const tokens = { a: { accessToken: 'a', tokenType: 'Bearer', issuedAt: Date.now(), expiresAt } } as const
  await store.replace('machine', undefined, { ...record(1), tokens })
  const [machine = ''] = await keys()
  expect((Number(await connected.command('PTTL', machine)) - 3 * DAY) / DAY).toBeCloseTo(7, 1)
  await store.replace('machine', 1, { ...record(2), tokens, refreshToken: 'lives for a year' })
  expect(Number(await connected.command('PTTL', machine)) / DAY).toBeCloseTo(400, 1)
  await store.lock('machine', async () => {
    for (const key of await keys()) expect(Number(await connected.command('PTTL', key))).toBeGreaterThan(0)
  })
  expect(await keys()).toEqual([machine])
})

test('keys begin with the prefix, and stores with different prefixes share nothing', async () => {
  const [one, other] = ['one:', 'other:'].map((prefix) => redisStore(connected.client, { prefix }))
  await one?.replace('alice', undefined, record(1))
  expect(await other?.get('alice')).toBeUndefined()
  expect(await keys()).toEqual([expect.stringMatching(/^one:\{[\w-]{43}\}$/)])
})

test.each<[what: string, ...words: string[]]>([
  ['a record that is cut short', 'HSET', 'version', '3', 'record', '{"format":1,"vers'],
  ['a record that is none', 'HSET', 'version', '3', 'record', '"?"'],
  ['one whose version is another', 'HSET', 'version', '3', 'record', '{"format":1,"version":4,"tokens":{}}'],
  ['one without its version', 'HSET', 'record', '{"format":1,"version":4,"tokens":{}}'],
  ['something else', 'SET', 'garbage'],
])('%s is told as damage, kept aside by the next write, and forgotten', async (_, command, ...words) => {
  const store = redisStore(connected.client)
  await store.replace('alice', undefined, record(1))
  const [key = ''] = await keys()
  await connected.command('DEL', key)
  await connected.command(command, key, ...words)
  const damage: unknown = await store.get('alice')
  expect(damage).toBeInstanceOf(StoreError)
  expect(damage).toMatchObject({ retryable: false, fix: expect.stringContaining(`${key}:damaged`) })
  expect(await store.replace('alice', undefined, record(5, 'healed'))).toBe(true)
  expect(await store.get('alice')).toEqual(record(5, 'healed'))
  expect(await keys()).toEqual([key, `${key}:damaged`])
  expect(Number(await connected.command('PTTL', `${key}:damaged`))).toBeGreaterThan(DAY)
  expect(await store.replace('alice', undefined, record(6))).toBe(false)
})

test('a client that sends a command again, for it got no answer, does nothing twice', async () => {
  const { client } = connected
  if (!('call' in client)) throw new Error('not this one')
  const twice: RedisClient = {
    async call(...words) {
      await client.call(...words)
      return client.call(...words)
    },
  }
  const store = redisStore(twice)
  expect(await store.replace('alice', undefined, record(1))).toBe(true)
  expect(await store.replace('alice', 1, record(2))).toBe(true)
  expect(await store.replace('alice', 1, record(3))).toBe(false)
  expect(await store.lock('alice', async (lease) => lease.valid())).toBe(true)
  expect(await store.lock('alice', async (lease) => lease.valid())).toBe(true)
})

test('what somebody else has healed meanwhile is not set aside', async () => {
  const other = redisStore(connected.client)
  await other.replace('alice', undefined, record(1))
  const [key = ''] = await keys()
  await connected.command('HSET', key, 'record', '?')
  // It finds that something is there, looks at it, and is about to set it aside.
  const client = interrupted(connected, 3, () => other.replace('alice', undefined, record(2, 'healed')))
  expect(await redisStore(client).replace('alice', undefined, record(3, 'late'))).toBe(false)
  expect(await other.get('alice')).toEqual(record(2, 'healed'))
})

test('two who write the same at once are still two', async () => {
  const [one, other] = [redisStore(connected.client), redisStore(connected.client)]
  const written = await Promise.all([one, other].map((store) => store.replace('alice', undefined, record(1))))
  expect(written.sort()).toEqual([false, true])
})

test('a cluster has all that belongs to a record on one of its servers', async () => {
  const server = await startRedis({ cluster: true })
  const { command, close } = await connect('ioredis', server.url)
  await command('CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
  await expect.poll(() => command('CLUSTER', 'INFO'), { timeout: 30_000 }).toContain('cluster_state:ok')
  const ofRedis = createCluster({ rootNodes: [{ url: server.url }] }).on('error', () => {})
  await ofRedis.connect()
  const ofIoredis = new Cluster([{ host: '127.0.0.1', port: server.port }])
  for (const [index, client] of [ofRedis, ofIoredis].entries()) {
    const store = redisStore(client, { prefix: `${index}:`, key: new Uint8Array(32) })
    for (const name of ['alice', 'bob', 'carol', 'dave']) {
      expect(await store.replace(name, undefined, record(1))).toBe(true)
      expect(await store.lock(name, async () => store.replace(name, 1, record(2)))).toBe(true)
      expect(await store.get(name)).toEqual(record(2))
    }
    // Damage is moved to another key of the same slot.
    for (const key of (await command('KEYS', `${index}:*`)) as string[]) await command('HSET', key, 'record', '?')
    expect(await store.replace('alice', undefined, record(3))).toBe(true)
  }
  ofRedis.destroy()
  ofIoredis.disconnect()
  close()
  await server.stop()
}, 60_000)
