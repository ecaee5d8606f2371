// Where the browser tests find Firefox: $FIREFOX_PATH, Debian's firefox-esr where it is installed, or the one that
// `node scripts/firefox.mjs` (a part of `npm test`) unpacks from Debian's packages into node_modules/.cache: nothing is
// installed, so that needs no root. Elsewhere there is none, and its tests are left out.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const cache = join(dirname(dirname(fileURLToPath(import.meta.url))), 'node_modules/.cache')
const unpacked = join(cache, 'firefox-esr')
const installed = '/usr/bin/firefox-esr'

/** Milliseconds; a network that is not there is noticed earlier. */
const PATIENCE = 300_000

/** How Playwright launches it, by WebDriver BiDi; `undefined` where this machine has none. */
export function firefoxLaunch() {
  const executablePath = [process.env.FIREFOX_PATH, installed, join(unpacked, 'usr/lib/firefox-esr/firefox-esr')].find(
    (path) => path && existsSync(path),
  )
  if (!executablePath) return undefined
  const home = join(cache, 'firefox-home') // Firefox refuses one that belongs to somebody else
  mkdirSync(home, { recursive: true })
  const libraries = executablePath.startsWith(unpacked) ? unpackedLibraries() : []
  const paths = [...libraries, process.env.LD_LIBRARY_PATH].filter(Boolean).join(':')
  return {
    channel: 'moz-firefox',
    executablePath,
    firefoxUserPrefs: { 'dom.ipc.processCount.webIsolated': 1 }, // tabs of one site share a process, and open in half the time
    env: { ...process.env, HOME: home, ...(paths && { LD_LIBRARY_PATH: paths }) },
  }
}

function unpackedLibraries() {
  const folder = join(unpacked, 'usr/lib')
  return readdirSync(folder).flatMap((name) => (/-linux-gnu/.test(name) ? [join(folder, name)] : []))
}

/** Unpacks Debian's package, and what it needs of those that this machine lacks. Throws with the reason why it cannot. */
function bringFirefox() {
  if (!existsSync('/etc/debian_version')) throw new Error('this is no Debian; FIREFOX_PATH can name one')
  mkdirSync(cache, { recursive: true })
  const folder = mkdtempSync(`${unpacked}-`)
  try {
    const lists = join(folder, 'lists')
    const packages = join(folder, 'packages')
    const tree = join(folder, 'tree')
    for (const made of [join(lists, 'partial'), join(packages, 'partial'), tree]) mkdirSync(made, { recursive: true })
    const options = {
      'APT::Sandbox::User': '', // it could not write into a folder of root's
      'Debug::NoLocking': 'true', // the lock is of those who install
      'Dir::Cache': folder,
      'Dir::Cache::archives': `${packages}/`,
      'Acquire::Retries': '1',
      'Acquire::http::Timeout': '15',
    }
    const download = ['install', '--download-only', '--no-install-recommends', '--yes', 'firefox-esr']
    try {
      run('apt-get', [...asOptions(options), ...download])
    } catch {
      // The lists of packages are not there, as in a container's image, or too old.
      const fresh = asOptions({ ...options, 'Dir::State::lists': `${lists}/` })
      run('apt-get', [...fresh, 'update'])
      run('apt-get', [...fresh, ...download])
    }
    for (const name of readdirSync(packages)) {
      if (name.endsWith('.deb')) run('dpkg-deb', ['--extract', join(packages, name), tree])
    }
    renameSync(tree, unpacked) // so that a half-written one is never seen
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const asOptions = (options) => Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`])

function run(command, values) {
  const { status, stderr, error } = spawnSync(command, values, { encoding: 'utf8', timeout: PATIENCE })
  if (status !== 0) throw error ?? new Error(`${command}: ${stderr.trim().split('\n').at(-1)}`)
}

if (process.argv[1] === fileURLToPath(import.meta.url) && !firefoxLaunch()) {
  try {
    const start = performance.now()
    bringFirefox()
    console.log(`Firefox: unpacked in ${((performance.now() - start) / 1000).toFixed(0)} s`)
  } catch (error) {
    console.log(`Firefox: its tests are left out, ${error.message}`)
  }
}
