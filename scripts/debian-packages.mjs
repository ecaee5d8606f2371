// What the tests need of other people's programs and a machine may lack: Debian's own packages, unpacked once into
// node_modules/.cache, without root and without installing anything.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const cache = join(dirname(dirname(fileURLToPath(import.meta.url))), 'node_modules/.cache')

/** The folder of packages that were unpacked under this name; it may not be there yet. */
export const folderOf = (name) => join(cache, name)

/** Unpacks them, where that has not been done. Throws where it cannot be. */
export function unpackedPackages(name, packages) {
  const unpacked = folderOf(name)
  if (existsSync(unpacked)) return unpacked
  mkdirSync(cache, { recursive: true })
  const folder = mkdtempSync(`${unpacked}-`)
  try {
    download(folder, packages)
    for (const file of readdirSync(folder).filter((one) => one.endsWith('.deb'))) {
      run('dpkg-deb', ['-x', file, '.'], folder)
    }
    if (!existsSync(unpacked)) renameSync(folder, unpacked) // so that a half of it is never seen
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  return unpacked
}

/** With lists of packages of its own where the system has none. */
function download(folder, packages) {
  if (spawnSync('apt-get', ['download', ...packages], { cwd: folder }).status === 0) return
  const own = ['-o', `Dir::State=${folder}/state`, '-o', `Dir::Cache=${folder}/cache`]
  mkdirSync(join(folder, 'state/lists/partial'), { recursive: true })
  mkdirSync(join(folder, 'cache/archives/partial'), { recursive: true })
  run('apt-get', [...own, 'update'], folder)
  run('apt-get', [...own, 'download', ...packages], folder)
}

function run(command, parameters, cwd) {
  const { status, error, stderr } = spawnSync(command, parameters, { cwd, encoding: 'utf8' })
  if (status !== 0) throw error ?? new Error(`${command} ${parameters.join(' ')}: ${stderr}`)
}
