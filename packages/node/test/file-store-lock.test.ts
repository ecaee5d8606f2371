import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileStore } from '@keyturn/node'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'

let folder = ''
let path = ''
let lock = ''

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyturn-'))
  path = join(folder, 'tokens.json')
  lock = `${path}.2bd806c97f0e00af.lock`
})

afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** How long one waits for the lock, milliseconds. */
async function waited(duration: number): Promise<number> {
  const from = performance.now()
  await fileStore(path).lock('alice', async () => {}, duration)
  return performance.now() - from
}

test('a lock that another process holds is waited for until its lease is over, at least two seconds', async () => {
  mkdirSync(lock)
  const time = await waited(100)
  expect(time).toBeGreaterThan(1_700)
  expect(time).toBeLessThan(10_000)
  expect(readdirSync(folder)).toEqual([])
})

test('a lock that was left behind long ago is taken over at once', async () => {
  mkdirSync(lock)
  utimesSync(lock, 1, 1)
  expect(await waited(60_000)).toBeLessThan(1_500)
  expect(readdirSync(folder)).toEqual([])
})

test('while another process removes a lock that was left behind, it is left to that', async () => {
  mkdirSync(lock)
  utimesSync(lock, 1, 1)
  mkdirSync(`${lock}.door`)
  const time = await waited(60_000)
  expect(time).toBeGreaterThan(1_700)
  expect(time).toBeLessThan(10_000)
  expect(readdirSync(folder)).toEqual([])
})

test('of many who find a lock that was left behind one has it at a time', async () => {
  mkdirSync(lock)
  utimesSync(lock, 1, 1)
  let inside = 0
  let most = 0
  const stores = Array.from({ length: 8 }, () => fileStore(path))
  await Promise.all(
    stores.map((store) =>
      store.lock('alice', async (lease) => {
        most = Math.max(most, ++inside)
        expect(lease.valid()).toBe(true)
        await new Promise((resolve) => setTimeout(resolve, 5))
        inside--
      }),
    ),
  )
  expect(most).toBe(1)
  expect(readdirSync(folder)).toEqual([])
})

test('a lock is kept for as long as its holder may have it, however short a lease who waits would have', async () => {
  const order: string[] = []
  const held = fileStore(path).lock(
    'alice',
    async (lease) => {
      await new Promise((resolve) => setTimeout(resolve, 3_000))
      order.push(`holder ${lease.valid()}`)
    },
    30_000,
  )
  await vi.waitFor(() => expect(readdirSync(folder)).toHaveLength(1), 5_000)
  await fileStore(path).lock('alice', async () => order.push('next'), 100)
  await held
  expect(order).toEqual(['holder true', 'next'])
})

test('a lease without end is not over at once', async () => {
  for (const duration of [Number.POSITIVE_INFINITY, 2 ** 40]) {
    await fileStore(path).lock(
      'alice',
      async (lease) => {
        await new Promise((resolve) => setTimeout(resolve, 50))
        expect(lease.valid()).toBe(true)
        expect(readdirSync(folder)).toHaveLength(1)
      },
      duration,
    )
  }
})

test('a holder past its lease is passed over by those who wait in the same store', async () => {
  const store = fileStore(path)
  const { promise, resolve } = Promise.withResolvers<void>()
  const slow = store.lock('alice', () => promise, 200)
  expect(await store.lock('alice', async (lease) => lease.valid())).toBe(true)
  resolve()
  await slow
})
