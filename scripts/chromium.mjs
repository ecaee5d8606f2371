// Where the browser tests find Chromium: $CHROMIUM_PATH, or the one inside the npm package
// @sparticuz/chromium, unpacked once into node_modules/.cache. That one is for Linux on x64;
// elsewhere Playwright looks for its own.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

export const chromiumArgs = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

export async function chromiumPath() {
  if (process.env.CHROMIUM_PATH) return process.env.CHROMIUM_PATH
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined
  const pkg = JSON.parse(readFileSync(join(root, 'node_modules/@sparticuz/chromium/package.json'), 'utf8'))
  const dir = join(root, 'node_modules/.cache', `chromium-${pkg.version}`)
  if (!existsSync(dir)) {
    mkdirSync(dirname(dir), { recursive: true })
    const tmp = mkdtempSync(`${dir}-`)
    const { TMPDIR } = process.env
    try {
      process.env.TMPDIR = tmp // the package unpacks into os.tmpdir()
      const { default: chromium } = await import('@sparticuz/chromium')
      await chromium.executablePath()
      renameSync(tmp, dir) // so that a half-written binary is never seen
    } catch (e) {
      rmSync(tmp, { recursive: true, force: true })
      if (!existsSync(dir)) throw e
    } finally {
      if (TMPDIR === undefined) delete process.env.TMPDIR
      else process.env.TMPDIR = TMPDIR
    }
  }
  return join(dir, 'chromium')
}
