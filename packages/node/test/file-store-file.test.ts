import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileStore, StoreError } from '@keyturn/node'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { record } from '../../core/test/token-store-contract.ts'

let folder = ''
let path = ''

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyturn-'))
  path = join(folder, 'tokens.json')
})

afterEach(() => {
  vi.useRealTimers()
  rmSync(folder, { recursive: true, force: true })
})

const modeOf = (file: string) => (statSync(file).mode & 0o777).toString(8)
const hour = 3_600_000

test('the file and the folders made for it are their owner’s alone', async () => {
  const deep = join(folder, 'a', 'b', 'tokens.json')
  await fileStore(deep).replace('alice', undefined, record(1))
  expect([modeOf(join(folder, 'a')), modeOf(join(folder, 'a', 'b')), modeOf(deep)]).toEqual(['700', '700', '600'])
  chmodSync(deep, 0o644)
  await fileStore(deep).replace('alice', 1, record(2))
  expect(modeOf(deep)).toBe('600')
})

test('nothing but the file is left after a write', async () => {
  const store = fileStore(path)
  await store.replace('alice', undefined, record(1))
  await store.replace('alice', 0, record(2))
  await store.lock('alice', async () => {})
  expect(readdirSync(folder)).toEqual(['tokens.json'])
})

test('reading, and removing what is not there, creates nothing', async () => {
  const store = fileStore(path)
  await store.get('alice')
  await store.replace('alice', undefined, undefined)
  expect(existsSync(path)).toBe(false)
})

test('a symbolic link is written through', async () => {
  const link = join(folder, 'link.json')
  await fileStore(path).replace('alice', undefined, record(1))
  symlinkSync(path, link)
  await fileStore(link).replace('alice', 1, record(2))
  expect((await fileStore(path).get('alice'))?.version).toBe(2)
})

test('a symbolic link to a file that is not there yet is written through, and its watchers hear of it', async () => {
  const target = join(folder, 'elsewhere', 'tokens.json')
  const link = join(folder, 'short', 'link.json')
  const second = join(folder, 'second.json')
  mkdirSync(join(folder, 'deep', 'er'), { recursive: true })
  symlinkSync(join(folder, 'deep', 'er'), join(folder, 'short'))
  symlinkSync(join('..', '..', 'elsewhere', 'tokens.json'), join(folder, 'short', 'link.json'))
  symlinkSync(link, second)
  const told = vi.fn()
  const unwatch = fileStore(second).watch?.('alice', told)
  await fileStore(second).replace('alice', undefined, record(1))
  expect([link, second].map((path) => lstatSync(path).isSymbolicLink())).toEqual([true, true])
  expect(await fileStore(target).get('alice')).toEqual(record(1))
  await vi.waitFor(() => expect(told).toHaveBeenCalled(), 10_000)
  unwatch?.()
})

test('a watcher goes on when the folder is removed and made anew', async () => {
  const file = join(folder, 'app', 'tokens.json')
  await fileStore(file).replace('alice', undefined, record(1))
  const told = vi.fn()
  const unwatch = fileStore(file).watch?.('alice', told)
  await new Promise((resolve) => setTimeout(resolve, 400))
  for (const version of [2, 3]) {
    told.mockClear()
    rmSync(join(folder, 'app'), { recursive: true })
    await vi.waitFor(() => expect(told).toHaveBeenCalledOnce(), 10_000)
    await fileStore(file).replace('alice', undefined, record(version))
    await vi.waitFor(() => expect(told).toHaveBeenCalledTimes(2), 10_000)
  }
  unwatch?.()
}, 60_000)

test('who reads while another writes sees a whole record', async () => {
  const [writer, reader] = [fileStore(path), fileStore(path)]
  const long = (version: number) => record(version, `${version % 10}`.repeat(20_000))
  await writer.replace('alice', undefined, long(1))
  let writing = true
  const reading = (async () => {
    const seen = new Set<string | undefined>()
    while (writing) seen.add((await reader.get('alice'))?.seed)
    return seen
  })()
  for (let version = 1; version < 40; version++) await writer.replace('alice', version, long(version + 1))
  writing = false
  const seen = await reading
  expect(seen.size).toBeGreaterThan(1)
  for (const seed of seen) expect(seed).toMatch(/^(\d)\1{19999}$/)
  expect(existsSync(`${path}.damaged`)).toBe(false)
})

test('what a crash leaves beside the file harms nothing', async () => {
  await fileStore(path).replace('alice', undefined, record(1))
  for (const end of ['123456', 'abc.next']) writeFileSync(`${path}.${end}`, '{"format":1,"rec')
  for (const lock of [`${path}.lock`, `${path}.lock.door`]) {
    mkdirSync(lock)
    utimesSync(lock, 1, 1)
  }
  const store = fileStore(path)
  expect(await store.get('alice')).toEqual(record(1))
  expect(await store.replace('alice', 1, record(2))).toBe(true)
  expect(await store.get('alice')).toEqual(record(2))
})

test('what killed writers have staged is swept with a write, once it is minutes old; nothing else is touched', async () => {
  const staged = `${path}.0d5b4b36-bdf3-436c-b3dd-b2071da58039.next`
  const others = [`${path}.next`, `${path}.damaged`, `${path}.old.next`, join(folder, 'other.json'), `${staged}.json`]
  others.push(staged.replace('tokens.json', 'tokens.json5'))
  for (const name of [staged, ...others]) {
    writeFileSync(name, 'text')
    utimesSync(name, 1, 1)
  }
  const young = staged.replace('0d5b4b36', '1daf9e52')
  writeFileSync(young, 'text')
  await fileStore(path).replace('alice', undefined, record(1))
  expect(readdirSync(folder).sort()).toEqual([path, young, ...others].map((name) => basename(name)).sort())
})

