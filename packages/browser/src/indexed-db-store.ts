import { type StoredRecord, type TokenStore, versionOf } from '@keyturn/core'
import { createStore, get, type UseStore, update } from 'idb-keyval'
import { webLock } from './web-lock.ts'

const NAME = 'keyturn '
/** Less than the 5 s after which a manager gives a storage call up, milliseconds. */
const WRITE_TIMEOUT = 4500

/**
 * Keeps records in IndexedDB, shared by all tabs of the origin: Web Locks keep two tabs from renewing at once, a
 * BroadcastChannel tells the others. Not localStorage: even under a lock a tab can read from it what was true before.
 */
export function indexedDBStore(): TokenStore {
  const open = () => createStore('keyturn', 'sessions')
  let opened = open()
  const database: UseStore = (mode, callback) =>
    opened(mode, (records) => {
      const { db } = records.transaction
      // Whoever deletes the database waits until nobody has it open, and whoever opens it next waits behind that.
      db.onversionchange = () => {
        db.close()
        opened = open()
      }
      return callback(records)
    }).catch((error) => {
      opened = open() // the connection may be lost, and Safari tells nobody
      throw error
    })
  return {
    keys: 'structured',
    get: (key) => get<StoredRecord>(key, database),
    async replace(key, expected, next) {
      let replaced = false
      const kept = structuredClone(next) // the caller may change it before the transaction starts
      const until = performance.now() + WRITE_TIMEOUT
      const compareAndSet = (stored: StoredRecord | undefined) => {
        // A write that was given up must not happen when the database wakes up: the session has gone on without it.
        replaced = versionOf(stored) === expected && performance.now() < until
        return (replaced ? kept : stored) as StoredRecord
      }
      await update<StoredRecord>(key, compareAndSet, database)
      if (replaced) {
        const channel = new BroadcastChannel(NAME + key)
        channel.postMessage('')
        channel.close()
      }
      return replaced
    },
    lock: (key, critical, duration) => webLock(NAME + key, critical, duration),
    watch(key, listener) {
      const channel = new BroadcastChannel(NAME + key)
      channel.onmessage = listener
      Object(channel).unref?.() // else Node, where a server renders the page, would never end
      return () => channel.close()
    },
  }
}
