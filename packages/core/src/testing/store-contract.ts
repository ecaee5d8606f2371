import type { Lease, StoredRecord, TokenStore } from '../token-store.ts'

/** What a check of the contract works with: a store that is empty, or has none of the keys that the checks use. */
export interface StoreUnderTest {
  readonly store: TokenStore
  /** Another store over the same records, as another tab or process would open it. Default: the same store. */
  readonly reopen?: (() => TokenStore) | undefined
  /** Called after each check. */
  readonly cleanup?: (() => void | Promise<void>) | undefined
}

/** One promise that every store makes. `check` rejects where the store breaks it; give it 30 seconds. */
export interface StoreCheck {
  readonly title: string
  readonly check: () => Promise<void>
}

/**
 * What a `TokenStore` has to do, as checks for any test runner:
 * `for (const { title, check } of tokenStoreContract(create)) test(title, check)`. `create` is called for each of them.
 */
export function tokenStoreContract(create: () => StoreUnderTest | Promise<StoreUnderTest>): StoreCheck[] {
  return Object.entries(promises).map(([title, keepsIt]) => ({
    title,
    async check() {
      const { store, reopen, cleanup } = await create()
      try {
        await keepsIt(store, reopen?.() ?? store)
      } finally {
        await cleanup?.()
      }
    },
  }))
}

const promises: Record<string, (store: TokenStore, other: TokenStore) => Promise<void>> = {
  async 'there is nothing where nothing was written'(store) {
    equal(await store.get('alice'), undefined)
  },

  async 'a record is created once'(store, other) {
    equal(await store.replace('alice', undefined, record(1, 'first')), true)
    equal(await other.replace('alice', undefined, record(2, 'second')), false)
    equal(await store.get('alice'), record(1, 'first'))
  },

  async 'of many who create the same record at once one succeeds'(store, other) {
    const attempts = range(20).map((n) => (n % 2 ? store : other).replace('alice', undefined, record(n + 1, `${n}`)))
    equal((await Promise.all(attempts)).filter(Boolean).length, 1)
  },

  async 'what one store writes, another that shares its records reads'(store, other) {
    await store.replace('alice', undefined, record(1, 'first'))
    equal(await other.get('alice'), record(1, 'first'))
    equal(await other.replace('alice', 1, record(2, 'second')), true)
    equal(await store.get('alice'), record(2, 'second'))
  },

  async 'a writer that knows an old version is refused'(store) {
    await store.replace('alice', undefined, record(1))
    await store.replace('alice', 1, record(2, 'newest'))
    equal(await store.replace('alice', 1, record(3)), false)
    equal(await store.replace('alice', 1, undefined), false)
    equal(await store.get('alice'), record(2, 'newest'))
  },

  async 'a record that is replaced by nothing is gone'(store, other) {
    await store.replace('alice', undefined, record(1))
    equal(await store.replace('alice', 1, undefined), true)
    equal(await store.get('alice'), undefined)
    equal(await other.get('alice'), undefined)
  },

  async 'nothing can be replaced by nothing'(store) {
    equal(await store.replace('alice', undefined, undefined), true)
    equal(await store.replace('alice', 1, undefined), false)
    equal(await store.get('alice'), undefined)
  },

  async 'a slow writer that knows the removed version does not bring the record back'(store) {
    await store.replace('alice', undefined, record(1))
    await store.replace('alice', 1, undefined)
    equal(await store.replace('alice', 1, record(2)), false)
    equal(await store.get('alice'), undefined)
  },

  async 'a record can be created anew after its removal'(store) {
    await store.replace('alice', undefined, record(1))
    await store.replace('alice', 1, undefined)
    equal(await store.replace('alice', undefined, record(2, 'new')), true)
    equal(await store.get('alice'), record(2, 'new'))
  },

  async 'everything in a record is kept'(store, other) {
    const full: StoredRecord = {
      ...record(Date.now(), 'ünïcödé \u0000 "quoted" 🔑'),
      claims: { sub: 'alice', nested: { list: [1, null, true] } },
      sending: 1,
      failures: { '': { code: 'network', count: 1, at: 1, retryAt: 2 } },
      timeline: [{ at: 1, event: 'issued' }],
    }
    await store.replace('alice', undefined, full)
    equal(await other.get('alice'), full)
  },

  async 'what is read or written is a copy'(store) {
    const written = { ...record(1), tokens: { a: token('kept') } }
    const writing = store.replace('alice', undefined, written)
    written.tokens.a.accessToken = 'changed after the call'
    await writing
    const read = await store.get('alice')
    if (read) Object.assign(read.tokens, { a: token('changed after the read') })
    equal((await store.get('alice'))?.tokens.a, token('kept'))
  },

  async 'records with different keys do not touch each other'(store) {
    const odd = ['', 'alice', 'Alice', 'alice ', '__proto__', 'constructor', '../up', 'a/b\\c:d', 'ä', 'x'.repeat(500)]
    for (const [index, key] of odd.entries()) {
      equal(await store.get(key), undefined)
      equal(await store.replace(key, undefined, record(index + 1, key)), true)
    }
    await store.replace('alice', 2, undefined)
    for (const [index, key] of odd.entries()) {
      equal(await store.get(key), key === 'alice' ? undefined : record(index + 1, key))
    }
  },

  async 'a hundred concurrent increments lose none'(store, other) {
    await store.replace('count', undefined, record(1, '0'))
    await Promise.all(range(100).map((n) => increment(n % 2 ? store : other, 'count')))
    equal((await store.get('count'))?.seed, '100')
  },

  async 'writers of different records do not disturb each other'(store, other) {
    const writes = range(20).map((n) => (n % 2 ? store : other).replace(`key ${n}`, undefined, record(1, `${n}`)))
    equal(
      await Promise.all(writes),
      range(20).map(() => true),
    )
    for (const n of range(20)) equal((await store.get(`key ${n}`))?.seed, `${n}`)
  },

  async 'a lock lets one in at a time'(store, other) {
    let inside = 0
    let most = 0
    const enter = async () => {
      most = Math.max(most, ++inside)
      await pause(2)
      inside--
    }
    await Promise.all(range(12).map((n) => (n % 2 ? store : other).lock('alice', enter)))
    equal(most, 1)
  },

  async 'a lock passes on the value, and the error as it is'(store) {
    equal(await store.lock('alice', async () => 'value'), 'value')
    const error = new Error('from the critical section')
    const caught = await store.lock('alice', () => Promise.reject(error)).catch((reason) => reason)
    if (caught !== error) throw new Error('the error of the critical section came back as another')
  },

  async 'a lock is free again after an error'(store, other) {
    const failing = () => {
      throw new Error('thrown, not rejected')
    }
    const caught = await store.lock('alice', failing).catch((reason) => reason)
    equal(Object(caught).message, 'thrown, not rejected')
    equal(await other.lock('alice', async () => 'next'), 'next')
  },

  async 'a lock holds for its key alone'(store, other) {
    equal(await store.lock('alice', () => other.lock('bob', () => store.lock('carol', async () => 'inside'))), 'inside')
  },

  async 'records can be read and written while a lock is held'(store, other) {
    await store.lock('alice', async () => {
      equal(await other.replace('alice', undefined, record(1)), true)
      equal(await store.get('alice'), record(1))
    })
  },

  async 'a lease is valid until its critical section ends'(store) {
    const lease = await store.lock('alice', async (given) => {
      equal(given.valid(), true)
      await pause(5)
      equal(given.valid(), true)
      return given
    })
    equal(lease.valid(), false)
  },

  async 'a holder past its lease is passed over, and its lease is lost'(store, other) {
    const slow = holder(store, 'alice', 200)
    const lease = await slow.lease
    equal(lease.valid(), true)
    equal(await other.lock('alice', async (next) => [lease.valid(), next.valid()]), [false, true])
    slow.finish('late')
    equal(await slow.result, 'late')
  },

  async 'a holder that was passed over does not free the lock of its successor'(store, other) {
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
    equal(third, false)
    equal(lease.valid(), true)
    successor.finish('done')
    await waiting
    equal(third, true)
  },

  async 'a change is told to those who watch the record, until they stop'(store, other) {
    if (store.watch === undefined) return
    const heard = { stopped: 0, stays: 0, elsewhere: 0 }
    const stop = store.watch('alice', () => heard.stopped++)
    const ends = [store.watch('alice', () => heard.stays++), store.watch('bob', () => heard.elsewhere++)]
    await other.replace('alice', undefined, record(1))
    await until(() => heard.stays > 0 && heard.stopped > 0)
    stop()
    heard.stays = heard.stopped = 0
    await other.replace('alice', 1, undefined)
    await until(() => heard.stays > 0)
    for (const end of ends) end()
    equal([heard.stopped, heard.elsewhere], [0, 0])
  },
}

