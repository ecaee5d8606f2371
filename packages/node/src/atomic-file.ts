import {
  existsSync,
  lstatSync,
  mkdirSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
} from 'node:fs'
import { open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { StoreError } from '@keyturn/core'
import { errorCode, isPassing } from './file-error.ts'

const OWNER_ONLY = 0o600
/** How often Windows may refuse a file for no lasting reason, and how long to wait between, milliseconds. */
const PATIENCE = 40
const PAUSE = 25
/** How many damaged files are kept beside theirs; then the newest takes the place of the oldest. */
const MOST_ASIDE = 9
/** What `publish` has staged. */
const STAGED = /^\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.next$/
/** No writer takes as long: a lock that is older was taken over, milliseconds. */
const LEFT_BEHIND = 300_000

/** Where the file really is, or will be: writing must not replace a symbolic link, and all its users must lock the same. */
export function locate(path: string): string {
  try {
    return realpathSync.native(path)
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error
  }
  const isLink = lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()
  return isLink ? locate(resolve(locate(dirname(path)), readlinkSync(path))) : path
}

/**
 * Makes a folder and those that it is in. Not by `recursive: true`: in Node that never ends, and lets nothing else run,
 * where a file system takes no folders and says ENOENT (`/proc`).
 */
export function makeFolder(path: string): void {
  if (existsSync(path)) return
  const above = dirname(path)
  if (above !== path) makeFolder(above)
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error // another process was faster
  }
}

/** The text of a file; none where there is no file. */
export async function readText(path: string): Promise<string> {
  return patiently(async () => {
    try {
      return await readFile(path, 'utf8')
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return ''
      throw error
    }
  })
}

/** Writes the whole file or nothing, for its owner alone, if `isOurs` still says so in the tick that publishes it. */
export async function publish(path: string, text: string, isOurs: () => boolean): Promise<void> {
  const staged = `${path}.${crypto.randomUUID()}.next`
  try {
    await stage(staged, text, statSync(path, { throwIfNoEntry: false }))
    await patiently(async () => {
      assertOurs(isOurs)
      renameSync(staged, path)
    })
    await syncFolder(dirname(path))
  } catch (error) {
    rmSync(staged, { force: true })
    throw error
  }
}

/** Writes a new file, and has it on the disk. */
async function stage(path: string, text: string, { uid, gid }: Partial<Stats> = {}): Promise<void> {
  const file = await open(path, 'wx', OWNER_ONLY)
  try {
    await file.writeFile(text)
    await file.chmod(OWNER_ONLY) // whatever the umask left of it
    // Whoever runs it once as root must not lock the user out.
    if (uid !== undefined && gid !== undefined && process.getuid?.() === 0) await file.chown(uid, gid)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Without it a power cut can bring the old file back, and with it a refresh token that was spent. */
async function syncFolder(path: string): Promise<void> {
  try {
    const folder = await open(path)
    await folder.sync().finally(() => folder.close())
  } catch {
    // Windows, and not every file system, lets a folder be synced. The file itself is written.
  }
}

/** Removes what writers that were killed have staged for `path`. */
export async function sweep(path: string): Promise<void> {
  const base = basename(path)
  try {
    for (const name of await readdir(dirname(path))) {
      if (!name.startsWith(base) || !STAGED.test(name.slice(base.length))) continue
      const staged = join(dirname(path), name)
      if (Date.now() - (await stat(staged)).mtimeMs > LEFT_BEHIND) await rm(staged, { force: true })
    }
  } catch {
    // It harms nothing where it is, and the next one may get further.
  }
}

/** Keeps what is about to be dropped as `<path>.damaged` or, where that name is taken, `<path>.damaged.2` and so on. */
export async function keepAside(path: string, content: string | Buffer): Promise<void> {
  const names = Array.from({ length: MOST_ASIDE }, (_, n) => `${path}.damaged${n === 0 ? '' : `.${n + 1}`}`)
  const age = (name: string) => statSync(name, { throwIfNoEntry: false })?.mtimeMs ?? Number.NEGATIVE_INFINITY
  const name = names.find((name) => !existsSync(name)) ?? names.reduce((a, b) => (age(a) <= age(b) ? a : b))
  rmSync(name, { force: true })
  await writeFile(name, content, { mode: OWNER_ONLY, flag: 'wx', flush: true })
}

function assertOurs(isOurs: () => boolean): void {
  if (isOurs()) return
  throw new StoreError('Writing the token file took so long that another process took its lock over')
}

async function patiently<T>(act: () => Promise<T>): Promise<T> {
  for (let refusals = 0; ; refusals++) {
    try {
      return await act()
    } catch (error) {
      if (!isPassing(error) || refusals >= PATIENCE) throw error
    }
    await sleep(PAUSE)
  }
}
