import { inspect } from 'node:util'
import { type RedisStoreOptions, redisStore, StoreError, unencrypted } from '@keyturn/node'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { startRedis } from '../../../scripts/redis.mjs'
import { record } from '../../core/test/token-store-contract.ts'
import { type Connected, connect, interrupted } from './redis-clients.ts'

const [first, second, third] = [1, 2, 3].map((n) => new Uint8Array(32).fill(n)) as [Uint8Array, Uint8Array, Uint8Array]
let redis: Awaited<ReturnType<typeof startRedis>>
let connected: Connected

beforeAll(async () => {
  redis = await startRedis()
  connected = await connect('ioredis', redis.url)
}, 60_000)

beforeEach(() => connected.command('FLUSHALL'))

afterAll(async () => {
  connected?.close()
  await redis?.stop()
})

const storeWith = (options?: RedisStoreOptions) => redisStore(connected.client, options)

/** Every key, and all that is under it. */
async function everything(): Promise<string> {
  const keys = (await connected.command('KEYS', '*')) as string[]
  const values = await Promise.all(keys.sort().map((key) => connected.command('HGETALL', key)))
  return JSON.stringify([keys, values])
}

test('with a key neither a record nor whose it is can be read in Redis', async () => {
  const store = storeWith({ key: first })
  await store.replace('alice@example.com', undefined, record(1, 'very secret'))
  const once = await everything()
  expect(once).toContain('keyturn:{')
  expect(once).not.toMatch(/alice|example|secret|tokens/)
  await store.replace('alice@example.com', 1, record(1, 'very secret'))
  expect(await everything()).not.toBe(once)
})

test('a passphrase is a key as well', { timeout: 60_000 }, async () => {
  await storeWith({ key: 'correct horse battery staple' }).replace('alice', undefined, record(1))
  expect(await storeWith({ key: 'correct horse battery staple' }).get('alice')).toEqual(record(1))
  await expect(storeWith({ key: 'correct horse' }).get('alice')).rejects.toThrow(StoreError)
})

test('keys rotate: the first one writes, all of them read, and what was read is written with the first', async () => {
  await storeWith({ key: first }).replace('alice', undefined, record(1, 'kept'))
  await storeWith({ key: [first, second] }).replace('bob', undefined, record(1, 'kept'))
  const rotated = storeWith({ key: [second, first] })
  for (const name of ['alice', 'bob']) {
    expect(await rotated.get(name)).toEqual(record(1, 'kept'))
    // The old one can be dropped though nothing has changed.
    expect(await storeWith({ key: second }).get(name)).toEqual(record(1, 'kept'))
    await expect(storeWith({ key: first }).get(name)).rejects.toThrow(StoreError)
    expect(await rotated.replace(name, 1, record(2, 'new'))).toBe(true)
    expect(await storeWith({ key: second }).get(name)).toEqual(record(2, 'new'))
  }
})

test('a record that somebody else has changed meanwhile is not written back when it is encrypted anew', async () => {
  const other = storeWith({ key: first })
  await other.replace('alice', undefined, record(1, 'old'))
  const client = interrupted(connected, 2, () => other.replace('alice', 1, record(2, 'new')))
  expect(await redisStore(client, { key: [second, first] }).get('alice')).toEqual(record(1, 'old'))
  expect(await other.get('alice')).toEqual(record(2, 'new'))
})

test('those who have the old key and those who have the new one stand in line for the same lock', async () => {
  const entered = Promise.withResolvers<void>()
  const left = Promise.withResolvers<void>()
  const order: string[] = []
  const old = storeWith({ key: first }).lock('alice', async () => {
    entered.resolve()
    await left.promise
    order.push('old')
  })
  await entered.promise
  const young = storeWith({ key: [second, first] }).lock('alice', async () => order.push('new'))
  left.resolve()
  await Promise.all([old, young])
  expect(order).toEqual(['old', 'new'])
})

test('a wrong or missing key is a typed error, and nothing is removed', async () => {
  await storeWith({ key: first }).replace('alice', undefined, record(1, 'secret'))
  const before = await everything()
  for (const options of [{ key: second }, { key: [second, third] }, {}]) {
    const store = storeWith(options)
    for (const attempt of [() => store.get('alice'), () => store.replace('alice', undefined, record(2))]) {
      const error = await attempt().catch((reason: unknown) => reason)
      expect(error).toBeInstanceOf(StoreError)
      expect(error).toMatchObject({ code: 'storage', retryable: false, fix: expect.stringContaining('`key`') })
      expect(inspect(error, { depth: 9 })).not.toContain('secret')
    }
    expect(await everything()).toBe(before)
  }
  expect(await storeWith({ key: first }).get('alice')).toEqual(record(1, 'secret'))
})

