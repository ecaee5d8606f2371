import { LocalLocks, type StoredRecord, type TokenStore } from '@keyturn/core'
import { createStore, get, update } from 'idb-keyval'
import { webLock } from './web-lock.ts'

const NAME = 'keyturn'
/** Less than the 5 s after which a manager gives a storage call up, milliseconds. */
const WRITE_TIMEOUT = 4500

/**
 * Keeps records in IndexedDB, shared by all tabs of the origin: Web Locks keep two tabs from renewing at once, a
 * BroadcastChannel tells the others. Not localStorage: even under a lock a tab can read from it what was true before.
 */
export function indexedDBStore(): TokenStore {
  const listeners = new Map<string, Set<() => void>>()
  const local = new LocalLocks()
  let database: ReturnType<typeof createStore> | undefined
  let channel: BroadcastChannel | undefined
  const opened = () => {
    database ??= createStore(NAME, 'sessions')
    return database
  }
  const told = (key: unknown) => {
    for (const listener of listeners.get(String(key)) ?? []) listener()
  }
  const tuned = () => {
    if (channel === undefined && typeof BroadcastChannel === 'function') {
      channel = new BroadcastChannel(NAME)
      channel.onmessage = ({ data }) => told(data)
    }
    return channel
  }
  return {
    get: (key) => get<StoredRecord>(key, opened()),
    async replace(key, expected, next) {
      let replaced = false
      const kept = structuredClone(next) // the caller may change it before the transaction starts
      const until = performance.now() + WRITE_TIMEOUT
      const compareAndSet = (stored: StoredRecord | undefined) => {
        // A write that was given up must not happen when the database wakes up: the session has gone on without it.
        replaced = stored?.version === expected && performance.now() < until
        return (replaced ? kept : stored) as StoredRecord
      }
      await update<StoredRecord>(key, compareAndSet, opened())
      if (replaced) {
        tuned()?.postMessage(key)
        queueMicrotask(() => told(key))
      }
      return replaced
    },
    lock: (key, critical, duration) =>
      navigator.locks ? webLock(`${NAME} ${key}`, critical, duration) : local.run(key, critical, duration),
    watch(key, listener) {
      tuned()
      const all = listeners.get(key) ?? new Set()
      listeners.set(key, all.add(listener))
      return () => {
        if (!all.delete(listener) || all.size > 0) return
        listeners.delete(key)
        if (listeners.size > 0) return
        channel?.close()
        channel = undefined
      }
    },
  }
}
