import { EventEmitter } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileStore } from '@keyturn/node'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { record } from '../../core/test/token-store-contract.ts'

interface Watcher {
  readonly folder: string
  readonly options: unknown
  readonly event: (type: string, name: string | null) => void
  readonly emitter: EventEmitter
  closed: number
}

/** What was watched: the system tells nothing by itself, only what a test lets it. */
const { watchers } = vi.hoisted(() => ({ watchers: [] as Watcher[] }))

vi.mock('node:fs', async (importOriginal) => {
  const fs = await importOriginal<typeof import('node:fs')>()
  const watch = (folder: string, options: unknown, event: Watcher['event']) => {
    const emitter = new EventEmitter()
    const watcher: Watcher = { folder, options, event, emitter, closed: 0 }
    watchers.push(watcher)
    return Object.assign(emitter, { close: () => watcher.closed++ })
  }
  return { ...fs, watch }
})

let folder = ''
let path = ''
let version = 1

beforeEach(async () => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'keyturn-')))
  path = join(folder, 'tokens.json')
  version = 1
  await fileStore(path).replace('alice', undefined, record(1))
})

afterEach(() => {
  watchers.splice(0)
  rmSync(folder, { recursive: true, force: true })
})

const write = () => fileStore(path).replace('alice', version, record(++version))
const pause = (duration: number) => new Promise((resolve) => setTimeout(resolve, duration))

/** Somebody who watches alice, past the first look. */
async function watching(file = path) {
  const listener = vi.fn()
  const stop = fileStore(file).watch?.('alice', listener) ?? (() => {})
  await pause(400)
  expect(listener).not.toHaveBeenCalled()
  const told = async () => {
    await vi.waitFor(() => expect(listener).toHaveBeenCalledOnce(), 5_000)
    listener.mockClear()
  }
  return { listener, stop, told, watcher: watchers.at(-1) as Watcher }
}

test('a change that came before the system began to watch is found by looking once', async () => {
  const listener = vi.fn()
  const stop = fileStore(path).watch?.('alice', listener)
  await write()
  await vi.waitFor(() => expect(listener).toHaveBeenCalledOnce(), 5_000)
  stop?.()
})

test('what the system tells of the file, or of no file, is looked at; of other files it is not', async () => {
  const { listener, stop, told, watcher } = await watching()
  expect([watcher.folder, watcher.options]).toEqual([folder, { persistent: false }])
  await write()
  watcher.event('rename', 'other.json')
  await pause(150)
  expect(listener).not.toHaveBeenCalled()
  watcher.event('rename', 'tokens.json')
  await told()
  await write()
  watcher.event('change', null)
  await told()
  stop()
})

test('of several events one look is told once, and what is the same is not told', async () => {
  const { listener, stop, told, watcher } = await watching()
  await write()
  for (let event = 0; event < 5; event++) watcher.event('change', 'tokens.json')
  await told()
  watcher.event('change', 'tokens.json')
  await pause(150)
  expect(listener).not.toHaveBeenCalled()
  stop()
})

test('a system that ceases to watch is done without', async () => {
  const { listener, stop, told, watcher } = await watching()
  watcher.emitter.emit('error', new Error('no more'))
  expect(watcher.closed).toBe(1)
  await write()
  await told()
  stop()
  expect(watcher.closed).toBe(1)
  await write()
  await pause(1_300)
  expect(listener).not.toHaveBeenCalled()
})

test('the last who stops ends the watch, and who comes then begins another', async () => {
  const store = fileStore(path)
  const listener = vi.fn()
  const stops = ['alice', 'alice', 'bob'].map((key) => store.watch?.(key, () => listener()))
  expect(watchers).toHaveLength(1)
  stops[0]?.()
  stops[0]?.()
  stops[2]?.()
  expect(watchers[0]?.closed).toBe(0)
  stops[1]?.()
  expect(watchers[0]?.closed).toBe(1)
  await write()
  await pause(400)
  expect(listener).not.toHaveBeenCalled()
  const stop = store.watch?.('alice', listener)
  expect(watchers).toHaveLength(2)
  await pause(400)
  await write()
  watchers[1]?.event('change', 'tokens.json')
  await vi.waitFor(() => expect(listener).toHaveBeenCalledOnce(), 5_000)
  stop?.()
  expect(watchers[1]?.closed).toBe(1)
})

test('who stops in the tick in which others are told is not told', async () => {
  const store = fileStore(path)
  const second = vi.fn()
  let stopSecond = () => {}
  const stop = store.watch?.('alice', () => stopSecond())
  stopSecond = store.watch?.('alice', second) ?? (() => {})
  await write()
  await pause(500)
  expect(second).not.toHaveBeenCalled()
  stop?.()
})

test('a file that cannot be read for a moment is no change, and what comes after it is told', async () => {
  const { listener, stop, told, watcher } = await watching()
  const text = readFileSync(path)
  rmSync(path)
  mkdirSync(path)
  watcher.event('rename', 'tokens.json')
  await pause(150)
  expect(listener).not.toHaveBeenCalled()
  rmSync(path, { recursive: true })
  writeFileSync(path, text)
  await write()
  watcher.event('rename', 'tokens.json')
  await told()
  stop()
})

test('a file behind a symbolic link is watched where it is', async () => {
  const elsewhere = join(folder, 'elsewhere')
  mkdirSync(elsewhere)
  const link = join(elsewhere, 'link.json')
  symlinkSync(path, link)
  const { stop, told, watcher } = await watching(link)
  expect(watcher.folder).toBe(folder)
  await write()
  watcher.event('rename', 'tokens.json')
  await told()
  stop()
})

test('the folder of a file that is still to come is made, and nothing is told before it has come', async () => {
  const later = join(folder, 'later', 'on', 'tokens.json')
  const listener = vi.fn()
  const stop = fileStore(later).watch?.('alice', listener)
  expect(watchers.at(-1)?.folder).toBe(join(folder, 'later', 'on'))
  await pause(400)
  expect(listener).not.toHaveBeenCalled()
  await fileStore(later).replace('alice', undefined, record(1))
  watchers.at(-1)?.event('rename', 'tokens.json')
  await vi.waitFor(() => expect(listener).toHaveBeenCalledOnce(), 5_000)
  stop?.()
})

test('who stops twice does not stop who has come since', async () => {
  const store = fileStore(path)
  const before = store.watch?.('alice', () => {})
  before?.()
  expect(before).not.toThrow()
  const listener = vi.fn()
  const stop = store.watch?.('alice', listener)
  before?.()
  await pause(400)
  await write()
  watchers.at(-1)?.event('change', 'tokens.json')
  await vi.waitFor(() => expect(listener).toHaveBeenCalledOnce(), 5_000)
  stop?.()
  expect(stop).not.toThrow()
})
