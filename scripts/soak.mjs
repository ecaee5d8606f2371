// `npm run soak`: what takes too long for `npm test`. An hour of a busy process in moved time, then eight tabs of a real
// Chromium, and eight processes, through 200 expiries, a day of outage, a fleet of a hundred, other runtimes and many random histories. `npm run soak -- hour` runs one of them.
import { spawnSync } from 'node:child_process'

const vitest = (project, file, env) => ['npx', ['vitest', 'run', '--project', project, file], env]
const parts = {
  hour: [process.execPath, ['--expose-gc', '--unhandled-rejections=strict', 'scripts/soak/hour.mjs'], {}],
  tabs: vitest('examples', 'examples/spa/test/eight-tabs.test.ts', { SOAK_EXPIRIES: '200' }),
  firefox: [
    'sh',
    ['-c', 'node scripts/firefox.mjs && npx vitest run --project examples-firefox --project "browser (firefox)"'],
    { KEYTURN_FIREFOX: '1' },
  ],
  outage: vitest('core', 'packages/core/test/proofs/outage.test.ts', { PROOF_HOURS: '24' }),
  processes: vitest('node', 'packages/node/test/eight-processes.test.ts', { KEYTURN_EXPIRIES: '200' }),
  kills: vitest('node', 'packages/node/test/file-store-kills.test.ts', { KEYTURN_KILLS: '1000' }),
  fleet: vitest('node', 'packages/node/test/fleet', {
    KEYTURN_PROCESSES: '100',
    KEYTURN_EXPIRIES: '10',
    KEYTURN_USERS: '50',
  }),
  runtimes: [process.execPath, ['scripts/soak/runtimes.mjs'], {}],
  model: vitest('core', 'packages/core/test/proofs/model.test.ts', { PROOF_RUNS: '5000' }),
}

const asked = process.argv.slice(2)
let failed = 0
for (const [name, [command, values, env]] of Object.entries(parts)) {
  if (asked.length > 0 && !asked.includes(name)) continue
  console.log(`\n── ${name}`)
  const { status } = spawnSync(command, values, { stdio: 'inherit', env: { ...env, ...process.env } })
  if (status !== 0) failed++
}
process.exitCode = failed