test('with a key a record in the clear is damage, for anybody could have written it; the next write takes its place', async () => {
  await storeWith().replace('alice', undefined, record(1, 'planted'))
  const store = storeWith({ key: first })
  expect(await store.get('alice')).toBeInstanceOf(StoreError)
  expect(await store.replace('alice', undefined, record(2))).toBe(true)
  expect(await store.get('alice')).toEqual(record(2))
  await expect(storeWith().get('alice')).rejects.toMatchObject({ retryable: false })
})

test('records in the clear are taken over where the list of keys says so, and encrypted when they are read', async () => {
  const text = 'kept in the clear'
  for (const name of ['alice', 'bob']) await storeWith().replace(name, undefined, record(1, text))
  const store = storeWith({ key: [first, unencrypted] })
  expect(await store.get('alice')).toEqual(record(1, text))
  expect(await store.replace('bob', 1, record(2, text))).toBe(true)
  expect(await everything()).not.toContain(text)
  const after = storeWith({ key: first })
  expect([await after.get('alice'), await after.get('bob')]).toEqual([record(1, text), record(2, text)])
})

test('a function is asked for the keys once, and again where a record needs one that it did not say', async () => {
  const ask = vi.fn(async () => [first])
  const store = storeWith({ key: ask })
  expect(await store.get('alice')).toBeUndefined()
  expect(ask).not.toHaveBeenCalled()
  await Promise.all(['alice', 'bob'].map((name) => store.replace(name, undefined, record(1))))
  expect(await store.get('alice')).toEqual(record(1))
  expect(ask).toHaveBeenCalledOnce()
  ask.mockImplementation(async () => [second, first])
  await storeWith({ key: second }).replace('carol', undefined, record(1))
  expect(await store.get('carol')).toEqual(record(1))
  expect(ask).toHaveBeenCalledTimes(2)
  expect(await store.get('bob')).toEqual(record(1))
})

test('a function that fails when a record needs another key costs nobody the keys that are known', async () => {
  const ask = vi.fn(async () => [first])
  const store = storeWith({ key: ask })
  await store.replace('alice', undefined, record(1, 'kept'))
  await storeWith({ key: second }).replace('bob', undefined, record(1))
  ask.mockRejectedValue(new Error('the vault is sealed'))
  await expect(store.get('bob')).rejects.toMatchObject({ name: 'StoreError', retryable: true })
  expect(await store.get('alice')).toEqual(record(1, 'kept'))
  expect(await store.replace('alice', 1, record(2))).toBe(true)
})

test('a function that fails is a typed error, and asked again', async () => {
  const ask = vi.fn(() => first)
  ask.mockImplementationOnce(() => {
    throw new Error('The keyring is locked')
  })
  const store = storeWith({ key: ask })
  await expect(store.replace('alice', undefined, record(1))).rejects.toMatchObject({
    name: 'StoreError',
    retryable: true,
  })
  expect(await store.replace('alice', undefined, record(1))).toBe(true)
})

test('what is encrypted is bound to its place and to its version', async () => {
  const store = storeWith({ key: first })
  await store.replace('alice', undefined, record(1))
  await store.replace('bob', undefined, record(1, 'of bob'))
  const [one = '', other = ''] = (await connected.command('KEYS', '*')) as string[]
  await connected.command('COPY', one, other, 'REPLACE')
  const answers = [await store.get('alice'), await store.get('bob')]
  expect(answers.filter((answer) => answer instanceof StoreError)).toHaveLength(1)
  for (const key of [one, other]) await connected.command('HSET', key, 'version', '7')
  expect(await store.get('alice')).toBeInstanceOf(StoreError)
})

test('what cannot be a key is refused at once', () => {
  const none = { key: process.env.KEYTURN_NO_SUCH_KEY } as RedisStoreOptions
  for (const options of [
    { key: '' },
    { key: new Uint8Array(31) },
    { key: [] },
    { key: [first, ''] },
    { key: [unencrypted, first] },
    none,
  ]) {
    expect(() => storeWith(options)).toThrow(StoreError)
  }
})

test('a store shows no key', async () => {
  const store = storeWith({ key: 'correct horse battery staple' })
  expect(inspect(store, { depth: 9, showHidden: true }) + JSON.stringify(store)).not.toContain('horse')
})
