// `npm run bench`: what keyturn costs beside what one would write by hand and beside its peers, in one run, as ratios.
// Never part of the tests: machines are shared and noisy, so each figure is the best of many short rounds, taken in turn.
import { createServer } from 'node:http'
import { mock } from 'node:test'
import { authenticatedFetch, TokenManager } from '@keyturn/core'
import { contenders, server } from './bench/contenders.mjs'
import { withFleet } from './bench/fleet.mjs'

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

const api = createServer((_, response) => response.end('ok'))
await new Promise((resolve) => api.listen(0, '127.0.0.1', resolve))
const url = `http://127.0.0.1:${api.address().port}/orders`
const grant = async () => ({ ...(await server.issue()), tokenType: 'Bearer' })
const source = new TokenManager(grant, { issuer: 'https://as.example', clientId: 'bench' })
const authenticated = authenticatedFetch(source, { apis: url })
const headers = { authorization: `Bearer ${await source.getAccessToken()}` }
const read = (call) => async () => (await call()).text()
const [with_, bare] = await fastest([read(() => authenticated(url)), read(() => fetch(url, { headers }))], 300, 20)
console.log(
  `call on loopback   keyturn ${(with_ / 1000).toFixed(0)} µs   bare fetch ${(bare / 1000).toFixed(0)} µs   ratio ${(with_ / bare).toFixed(2)}`,
)
api.closeAllConnections()
api.close()

await withFleet(async ({ size, askAll, askOne, alone }) => {
  const [first, later] = [await requestsOf(askAll), await atExpiry(askAll)]
  await askAll()
  const [shared, own] = await fastest([askOne, alone], 50_000, 20)
  console.log(`fleet of ${size} on one Redis   token requests: ${first} cold, ${later} at expiry`)
  console.log(
    `cached token       with Redis behind it ${shared.toFixed(0)} ns   without ${own.toFixed(0)} ns   ratio ${(shared / own).toFixed(2)}`,
  )
})
