import { fileStore } from '@keyturn/node'
import { mkdtempSync, rmSync } from 'node:fs'
const dir = mkdtempSync('/tmp/kt-')
const N = Number(process.argv[2])
const store = fileStore(dir + '/s.json', { key: new Uint8Array(32).fill(1) })
const record = (v) => ({ format: 1, version: v, tokens: { a: { accessToken: 'x'.repeat(1000), tokenType: 'Bearer', issuedAt: 1, expiresAt: 2 } }, refreshToken: 'r'.repeat(100), idToken: 'i'.repeat(800) })
const cpu0 = process.cpuUsage()
for (let i = 0; i < N; i++) await store.replace('k' + i, undefined, record(1))
console.log('writes alone: ms cpu each', process.cpuUsage(cpu0).user / 1000 / N)
let heard = 0
for (let i = 0; i < N; i++) store.watch('k' + i, () => heard++)
await new Promise((r) => setTimeout(r, 3000))
const cpu = process.cpuUsage()
const t = performance.now()
await store.replace('k1', 1, record(2))
while (!heard) await new Promise((r) => setTimeout(r, 20))
console.log(N, 'watchers: one write: cpu ms', process.cpuUsage(cpu).user / 1000, 'wall', Math.round(performance.now() - t))
rmSync(dir, { recursive: true })
process.exit()