function record(version: number, seed = 'a'): StoredRecord {
  return { format: 1, version, tokens: {}, seed }
}

function token(accessToken: string) {
  return { accessToken, tokenType: 'Bearer' as const, issuedAt: 1, expiresAt: 2 }
}

/** Counts up in the record's seed, against everybody else who does. */
async function increment(store: TokenStore, key: string): Promise<void> {
  for (;;) {
    const before = await store.get(key)
    const next = record(Number(before?.version) + 1, `${Number(before?.seed) + 1}`)
    if (await store.replace(key, before?.version, next)) return
    await pause(Math.random() * 300)
  }
}

/** Somebody who is in the critical section until told to finish. */
function holder(store: TokenStore, key: string, duration?: number) {
  const entered = Promise.withResolvers<Lease>()
  const finished = Promise.withResolvers<string>()
  const critical = (lease: Lease) => {
    entered.resolve(lease)
    return finished.promise
  }
  return { lease: entered.promise, finish: finished.resolve, result: store.lock(key, critical, duration) }
}

async function until(isSo: () => boolean): Promise<void> {
  const end = performance.now() + 5000
  while (!isSo()) {
    if (performance.now() > end) throw new Error('a change was not told within 5 s')
    await pause(10)
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}

function range(length: number): number[] {
  return Array.from({ length }, (_, index) => index)
}

function equal(actual: unknown, expected: unknown): void {
  const [is, should] = [actual, expected].map((value) => JSON.stringify(value, inOrder))
  if (is !== should) throw new Error(`expected ${should}, got ${is}`)
}

/** Members in the order of their names: a store may keep them in any. */
function inOrder(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1)))
}
