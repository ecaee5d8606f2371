import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileStore } from '@keyturn/node'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { record } from '../../core/test/token-store-contract.ts'

/** What the operating system refuses: how, and how often. */
const { refusals } = vi.hoisted(() => ({ refusals: new Map<string, { code: string; times: number; seen: number }>() }))

vi.mock('node:fs', async (importOriginal) => {
  const fs = await importOriginal<typeof import('node:fs')>()
  const refusing = <T extends unknown[], R>(name: string, call: (...all: T) => R) => {
    return (...all: T): R => {
      const refusal = refusals.get(name)
      if (refusal && refusal.seen++ < refusal.times) {
        throw Object.assign(new Error(`${refusal.code}: refused by the test`), { code: refusal.code })
      }
      return call(...all)
    }
  }
  return {
    ...fs,
    renameSync: refusing('rename', fs.renameSync),
    rmdirSync: refusing('rmdir', fs.rmdirSync),
    mkdirSync: refusing('mkdir', fs.mkdirSync),
    watch: refusing('watch', fs.watch),
  }
})

vi.mock('node:fs/promises', async (importOriginal) => {
  const fs = await importOriginal<typeof import('node:fs/promises')>()
  const refused = (name: string) => {
    const refusal = refusals.get(name)
    if (!refusal || refusal.seen++ >= refusal.times) return
    throw Object.assign(new Error(`${refusal.code}: refused by the test`), { code: refusal.code })
  }
  const open: typeof fs.open = async (...all) => {
    const file = await fs.open(...all)
    const { writeFile, sync } = file
    // A disk that gets full takes the first part.
    file.writeFile = async (text, ...rest) => {
      await writeFile.call(file, String(text).slice(0, 10), ...rest)
      refused('writeFile')
      await file.truncate(0)
      await file.write(String(text), 0)
    }
    file.sync = async () => {
      refused('sync')
      await sync.call(file)
    }
    return file
  }
  return { ...fs, open }
})

let folder = ''
let path = ''
const { platform } = process
const runOn = (value: string) => Object.defineProperty(process, 'platform', { value })
const refuse = (name: string, code: string, times: number) => refusals.set(name, { code, times, seen: 0 })
const seen = (name: string) => refusals.get(name)?.seen

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'keyturn-'))
  path = join(folder, 'tokens.json')
  await fileStore(path).replace('alice', undefined, record(1))
})

afterEach(() => {
  refusals.clear()
  runOn(platform)
  rmSync(folder, { recursive: true, force: true })
})

test.each(['EPERM', 'EACCES', 'EBUSY'])('what Windows refuses for a moment (%s) is tried again', async (code) => {
  runOn('win32')
  refuse('rename', code, 3)
  refuse('mkdir', code, 3)
  expect(await fileStore(path).replace('alice', 1, record(2))).toBe(true)
  expect(await fileStore(path).get('alice')).toEqual(record(2))
  expect(seen('rename')).toBe(4)
  expect(seen('mkdir')).toBeGreaterThanOrEqual(4)
})

test('what Windows refuses for another reason is not tried again', async () => {
  runOn('win32')
  refuse('rename', 'EXDEV', 1)
  await expect(fileStore(path).replace('alice', 1, record(2))).rejects.toMatchObject({ name: 'StoreError' })
  expect(seen('rename')).toBe(1)
})

test.each(['rename', 'mkdir'])('what Windows refuses for good is told in the end (%s)', async (name) => {
  runOn('win32')
  refuse(name, 'EPERM', Number.POSITIVE_INFINITY)
  await expect(fileStore(path).replace('alice', 1, record(2))).rejects.toMatchObject({
    message: expect.stringMatching(/ \(EPERM\)$/),
    fix: expect.stringMatching(/^Let this user/),
  })
  expect(seen(name)).toBe(41)
  refusals.clear()
  expect(readdirSync(folder)).toEqual(['tokens.json'])
  expect(await fileStore(path).get('alice')).toEqual(record(1))
})

test.each(['rename', 'mkdir'])('elsewhere a refusal is one at once (%s)', async (name) => {
  runOn('linux')
  refuse(name, 'EPERM', Number.POSITIVE_INFINITY)
  await expect(fileStore(path).replace('alice', 1, record(2))).rejects.toMatchObject({
    retryable: false,
    fix: expect.stringMatching(/^Let this user/),
  })
  expect(seen(name)).toBe(1)
  expect(readdirSync(folder)).toEqual(['tokens.json'])
})

