// An hour of a busy process in moved time: the heap is flat, and in the end no timer, listener or promise is left.
// Runs with --expose-gc --unhandled-rejections=strict.
import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { authenticatedFetch, clientCredentials, memoryStore, refreshToken } from '@keyturn/core'
import { elapse, moveTime, pendingTimers, turns } from './moved-time.mjs'
import { ISSUER, metadata, rotatingServer } from './rotating-server.mjs'

const MINUTES = Number(process.env.SOAK_MINUTES ?? 60)
const CALLS_A_SECOND = 20
const API = 'https://api.example/'

moveTime()
const server = rotatingServer({ lifetime: 30, faulty: () => Math.random() < 0.2 })
let watching = 0
const shared = memoryStore()
const store = {
  ...shared,
  watch(key, listener) {
    const unwatch = shared.watch(key, listener)
    watching++
    let watched = true
    return () => {
      if (watched) watching--
      watched = false
      unwatch()
    }
  },
}
const options = {
  issuer: ISSUER,
  metadata,
  discovery: false,
  clientId: 'soak',
  clientSecret: 'secret',
  fetch: server.fetch,
  onWarning() {},
}
const session = () => refreshToken({ ...options, store, refreshToken: seed })
const seed = server.newRefreshToken()
const forEver = new AbortController()
const counts = { served: 0, failed: 0, sources: 0 }
const note = (promise) =>
  promise.then(
    () => counts.served++,
    () => counts.failed++,
  )

const lasting = [session(), session(), clientCredentials({ ...options, store })]
const unsubscribe = lasting.map((source) => source.subscribe(() => {}))
let refused = ''
/** An API that refuses every thousandth call. */
const underneath = async (_, init) => new Response('', { status: init && Math.random() < 0.001 ? 401 : 200 })
const apis = lasting.map((source) => authenticatedFetch(source, { apis: API, fetch: underneath }))

/** One that comes and goes: a request, a job, a page. */
async function passing() {
  counts.sources++
  const source = counts.sources % 2 ? session() : clientCredentials({ ...options, scope: `job-${counts.sources % 7}` })
  const leave = source.subscribe(() => {})
  const given = new AbortController()
  const call = note(source.getAccessToken({ signal: given.signal }))
  if (counts.sources % 3 === 0) given.abort()
  await call
  leave()
  await source[Symbol.asyncDispose]()
}

async function aMinute() {
  for (let second = 0; second < 60; second++) {
    for (let call = 0; call < CALLS_A_SECOND; call++) {
      const source = lasting[call % lasting.length]
      void note(source.getAccessToken({ signal: forEver.signal }).then((token) => (refused = token)))
      if (call === 0 && second % 20 === 0) void note(source.getAccessToken({ rejectedToken: refused }))
    }
    for (const api of apis) void note(api(API, { signal: forEver.signal }))
    if (second % 5 === 0) void passing()
    await elapse(1000)
  }
}

const heap = async () => {
  await turns(10)
  for (let time = 0; time < 3; time++) gc()
  return process.memoryUsage().heapUsed
}

const heaps = []
for (let minute = 1; minute <= MINUTES; minute++) {
  await aMinute()
  if (minute % Math.ceil(MINUTES / 6) === 0) heaps.push(await heap())
}
const kB = heaps.map((bytes) => Math.round(bytes / 1024))
const growth = (Math.min(...heaps.slice(-2)) - Math.min(...heaps.slice(1, 3))) / 1024
console.log(`${MINUTES} minutes: ${JSON.stringify({ ...counts, ...server.seen })}`)
console.log(`heap after gc, kB: ${kB.join(' ')}; growth ${growth.toFixed(0)} kB`)

for (const leave of unsubscribe) leave()
for (const source of lasting) {
  assert.equal(source.session.status, 'signedIn')
  await source[Symbol.asyncDispose]()
}
await elapse(60_000)
console.log(
  `left: ${pendingTimers()} timers, ${watching} watchers, ${getEventListeners(forEver.signal, 'abort').length} listeners`,
)
assert.equal(server.seen.refused, 0, 'no refresh token is sent twice')
assert.equal(pendingTimers(), 0, 'no timer is left')
assert.equal(watching, 0, 'nobody watches the store any more')
assert.equal(getEventListeners(forEver.signal, 'abort').length, 0, 'no listener is left')
assert.ok(growth < 512, `the heap grew by ${growth} kB`)
