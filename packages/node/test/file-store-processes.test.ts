import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileStore } from '@keyturn/node'
import { describe, type TestContext, test } from 'vitest'
import { record } from '../../core/test/token-store-contract.ts'
import { start } from './processes/start.ts'

/** The shortest lease that a process which is gone can leave. */
const LEASE = 2_000

async function newStore({ onTestFinished }: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), 'keyturn-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const path = join(folder, 'tokens.json')
  const hash = createHash('sha256').update('alice').digest('hex').slice(0, 16)
  return { folder, path, store: fileStore(path), lockOfAlice: `${path}.${hash}.lock` }
}

// They mostly wait, so they wait together.
describe.concurrent('a file store among processes', { timeout: 90_000 }, () => {
  test('eight processes that count to 25 in the same record count to 200', async (context) => {
    const { expect } = context
    const { path, store } = await newStore(context)
    await store.replace('count', undefined, record(1, '0'))
    const exits = Array.from({ length: 8 }, () => start('increment', [path, 25]).exited)
    expect(await Promise.all(exits)).toEqual(Array(8).fill(0))
    expect((await store.get('count'))?.seed).toBe('200')
  })

  test('a holder that is killed is replaced after its lease, not before', async (context) => {
    const { expect } = context
    const { path, store, lockOfAlice } = await newStore(context)
    const other = start('hold', [path, LEASE])
    expect(await other.next()).toBe('held')
    const { mtimeMs: heldSince } = statSync(lockOfAlice)
    other.signal('SIGKILL')
    expect(await other.exited).toBe('SIGKILL')
    const takenOver = await store.lock('alice', async () => Date.now(), LEASE)
    expect(takenOver - heldSince).toBeGreaterThanOrEqual(LEASE)
  })

  test('a holder that was frozen finds its lease lost, and does not free the lock of its successor', async (context) => {
    const { expect } = context
    const { path, store, lockOfAlice } = await newStore(context)
    const other = start('hold', [path, 2 * LEASE]) // of which some is over when it is asked
    expect(await other.next()).toBe('held')
    other.tell('valid?')
    expect(await other.next()).toBe('true')
    other.signal('SIGSTOP')
    await store.lock(
      'alice',
      async (lease) => {
        other.tell('valid?')
        other.tell('finish')
        other.signal('SIGCONT')
        expect(await other.next()).toBe('false')
        expect(await other.next()).toBe('released')
        expect(await other.exited).toBe(0)
        expect(existsSync(lockOfAlice)).toBe(true)
        expect(lease.valid()).toBe(true)
      },
      60_000,
    )
    expect(existsSync(lockOfAlice)).toBe(false)
  })

  test('a process that ends in its critical section frees its lock', async (context) => {
    const { expect } = context
    const { path, store, lockOfAlice } = await newStore(context)
    for (const end of ['exit', 'SIGTERM'] as const) {
      const other = start('hold', [path, 60_000])
      expect(await other.next()).toBe('held')
      expect(existsSync(lockOfAlice)).toBe(true)
      if (end === 'exit') other.tell(end)
      else other.signal(end)
      expect(await other.exited).toBe(end === 'exit' ? 0 : end)
      expect(existsSync(lockOfAlice)).toBe(false)
      expect(await store.lock('alice', async () => 'free')).toBe('free')
    }
  })

  test('a lock that was left behind is taken over by one process at a time', async (context) => {
    const { expect } = context
    const { path, lockOfAlice } = await newStore(context)
    mkdirSync(lockOfAlice)
    utimesSync(lockOfAlice, 1, 1)
    const exits = Array.from({ length: 6 }, () => start('takeOver', [path, 12, lockOfAlice]).exited)
    expect(await Promise.all(exits)).toEqual(Array(6).fill(0))
  })

  test('a process that is killed while it writes leaves a whole file, which can be written on', async (context) => {
    const { expect } = context
    const { path, folder, store } = await newStore(context)
    for (const delay of [0, 7, 15]) {
      const other = start('write', [path])
      expect(await other.next()).toBe('writing')
      await new Promise((resolve) => setTimeout(resolve, delay))
      other.signal('SIGKILL')
      await other.exited
      expect((await store.get('alice'))?.seed).toHaveLength(50_000)
      const lock = `${path}.lock`
      if (existsSync(lock)) utimesSync(lock, 1, 1) // as if its lease had passed
    }
    const before = await store.get('alice')
    expect(await store.replace('alice', before?.version, record((before?.version ?? 0) + 1, 'small'))).toBe(true)
    expect((await store.get('alice'))?.seed).toBe('small')
    expect(readdirSync(folder)).not.toContain('tokens.json.damaged')
  })

  test('a store keeps no process alive, not even with a critical section that hangs', async (context) => {
    const { expect } = context
    const { path, folder } = await newStore(context)
    const other = start('idle', [path])
    expect(await other.next()).toBe('done')
    const doneAt = performance.now()
    expect(await other.exited).toBe(0)
    expect(performance.now() - doneAt).toBeLessThan(10_000)
    expect(readdirSync(folder)).toEqual(['tokens.json'])
  })

  test('a process lives on for as long as it waits for a lock', async (context) => {
    const { expect } = context
    const { path } = await newStore(context)
    const other = start('wait', [path])
    expect(await other.next()).toBe('passed over')
    expect(await other.exited).toBe(0)
  })

  test('importing the package and opening a store touches nothing', async (context) => {
    const { expect } = context
    const { path, folder } = await newStore(context)
    expect(await start('load', [path]).next()).toBe('{"patched":false,"signals":0}')
    expect(readdirSync(folder)).toEqual([])
  })

  if (process.platform !== 'win32') {
    test('where a file gets too long the old one stays, and nothing else', async (context) => {
      const { expect } = context
      const { path, folder, store } = await newStore(context)
      await store.replace('alice', undefined, record(1))
      const before = readFileSync(path)
      const other = start('full', [path], 'ulimit -f 16')
      expect(JSON.parse((await other.next()) ?? '')).toEqual({
        name: 'StoreError',
        code: 'storage',
        retryable: true,
        fix: 'Allow this user larger files (`ulimit -f`).',
      })
      expect(readFileSync(path)).toEqual(before)
      expect(readdirSync(folder)).toEqual(['tokens.json'])
    })

    // A disk of its own needs a name space of its own, which not every machine lets everybody have.
    const disk = 'unshare --mount --map-root-user'
    const { status, stderr } = spawnSync('sh', ['-c', `${disk} mount -t tmpfs -o size=48k tmpfs /mnt`], {
      encoding: 'utf8',
    })
    if (status !== 0)
      console.log(`A real disk that is full is not tested: no file system can be mounted (${stderr.trim()})`)
    test.skipIf(status !== 0)(
      'where the disk is full the old file stays, is read, and can be written when there is space',
      async (context) => {
        const { expect } = context
        const { folder } = await newStore(context)
        const other = start('fullDisk', [join(folder, 'tokens.json')], mounted(folder))
        expect(JSON.parse((await other.next()) ?? '')).toEqual({
          refused: {
            name: 'StoreError',
            code: 'storage',
            retryable: true,
            fix: 'Free some space on the disk.',
          },
          before: true,
          seed: 'small',
          files: ['filling', 'tokens.json'],
          after: true,
        })
        expect(await other.exited).toBe(0)
      },
    )

    /** Starts the rest of the command where `folder` is a tiny disk. */
    function mounted(folder: string): string {
      return `set -- ${disk} sh -c 'mount -t tmpfs -o size=48k tmpfs "$0" && exec "$@"' '${folder}' "$@"`
    }
  }
})
