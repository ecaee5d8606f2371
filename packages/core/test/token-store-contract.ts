import type { StoredRecord, TokenStore } from '@keyturn/core'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { holder, increment, pause, range, record, token } from './stored-records.ts'

export { increment, record }

/** What a test gets to work with. */
export interface StoreUnderTest {
  readonly store: TokenStore
  /** Another store over the same records, as another tab or process would open it; default: the same store. */
  readonly reopen?: (() => TokenStore) | undefined
  readonly cleanup?: (() => Promise<void>) | undefined
}

/** What every store has to do; runs wherever vitest does. */
export function tokenStoreContract(name: string, create: () => Promise<StoreUnderTest>): void {
  describe(name, () => {
    let store: TokenStore
    /** Shares its records with `store`. */
    let other: TokenStore
    let cleanup: StoreUnderTest['cleanup']

    beforeEach(async () => {
      const created = await create()
      store = created.store
      other = created.reopen?.() ?? store
      cleanup = created.cleanup
    })

    afterEach(async () => {
      await cleanup?.()
    })

    test('there is nothing where nothing was written', async () => {
      expect(await store.get('alice')).toBeUndefined()
    })

    test('a record is created once', async () => {
      expect(await store.replace('alice', undefined, record(1, 'first'))).toBe(true)
      expect(await other.replace('alice', undefined, record(2, 'second'))).toBe(false)
      expect(await store.get('alice')).toEqual(record(1, 'first'))
    })

    test('of many who create the same record at once one succeeds', async () => {
      const attempts = range(20).map((n) => (n % 2 ? store : other).replace('alice', undefined, record(n + 1, `${n}`)))
      expect((await Promise.all(attempts)).filter(Boolean)).toHaveLength(1)
    })

    test('what one store writes, another that shares its records reads', async () => {
      await store.replace('alice', undefined, record(1, 'first'))
      expect(await other.get('alice')).toEqual(record(1, 'first'))
      expect(await other.replace('alice', 1, record(2, 'second'))).toBe(true)
      expect(await store.get('alice')).toEqual(record(2, 'second'))
    })

    test('a writer that knows an old version is refused', async () => {
      await store.replace('alice', undefined, record(1))
      await store.replace('alice', 1, record(2, 'newest'))
      expect(await store.replace('alice', 1, record(3))).toBe(false)
      expect(await store.replace('alice', 1, undefined)).toBe(false)
      expect(await store.get('alice')).toEqual(record(2, 'newest'))
    })

    test('a record that is replaced by nothing is gone', async () => {
      await store.replace('alice', undefined, record(1))
      expect(await store.replace('alice', 1, undefined)).toBe(true)
      expect(await store.get('alice')).toBeUndefined()
      expect(await other.get('alice')).toBeUndefined()
    })

    test('nothing can be replaced by nothing', async () => {
      expect(await store.replace('alice', undefined, undefined)).toBe(true)
      expect(await store.replace('alice', 1, undefined)).toBe(false)
      expect(await store.get('alice')).toBeUndefined()
    })

    test('a slow writer that knows the removed version does not bring the record back', async () => {
      await store.replace('alice', undefined, record(1))
      await store.replace('alice', 1, undefined)
      expect(await store.replace('alice', 1, record(2))).toBe(false)
      expect(await store.get('alice')).toBeUndefined()
    })

    test('a record can be created anew after its removal', async () => {
      await store.replace('alice', undefined, record(1))
      await store.replace('alice', 1, undefined)
      expect(await store.replace('alice', undefined, record(2, 'new'))).toBe(true)
      expect(await store.get('alice')).toEqual(record(2, 'new'))
    })

    test('everything in a record is kept', async () => {
      const full: StoredRecord = {
        ...record(Date.now(), 'ünïcödé \u0000 "quoted" 🔑'),
        claims: { sub: 'alice', nested: { list: [1, null, true] } },
        sending: 1,
        failures: { '': { code: 'network', count: 1, at: 1, retryAt: 2 } },
        timeline: [{ at: 1, event: 'issued' }],
      }
      await store.replace('alice', undefined, full)
      expect(await other.get('alice')).toEqual(full)
    })

    test('what is read or written is a copy', async () => {
      const written = { ...record(1), tokens: { a: token('kept') } }
      const writing = store.replace('alice', undefined, written)
      written.tokens.a.accessToken = 'changed after the call'
      await writing
      const read = await store.get('alice')
      if (read) Object.assign(read.tokens, { a: token('changed after the read') })
      expect((await store.get('alice'))?.tokens.a).toEqual(token('kept'))
    })

    test('records with different keys do not touch each other', async () => {
      const keys = [
        '',
        'alice',
        'Alice',
        'alice ',
        '__proto__',
        'constructor',
        '../up',
        'a/b\\c:d',
        'ä',
        'x'.repeat(500),
      ]
      for (const [index, key] of keys.entries()) {
        expect(await store.get(key)).toBeUndefined()
        expect(await store.replace(key, undefined, record(index + 1, key))).toBe(true)
      }
      await store.replace('alice', 2, undefined)
      for (const [index, key] of keys.entries()) {
        expect(await store.get(key)).toEqual(key === 'alice' ? undefined : record(index + 1, key))
      }
    })

    test('a hundred concurrent increments lose none', async () => {
      await store.replace('count', undefined, record(1, '0'))
      await Promise.all(range(100).map((n) => increment(n % 2 ? store : other, 'count')))
      expect((await store.get('count'))?.seed).toBe('100')
    }, 20_000)

    test('writers of different records do not disturb each other', async () => {
      const writes = range(20).map((n) => (n % 2 ? store : other).replace(`key ${n}`, undefined, record(1, `${n}`)))
      expect(await Promise.all(writes)).toEqual(range(20).map(() => true))
      for (const n of range(20)) expect((await store.get(`key ${n}`))?.seed).toBe(`${n}`)
    })

    test('a lock lets one in at a time', async () => {
      let inside = 0
      let most = 0
      const enter = async () => {
        most = Math.max(most, ++inside)
        await pause(2)
        inside--
      }
      await Promise.all(range(12).map((n) => (n % 2 ? store : other).lock('alice', enter)))
      expect(most).toBe(1)
    })

    test('a lock passes on the value, and the error as it is', async () => {
      expect(await store.lock('alice', async () => 'value')).toBe('value')
      const error = new Error('from the critical section')
      await expect(store.lock('alice', () => Promise.reject(error))).rejects.toBe(error)
    })

    test('a lock is free again after an error', async () => {
      const failing = () => {
        throw new Error('thrown, not rejected')
      }
      await expect(store.lock('alice', failing)).rejects.toThrow('thrown, not rejected')
      expect(await other.lock('alice', async () => 'next')).toBe('next')
    })

    test('a lock holds for its key alone', async () => {
      const value = await store.lock('alice', () => other.lock('bob', () => store.lock('carol', async () => 'inside')))
      expect(value).toBe('inside')
    })

    test('records can be read and written while a lock is held', async () => {
      await store.lock('alice', async () => {
        expect(await other.replace('alice', undefined, record(1))).toBe(true)
        expect(await store.get('alice')).toEqual(record(1))
      })
    })

    test('a lease is valid until its critical section ends', async () => {
      const lease = await store.lock('alice', async (lease) => {
        expect(lease.valid()).toBe(true)
        await pause(5)
        expect(lease.valid()).toBe(true)
        return lease
      })
      expect(lease.valid()).toBe(false)
    })

    test('a holder past its lease is passed over, and its lease is lost', async () => {
      const slow = holder(store, 'alice', 200)
      const lease = await slow.lease
      expect(lease.valid()).toBe(true)
      const valid = await other.lock('alice', async (next) => [lease.valid(), next.valid()])
      expect(valid).toEqual([false, true])
      slow.finish('late')
      expect(await slow.result).toBe('late')
    })

    test('a holder that was passed over does not free the lock of its successor', async () => {
      const slow = holder(store, 'alice', 200)
      await slow.lease
      const successor = holder(other, 'alice')
      const lease = await successor.lease
      slow.finish('late')
      await slow.result
      let third = false
      const waiting = store.lock('alice', async () => {
        third = true
      })
      await pause(80)
      expect(third).toBe(false)
      expect(lease.valid()).toBe(true)
      successor.finish('done')
      await waiting
      expect(third).toBe(true)
    })

    test('a change is told to those who watch the record, until they stop', async () => {
      const [stopped, stays, elsewhere] = [vi.fn(), vi.fn(), vi.fn()]
      if (store.watch === undefined) return
      const stop = store.watch('alice', stopped)
      const ends = [store.watch('alice', stays), store.watch('bob', elsewhere)]
      await other.replace('alice', undefined, record(1))
      await vi.waitFor(() => expect(stays).toHaveBeenCalled(), 5_000)
      await vi.waitFor(() => expect(stopped).toHaveBeenCalled(), 5_000)
      stop()
      for (const listener of [stopped, stays]) listener.mockClear()
      await other.replace('alice', 1, undefined)
      await vi.waitFor(() => expect(stays).toHaveBeenCalled(), 5_000)
      for (const end of ends) end()
      expect(stopped).not.toHaveBeenCalled()
      expect(elsewhere).not.toHaveBeenCalled()
    })
  })
}
