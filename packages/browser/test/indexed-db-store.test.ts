import { indexedDBStore } from '@keyturn/browser'
import { createStore, set } from 'idb-keyval'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { record, tokenStoreContract } from '../../core/test/token-store-contract.ts'
import { clearDatabases, closeTabs, forgetAll, hasDebugger, openTab } from './tabs.ts'

beforeEach(forgetAll)
afterEach(closeTabs)

tokenStoreContract('IndexedDB', async () => ({
  store: indexedDBStore(),
  reopen: () => indexedDBStore(),
  cleanup: forgetAll,
}))

test('what one tab writes, another reads', async () => {
  const [tab, store] = [await openTab(), indexedDBStore()]
  await store.replace('alice', undefined, record(1, 'from here'))
  expect(await tab.tell('get', 'alice')).toEqual(record(1, 'from here'))
  expect(await tab.tell('replace', 'alice', 1, record(2, 'from there'))).toBe(true)
  expect(await store.get('alice')).toEqual(record(2, 'from there'))
})

test('tabs that count at the same time lose no increment', async () => {
  const store = indexedDBStore()
  await store.replace('count', undefined, record(1, '0'))
  const tabs = await Promise.all([openTab(), openTab(), openTab()])
  await Promise.all(tabs.flatMap((tab) => [tab.tell('increment', 'count', 8), tab.tell('increment', 'count', 8)]))
  expect((await store.get('count'))?.version).toBe(49)
})

test('a change in one tab is told to the others, to each for the record that it watches', async () => {
  const [tab, store] = [await openTab(), indexedDBStore()]
  const [alice, bob] = [vi.fn(), vi.fn()]
  const stops = [store.watch?.('alice', alice), store.watch?.('bob', bob)]
  await tab.tell('watch', 'alice')
  await tab.tell('replace', 'alice', undefined, record(1))
  await vi.waitFor(() => expect(alice).toHaveBeenCalledTimes(1), 5_000)
  await store.replace('alice', 1, record(2))
  await vi.waitFor(async () => expect(await tab.tell('changes')).toBe(2), 5_000)
  expect(bob).not.toHaveBeenCalled()
  for (const stop of stops) stop?.()
})

test('what was told can be read', async () => {
  const [tab, store] = [await openTab(), indexedDBStore()]
  const seen: unknown[] = []
  const stop = store.watch?.('alice', async () => seen.push((await store.get('alice'))?.version))
  for (let version = 1; version <= 10; version++) {
    await tab.tell('replace', 'alice', version - 1 || undefined, record(version))
    await vi.waitFor(() => expect(seen.at(-1)).toBe(version), 5_000)
  }
  stop?.()
})

test('a store that is not watched any more can be watched again', async () => {
  const [tab, store] = [await openTab(), indexedDBStore()]
  store.watch?.('alice', () => {})()
  const listener = vi.fn()
  const stop = store.watch?.('alice', listener)
  await tab.tell('replace', 'alice', undefined, record(1))
  await vi.waitFor(() => expect(listener).toHaveBeenCalled(), 5_000)
  stop?.()
})

test('to stop twice stops nobody else', async () => {
  const store = indexedDBStore()
  const stop = store.watch?.('alice', () => {})
  stop?.()
  const listener = vi.fn()
  const stopOther = store.watch?.('alice', listener)
  stop?.()
  await store.replace('alice', undefined, record(1))
  await vi.waitFor(() => expect(listener).toHaveBeenCalled(), 5_000)
  stopOther?.()
})

test('a refused write tells nobody', async () => {
  const store = indexedDBStore()
  await store.replace('alice', undefined, record(1))
  const listener = vi.fn()
  const stop = store.watch?.('alice', listener)
  expect(await store.replace('alice', undefined, record(2))).toBe(false)
  expect(await store.replace('alice', 1, record(3))).toBe(true)
  await vi.waitFor(() => expect(listener).toHaveBeenCalledTimes(1), 5_000)
  stop?.()
})

test('a database that a page deletes is gone at once, though tabs have it open, and is opened anew', async () => {
  const [tab, store] = [await openTab(), indexedDBStore()]
  await store.replace('alice', undefined, record(1))
  expect(await tab.tell('get', 'alice')).toEqual(record(1))
  const deletion = indexedDB.deleteDatabase('keyturn')
  await new Promise((resolve, reject) => {
    deletion.onsuccess = resolve
    deletion.onblocked = () => reject(new Error('it waits for those who have it open'))
  })
  expect(await tab.tell('get', 'alice')).toBeUndefined()
  expect(await store.replace('alice', undefined, record(2))).toBe(true)
  expect(await tab.tell('get', 'alice')).toEqual(record(2))
})

test('a connection that was lost without a word is opened anew after one failure', async () => {
  const [store, transaction] = [indexedDBStore(), vi.spyOn(IDBDatabase.prototype, 'transaction')]
  await store.replace('alice', undefined, record(1))
  Object(transaction.mock.contexts.at(-1)).close()
  await expect(store.get('alice')).rejects.toThrow('closing')
  expect(await store.get('alice')).toEqual(record(1))
})

test('whatever is found under a key can be replaced', async () => {
  const store = indexedDBStore()
  for (const [index, garbage] of [null, 'text', 7, [], {}, { version: 'one' }].entries()) {
    await set(`key ${index}`, garbage, createStore('keyturn', 'sessions'))
    const version = (await store.get(`key ${index}`))?.version
    expect(await store.replace(`key ${index}`, version, record(1)), JSON.stringify(garbage)).toBe(true)
    expect(await store.get(`key ${index}`)).toEqual(record(1))
  }
})

// The debugger may answer before the page's connection has been closed: then it is tried again.
test.runIf(hasDebugger)('a database that the browser clears away is opened anew', { retry: 2 }, async () => {
  const store = indexedDBStore()
  await store.replace('alice', undefined, record(1))
  await clearDatabases()
  expect(await store.get('alice')).toBeUndefined()
  expect(await store.replace('alice', undefined, record(2))).toBe(true)
})

test('a write that was given up does not happen when the database wakes up', async () => {
  const store = indexedDBStore()
  await store.replace('late', undefined, record(1, 'before'))
  const now = vi.spyOn(performance, 'now')
  const start = performance.now()
  now.mockReturnValueOnce(start).mockReturnValue(start + 5000) // called, and run five seconds later
  expect(await store.replace('late', 1, record(2, 'after'))).toBe(false)
  now.mockRestore()
  expect(await store.get('late')).toEqual(record(1, 'before'))
})
