// `npm test` and `npm start` straight from a fresh clone: install what the lock file names, once.
// Runs on whatever Node the machine has; everything after it runs on node_modules/.bin/node.
import { spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'

const changedAt = (file) => (existsSync(file) ? statSync(file).mtimeMs : 0)
if (changedAt('node_modules/.package-lock.json') < changedAt('package-lock.json')) {
  const npm = process.env.npm_execpath // the npm that runs this script
  const { status } = spawnSync(process.execPath, [npm, 'ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    stdio: 'inherit',
  })
  if (status !== 0) process.exit(status ?? 1)
}
