import { briefHolder, type Checks, equal, holder, pause, range, record, until } from './check-parts.ts'

/** Locks, leases, news. */
export const lockChecks: Checks = {
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
    const slow = await briefHolder(store, 'alice')
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