test.each(['writeFile', 'sync'])('a disk that gets full (%s) leaves the file as it was', async (name) => {
  const before = readFileSync(path)
  refuse(name, 'ENOSPC', 1)
  await expect(fileStore(path).replace('alice', 1, record(2))).rejects.toMatchObject({
    message: expect.stringMatching(/ \(ENOSPC\)$/),
    retryable: true,
    fix: 'Free some space on the disk.',
  })
  expect(seen(name)).toBe(1)
  expect(readFileSync(path)).toEqual(before)
  expect(readdirSync(folder)).toEqual(['tokens.json'])
  expect(await fileStore(path).replace('alice', 1, record(2))).toBe(true)
})

test('a lock that cannot be given back costs its holder nothing, and the next one waits for its end', async () => {
  const store = fileStore(path)
  refuse('rmdir', 'EPERM', Number.POSITIVE_INFINITY)
  expect(await store.lock('alice', async () => 'value', 2_000)).toBe('value')
  refusals.clear()
  const from = performance.now()
  expect(await fileStore(path).lock('alice', async () => 'next', 2_000)).toBe('next')
  expect(performance.now() - from).toBeLessThan(10_000)
})

test('where nothing can be watched the file is looked at every second', async () => {
  refuse('watch', 'ENOSYS', Number.POSITIVE_INFINITY)
  const store = fileStore(path)
  const listener = vi.fn()
  const stop = store.watch?.('alice', listener)
  await new Promise((resolve) => setTimeout(resolve, 400)) // past the first look
  await fileStore(path).replace('alice', 1, record(2))
  await vi.waitFor(() => expect(listener).toHaveBeenCalledOnce(), 5_000)
  stop?.()
  await fileStore(path).replace('alice', 2, record(3))
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  expect(listener).toHaveBeenCalledOnce()
})

test.skipIf(process.getuid?.() !== 0)('a file keeps its owner, though another one writes', async () => {
  chownSync(path, 12_345, 23_456)
  await fileStore(path).replace('alice', 1, record(2))
  const { uid, gid, mode } = statSync(path)
  expect([uid, gid, mode & 0o777]).toEqual([12_345, 23_456, 0o600])
})

test('a store that has looked for what was left behind does not look at every write', async () => {
  const store = fileStore(path)
  await store.replace('alice', 1, record(2))
  const staged = `${path}.0d5b4b36-bdf3-436c-b3dd-b2071da58039.next`
  writeFileSync(staged, 'text')
  utimesSync(staged, 1, 1)
  await store.replace('alice', 2, record(3))
  expect(existsSync(staged)).toBe(true)
  await fileStore(path).replace('alice', 3, record(4))
  expect(existsSync(staged)).toBe(false)
})

test('the lock of a session has a name that other versions know, and is not readable for whose it is', async () => {
  await fileStore(path).lock('alice', async () => {
    expect(readdirSync(folder)).toEqual(['tokens.json', 'tokens.json.2bd806c97f0e00af.lock'])
  })
})

test('a name that leaves no room for what is written beside it is too long', async () => {
  const long = join(folder, 'x'.repeat(240))
  await expect(fileStore(long).replace('alice', undefined, record(1))).rejects.toMatchObject({
    message: expect.stringMatching(/ \(ENAMETOOLONG\)$/),
    fix: 'Choose a shorter path.',
  })
  expect(readdirSync(folder)).toEqual(['tokens.json'])
})

test('a path that leads in a circle can be locked no more than read', async () => {
  const circle = join(folder, 'circle')
  symlinkSync(circle, circle)
  await expect(fileStore(circle).lock('alice', async () => 'in')).rejects.toMatchObject({
    message: expect.stringMatching(/ \(ELOOP\)$/),
  })
})

test('a lock that was left behind and cannot be removed is told; one that is gone by then is no trouble', async () => {
  const lock = `${path}.2bd806c97f0e00af.lock`
  const leave = () => {
    mkdirSync(lock)
    utimesSync(lock, 1, 1)
  }
  leave()
  refuse('rmdir', 'EPERM', 1)
  await expect(fileStore(path).lock('alice', async () => 'in')).rejects.toMatchObject({
    message: expect.stringMatching(/ \(EPERM\)$/),
  })
  refuse('rmdir', 'ENOENT', 1)
  expect(await fileStore(path).lock('alice', async () => 'in')).toBe('in')
})
