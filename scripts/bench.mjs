// `npm run bench`: what keyturn costs beside what one would write by hand and beside its peers, in one run, as ratios.
// Never part of the tests: machines are shared and noisy, so each figure is the best of many short rounds, taken in turn.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mock } from 'node:test'
import { contenders, server } from './bench/contenders.mjs'
import { withFleet } from './bench/fleet.mjs'
import { verifierRows } from './bench/verifier.mjs'

const CALLERS = 1000
const SOURCES = 10_000
const HOUR = 3_600_000

/** The least time of `rounds`, in nanoseconds per call, for each of several functions that take turns. */
async function fastest(functions, calls, rounds) {
  const best = functions.map(() => Number.POSITIVE_INFINITY)
  for (let round = 0; round < rounds; round++) {
    for (const [i, call] of functions.entries()) {
      const start = performance.now()
      for (let n = 0; n < calls; n++) await call()
      best[i] = Math.min(best[i], ((performance.now() - start) / calls) * 1e6)
    }
  }
  return best
}

/** How many requests `work` costs. */
async function requestsOf(work) {
  const before = server.requests
  await work()
  return server.requests - before
}

const crowd = (ask) => Promise.all(Array.from({ length: CALLERS }, ask))

async function atExpiry(work) {
  mock.timers.enable({ apis: ['Date'], now: Date.now() + HOUR + 1000 })
  const requests = await requestsOf(work)
  mock.timers.reset()
  return requests
}

function heap() {
  for (let time = 0; time < 3; time++) globalThis.gc?.()
  return process.memoryUsage().heapUsed
}

async function ofMany(make) {
  const before = heap()
  const asks = Array.from({ length: SOURCES }, make)
  await Promise.all(asks.map((ask) => ask()))
  const bytes = (heap() - before) / SOURCES
  const renewals = await atExpiry(() => Promise.all(asks.map((ask) => Promise.all([ask(), ask(), ask()]))))
  return { bytes, renewals }
}

const names = Object.keys(contenders)
const makers = Object.values(contenders)
const asks = makers.map((make) => make())
const cold = []
const expiry = []
for (const ask of asks) cold.push(await requestsOf(() => crowd(ask)))
for (const ask of asks) expiry.push(await atExpiry(() => crowd(ask)))
for (const ask of asks) await ask()
const ns = await fastest(asks, 50_000, 20)
const many = []
for (const make of makers) many.push(await ofMany(make))
const [own] = ns

const rows = names.map((name, i) => ({
  '': name,
  'ns per cached token': Math.round(ns[i]),
  'keyturn is': `${(own / ns[i]).toFixed(2)} ×`,
  [`requests, ${CALLERS} cold`]: cold[i],
  '… at expiry': expiry[i],
  [`renewals, ${SOURCES} sources`]: many[i].renewals,
  'kB a source': Number((many[i].bytes / 1024).toFixed(2)),
}))
console.table(Object.fromEntries(rows.map(({ '': name, ...row }) => [name, row])))

await once(fork(new URL('bench/call.mjs', import.meta.url)), 'exit') // with a heap of its own

console.log('access tokens that an API verifies, every one anew (at least 0.95 of jose alone is the goal)')
console.table(await verifierRows())

await withFleet(async ({ size, askAll, askAllOfMsal, askOne, alone }) => {
  const [first, later] = [await requestsOf(askAll), await atExpiry(askAll)]
  const [msalFirst, msalLater] = [await requestsOf(askAllOfMsal), await atExpiry(askAllOfMsal)]
  await askAll()
  const [shared, own] = await fastest([askOne, alone], 50_000, 20)
  console.log(
    `fleet of ${size} on one Redis   token requests: ${first} cold, ${later} at expiry   MSAL's distributed cache: ${msalFirst} cold, ${msalLater} at expiry`,
  )
  console.log(
    `cached token       with Redis behind it ${shared.toFixed(0)} ns   without ${own.toFixed(0)} ns   ratio ${(shared / own).toFixed(2)}`,
  )
})