test('a lock from the future is no lock: the clock was set back', async () => {
  const lock = `${path}.lock`
  mkdirSync(lock)
  utimesSync(lock, (Date.now() + 3 * hour) / 1_000, (Date.now() + 3 * hour) / 1_000)
  expect(await fileStore(path).replace('alice', undefined, record(1))).toBe(true)
})

test('a lease is lost when the clock jumps past it, in either direction', async () => {
  await fileStore(path).lock('alice', async (lease) => {
    vi.useFakeTimers({ toFake: ['Date'] })
    for (const jump of [3 * hour, -3 * hour]) {
      const now = Date.now()
      vi.setSystemTime(now + jump)
      expect(lease.valid()).toBe(false)
      vi.setSystemTime(now)
      expect(lease.valid()).toBe(true)
    }
  })
})

test('a lease is lost as soon as its time is over, even if nothing else could run and the clock stands still', async () => {
  await fileStore(path).lock(
    'alice',
    async (lease) => {
      vi.useFakeTimers({ toFake: ['Date'] })
      expect(lease.valid()).toBe(true)
      const end = performance.now() + 1_000
      while (performance.now() < end);
      expect(lease.valid()).toBe(false)
    },
    1_000,
  )
})

test('those who wait in one process come in as they came', async () => {
  const store = fileStore(path)
  const order: number[] = []
  const turns = Array.from({ length: 8 }, (_, n) => store.lock('alice', async () => order.push(n)))
  await Promise.all(turns)
  expect(order).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
})

test('a lease is lost with its lock', async () => {
  await fileStore(path).lock('alice', async (lease) => {
    const [lock = ''] = readdirSync(folder)
    rmdirSync(join(folder, lock))
    expect(lease.valid()).toBe(false)
    mkdirSync(join(folder, lock))
    expect(lease.valid()).toBe(false)
  })
  expect(readdirSync(folder)).toHaveLength(1)
})

test('a writer whose lock was taken over just before it publishes changes nothing', async () => {
  const store = fileStore(path)
  await store.replace('alice', undefined, record(1))
  const before = readFileSync(path, 'utf8')
  const writing = store.replace('alice', 1, record(2, 'x'.repeat(1_000_000)))
  let pending = true
  const outcome = writing
    .catch((error: unknown) => error)
    .finally(() => {
      pending = false
    })
  while (pending && !readdirSync(folder).some((name) => name.includes('.next'))) {
    await new Promise((resolve) => setImmediate(resolve))
  }
  rmdirSync(`${path}.lock`)
  mkdirSync(`${path}.lock`)
  utimesSync(`${path}.lock`, 1, 1)
  expect(await outcome).toMatchObject({ message: expect.stringMatching(/another process took its lock over$/) })
  expect(await outcome).toMatchObject({ name: 'StoreError', retryable: true })
  expect(readFileSync(path, 'utf8')).toBe(before)
  expect(readdirSync(folder).sort()).toEqual(['tokens.json', 'tokens.json.lock'])
})

test('what the operating system refuses is told with what to change, and without the record', async () => {
  writeFileSync(join(folder, 'file'), '')
  mkdirSync(join(folder, 'folder'))
  for (const wrong of [join(folder, 'file', 'tokens.json'), join(folder, 'folder'), join(folder, 'x'.repeat(300))]) {
    const store = fileStore(wrong)
    for (const attempt of [
      () => store.replace('alice', undefined, record(1)),
      () => store.lock('alice', async () => 'in'),
    ]) {
      const error = await attempt().catch((e: unknown) => e)
      if (error === 'in') continue // a folder can stand where the file should be and still be locked
      expect(error).toBeInstanceOf(StoreError)
      expect(error).toMatchObject({ code: 'storage', retryable: false, fix: expect.stringMatching(/\.$/) })
      expect(String(error)).not.toContain('alice')
    }
  }
})

test('an error of the critical section stays what it is', async () => {
  const error = Object.assign(new Error('ENOENT'), { code: 'ENOENT' })
  await expect(fileStore(path).lock('alice', () => Promise.reject(error))).rejects.toBe(error)
})

test('a file of a later version is left alone', async () => {
  const text = '{"format":2,"records":{}}'
  writeFileSync(path, text)
  const store = fileStore(path)
  for (const attempt of [() => store.get('alice'), () => store.replace('alice', undefined, record(1))]) {
    await expect(attempt()).rejects.toMatchObject({ name: 'StoreError', retryable: false, fix: expect.any(String) })
  }
  expect(readFileSync(path, 'utf8')).toBe(text)
})

test('a watcher is told when the file comes, is damaged and is whole again', async () => {
  const store = fileStore(join(folder, 'later', 'tokens.json'))
  const listener = vi.fn()
  const stop = store.watch?.('alice', listener)
  const told = async () => {
    await vi.waitFor(() => expect(listener).toHaveBeenCalledOnce(), 5_000)
    listener.mockClear()
  }
  await fileStore(join(folder, 'later', 'tokens.json')).replace('alice', undefined, record(1))
  await told()
  writeFileSync(join(folder, 'later', 'tokens.json'), 'garbage')
  await told()
  await store.replace('alice', undefined, record(2))
  await told()
  stop?.()
})
