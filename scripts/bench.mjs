// `npm run bench`: what keyturn costs beside what one would write by hand, in one run, as ratios. Never part of the
// tests: machines are shared and noisy, so each figure is the best of many short rounds, taken in turn.
import { createServer } from 'node:http'
import { authenticatedFetch, TokenManager } from '@keyturn/core'

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

/** The ten lines that everybody writes. */
function handWritten(request) {
  let token
  let pending
  return async () => {
    if (token && Date.now() < token.expiresAt - 10_000) return token.accessToken
    pending ??= request().finally(() => {
      pending = undefined
    })
    token = await pending
    return token.accessToken
  }
}

const request = async () => ({ accessToken: 'a'.repeat(40), tokenType: 'Bearer', expiresAt: Date.now() + HOUR })
const source = new TokenManager(request, { issuer: 'https://as.example', clientId: 'bench' })
const byHand = handWritten(request)
const [ours, theirs] = await fastest([() => source.getAccessToken(), () => byHand()], 100_000, 30)
console.log(
  `cached token       keyturn ${ours.toFixed(0)} ns   ten lines ${theirs.toFixed(0)} ns   ratio ${(ours / theirs).toFixed(2)}`,
)

const server = createServer((_, response) => response.end('ok'))
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
const url = `http://127.0.0.1:${server.address().port}/orders`
const api = authenticatedFetch(source, { apis: url })
const read = (call) => async () => (await call()).text()
const headers = { authorization: `Bearer ${await source.getAccessToken()}` }
const [with_, bare] = await fastest([read(() => api(url)), read(() => fetch(url, { headers }))], 300, 20)
console.log(
  `call on loopback   keyturn ${(with_ / 1000).toFixed(0)} µs   bare fetch ${(bare / 1000).toFixed(0)} µs   ratio ${(with_ / bare).toFixed(2)}`,
)

const before = process.memoryUsage().heapUsed
const many = Array.from(
  { length: 10_000 },
  () => new TokenManager(request, { issuer: 'https://as.example', clientId: 'bench' }),
)
const start = performance.now()
await Promise.all(many.map((one) => one.getAccessToken()))
const ms = performance.now() - start
const bytes = (process.memoryUsage().heapUsed - before) / many.length
console.log(
  `10 000 sources     first token in ${(ms / 10).toFixed(0)} µs each   ${(bytes / 1024).toFixed(1)} kB of heap each`,
)
server.closeAllConnections()
server.close()
