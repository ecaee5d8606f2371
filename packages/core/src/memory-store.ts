import { LocalLocks } from './lock.ts'
import { type StoredRecord, type TokenStore, versionOf } from './token-store.ts'

/** Keeps records in this process or page only: the default where nothing else is given. */
export function memoryStore(): TokenStore {
  const records = new Map<string, StoredRecord>()
  const listeners = new Map<string, Set<() => void>>()
  const locks = new LocalLocks()
  return {
    keys: 'memory',
    async get(key) {
      return structuredClone(records.get(key))
    },
    async replace(key, expected, next) {
      if (versionOf(records.get(key)) !== expected) return false
      if (next === undefined) records.delete(key)
      else records.set(key, structuredClone(next))
      for (const listener of listeners.get(key) ?? []) queueMicrotask(listener)
      return true
    },
    lock: (key, critical, duration) => locks.run(key, critical, duration),
    watch(key, listener) {
      const all = listeners.get(key) ?? new Set()
      listeners.set(key, all.add(listener))
      return () => {
        all.delete(listener)
        if (all.size === 0) listeners.delete(key)
      }
    },
  }
}
