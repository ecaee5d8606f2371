// What a call over loopback costs with `authenticatedFetch`, beside the same call with the platform's fetch.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { authenticatedFetch, TokenManager } from '@keyturn/core'

/** Calls in a round: short ones by turns, so that what disturbs one function disturbs both. */
const CALLS = 20
const ROUNDS = 600
/** Rounds before the first that counts: a process that calls an API has done so for a while, and its code is compiled. */
const WARM_UP = 400

// The server in a process of its own, or its work would be counted, too.
const api = fork(new URL('api.mjs', import.meta.url))
const [port] = await once(api, 'message')
const url = `http://127.0.0.1:${port}/orders`
const token = { accessToken: 'x'.repeat(40), tokenType: 'Bearer', expiresAt: Date.now() + 3_600_000 }
const source = new TokenManager(async () => token, { issuer: 'https://as.example', clientId: 'bench' })
const headers = { authorization: `Bearer ${await source.getAccessToken()}` }
const authenticated = authenticatedFetch(source, { apis: url })

const functions = [() => authenticated(url), () => fetch(url, { headers })]
const times = functions.map(() => [])
for (let round = -WARM_UP; round < ROUNDS; round++) {
  for (const i of round % 2 ? [1, 0] : [0, 1]) {
    const start = performance.now()
    for (let n = 0; n < CALLS; n++) await (await functions[i]()).text()
    if (round >= 0) times[i].push((performance.now() - start) / CALLS)
  }
}
api.kill()

const median = (numbers) => numbers.toSorted((one, other) => one - other)[numbers.length >> 1]
const [own, bare] = times.map((one) => (median(one) * 1000).toFixed(0))
const ratio = median(times[0].map((time, round) => time / times[1][round])).toFixed(3)
console.log(
  `call on loopback   keyturn ${own} µs   bare fetch ${bare} µs   ratio ${ratio} (median of ${ROUNDS} pairs; at most 1.05 is the goal)`,
)
