import type { StoredRecord } from '../token-store.ts'
import { type Checks, equal, increment, range, record, token } from './check-parts.ts'

/** Reading, compare-and-set, removal. */
export const recordChecks: Checks = {
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

  async 'a private key is kept as the store says that it keeps keys'(store, other) {
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
    const pair = await crypto.subtle.generateKey(algorithm, store.keys === 'encrypted', ['sign', 'verify'])
    if (store.keys === 'structured' || store.keys === 'memory') {
      await store.replace('alice', undefined, { ...record(1), key: { thumbprint: 'a', pair } })
      const found = (await other.get('alice'))?.key?.pair?.privateKey
      equal(found?.extractable, false)
      const bytes = new Uint8Array([1, 2, 3])
      const signature = found && (await crypto.subtle.sign(algorithm, found, bytes))
      equal(signature && (await crypto.subtle.verify(algorithm, pair.publicKey, signature, bytes)), true)
    }
    if (store.keys === 'encrypted') {
      const { crv = '', d = '', kty = '', x = '', y = '' } = await crypto.subtle.exportKey('jwk', pair.privateKey)
      const key = { thumbprint: 'a', jwk: { crv, d, kty, x, y } }
      await store.replace('alice', undefined, { ...record(1), key })
      equal((await other.get('alice'))?.key, key)
    }
  },

  async 'what is read or written is a copy'(store) {
    const written = { ...record(1), tokens: { a: token('kept') } }
    const writing = store.replace('alice', undefined, written)
    written.tokens.a = token('changed after the call')
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
}
