// One process among several that share a file store. It uses the built package, as a user's process would:
// `npm run build` comes first. Plain JavaScript, because Node 22.12 runs no TypeScript.
import { mkdirSync, rmdirSync, utimesSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileStore } from '@keyturn/node'

const [role, path, ...rest] = process.argv.slice(2)
const record = (version, seed) => ({ format: 1, version, tokens: {}, seed })
const say = (line) => process.stdout.write(`${line}\n`)

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

  /** Finds the disk full: to `ulimit -f` a file that gets too long is much the same. */
  async full(store) {
    process.on('SIGXFSZ', () => {})
    const before = await store.get('alice')
    await store.replace('alice', before.version, record(before.version + 1, 'x'.repeat(50_000))).then(
      () => say('written'),
      ({ name, code, retryable, fix }) => say(JSON.stringify({ name, code, retryable, fix: typeof fix })),
    )
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
