// One process among several that share a file store. It uses the built package, as a user's process would:
// `npm run build` comes first. Plain JavaScript, because Node 22.12 runs no TypeScript.
import { mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { createRequire, syncBuiltinESMExports } from 'node:module'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileStore } from '@keyturn/node'

const [role, path, ...rest] = process.argv.slice(2)
const record = (version, seed) => ({ format: 1, version, tokens: {}, seed })
const say = (line) => process.stdout.write(`${line}\n`)

/** Dies before the nth call from now on that could change a file. */
async function dieBefore(fatal) {
  const require = createRequire(import.meta.url)
  let step = 0
  const count = (owner, names) => {
    for (const name of names) {
      const real = owner[name]
      owner[name] = function (...args) {
        if (++step === fatal) process.kill(process.pid, 'SIGKILL')
        return real.apply(this, args)
      }
    }
  }
  count(require('node:fs'), ['mkdirSync', 'rmdirSync', 'utimesSync', 'renameSync', 'rmSync'])
  const promises = require('node:fs/promises')
  const file = await promises.open(path)
  await file.close()
  count(Object.getPrototypeOf(file), ['writeFile', 'sync', 'close', 'chown', 'chmod'])
  count(promises, ['open', 'readdir', 'rm', 'writeFile', 'mkdir', 'readFile'])
  syncBuiltinESMExports()
}

const roles = {
  /** Counts up `times` times against all the others. */
  async increment(store, times) {
    for (let done = 0; done < Number(times); ) {
      const before = await store.get('count')
      const next = record(before.version + 1, `${Number(before.seed) + 1}`)
      if (await store.replace('count', before.version, next)) done++
    }
  },

  /** Takes the lock and does as it is told. */
  async hold(store, duration) {
    const orders = createInterface({ input: process.stdin })
    await store.lock(
      'alice',
      async (lease) => {
        say('held')
        for await (const order of orders) {
          if (order === 'valid?') say(`${lease.valid()}`)
          if (order === 'finish') return orders.close()
          if (order === 'exit') process.exit(0)
        }
      },
      Number(duration),
    )
    say('released')
  },

  /** Leaves each lock it held as one whose holder died long ago, so that each turn is a takeover that all fight for. */
  async takeOver(store, times, directory) {
    const alone = `${path}.alone`
    for (let turn = 0; turn < Number(times); turn++) {
      await store.lock(
        'alice',
        async () => {
          mkdirSync(alone) // throws where somebody else is in here
          await new Promise((resolve) => setTimeout(resolve, 3))
          rmdirSync(alone)
          utimesSync(directory, 1, 1)
        },
        60_000,
      )
    }
  },

  /** Writes until it is killed. */
  async write(store) {
    for (let version = 1; ; version++) {
      const before = await store.get('alice')
      await store.replace('alice', before?.version, record((before?.version ?? 0) + 1, 'x'.repeat(50_000)))
      if (version === 1) say('writing')
    }
  },

  /** Writes the next version and says which, then dies before step `fatal` of writing another, or has written that too. */
  async dieWriting(store, fatal) {
    const { version } = await store.get('alice')
    await store.replace('alice', version, record(version + 1, 'x'.repeat(9_000)))
    say(`${version + 1}`)
    await dieBefore(Number(fatal))
    await store.replace('alice', version + 1, record(version + 2, 'x'.repeat(9_000)))
    say('written')
  },

  /** Dies before step `fatal` of writing over a damaged file. */
  async dieHealing(store, fatal) {
    await dieBefore(Number(fatal))
    await store.replace('alice', undefined, record(1, 'x'))
    say('written')
  },

  /** Writes until it is killed, and says what is written. */
  async writeOn(store) {
    for (let { version } = await store.get('alice'); ; version++) {
      await store.replace('alice', version, record(version + 1, 'x'.repeat(9_000)))
      say(`${version + 1}`)
    }
  },

  /** Uses everything once, and has nothing more to do. */
  async idle(store) {
    store.watch('alice', () => {})
    await store.replace('alice', undefined, record(1, 'openid'))
    await store.lock('alice', async () => {})
    await new Promise((entered) => {
      store.lock('bob', () => new Promise(entered))
    })
    say('done')
  },

  /** Waits for one that hangs, with nothing else to do. */
  async wait(store) {
    store.lock('alice', () => new Promise(() => {}), 200)
    say(await store.lock('alice', async () => 'passed over'))
  },

  /** Finds that a file gets too long. */
  async full(store) {
    process.on('SIGXFSZ', () => {})
    const before = await store.get('alice')
    await store.replace('alice', before.version, record(before.version + 1, 'x'.repeat(50_000))).then(
      () => say('written'),
      ({ name, code, retryable, fix }) => say(JSON.stringify({ name, code, retryable, fix })),
    )
  },

  /** Fills the disk, writes, and makes space. */
  async fullDisk(store) {
    const filling = join(dirname(path), 'filling')
    await store.replace('alice', undefined, record(1, 'small'))
    writeFileSync(filling, 'x'.repeat(16_000))
    const before = readFileSync(path, 'utf8')
    const refused = await store.replace('alice', 1, record(2, 'x'.repeat(40_000))).then(
      () => 'written',
      ({ name, code, retryable, fix }) => ({ name, code, retryable, fix }),
    )
    const { seed } = await store.get('alice')
    const files = readdirSync(dirname(path)).sort()
    const isAsBefore = readFileSync(path, 'utf8') === before
    rmSync(filling)
    const after = await store.replace('alice', 1, record(2, 'x'.repeat(20_000)))
    say(JSON.stringify({ refused, before: isAsBefore, seed, files, after }))
  },

  /** Has only imported the package and opened a store. */
  async load() {
    const { default: fs } = await import('node:fs')
    const patched = Object.getOwnPropertySymbols(fs).some((symbol) => String(symbol).includes('graceful'))
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'exit'].reduce((sum, name) => sum + process.listenerCount(name), 0)
    say(JSON.stringify({ patched, signals }))
  },
}

await roles[role](fileStore(path), ...rest)
