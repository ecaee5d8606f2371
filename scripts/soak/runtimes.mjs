// Loads the built packages in other runtimes and gets a token there: Node 22 and 26, Deno, Bun, each from its npm package.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const packages = fileURLToPath(new URL('../../packages/', import.meta.url))
const entries = ['core/dist/index.js', 'core/dist/ky.js', 'core/dist/testing.js', 'browser/dist/index.js']
const nodes = ['node/dist/index.js', 'node/dist/verifier.js']
const program = `
for (const entry of ${JSON.stringify([...entries, ...nodes])}) await import(${JSON.stringify(`file://${packages}`)} + entry)
const { clientCredentials } = await import(${JSON.stringify(`file://${packages}core/dist/index.js`)})
const issuer = 'https://as.example'
const fetch = async () => Response.json({ access_token: 'token', token_type: 'Bearer', expires_in: 60 })
const metadata = { token_endpoint: issuer + '/token' }
const source = clientCredentials({ issuer, clientId: 'a', clientSecret: 'b', discovery: false, metadata, fetch })
if ((await source.getAccessToken()) !== 'token') throw new Error('no token')
`
/** What to install, and how it is called; the first file that is there. */
const runtimes = {
  'Node 22': ['node@22', ['node_modules/node/bin/node'], []],
  'Node 26': ['node@26', ['node_modules/node/bin/node'], []],
  Deno: ['deno', ['node_modules/@deno'], ['run', '--allow-all']],
  Bun: ['bun', ['node_modules/bun/bin/bun.exe', 'node_modules/@oven'], []],
}

let failed = 0
for (const [name, [wanted, places, parameters]] of Object.entries(runtimes)) {
  const folder = mkdtempSync(join(tmpdir(), 'keyturn-runtime-'))
  try {
    writeFileSync(join(folder, 'package.json'), '{}')
    writeFileSync(join(folder, 'load.mjs'), program)
    run('npm', ['install', '--no-audit', '--no-fund', wanted], folder)
    const command = places.map((place) => commandIn(join(folder, place))).find(Boolean)
    if (!command) throw new Error(`${wanted} brought no program`)
    const version = run(command, ['--version'], folder).split('\n')[0]
    run(command, [...parameters, 'load.mjs'], folder)
    console.log(`${name} (${version}): every package loads, and a token comes`)
  } catch (error) {
    failed++
    console.log(`${name}: ${error.message}`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
console.log(`${Object.keys(runtimes).length - failed} passed, ${failed} failed`)
process.exitCode = failed

/** The program that a path is, or that is somewhere in its folder. */
function commandIn(path) {
  if (!existsSync(path)) return undefined
  if (!/(^|\/)@/.test(path)) return path
  const found = readdirSync(path, { recursive: true }).find((file) => /(^|\/)(deno|bun)$/.test(file))
  return found && join(path, found)
}

function run(command, parameters, cwd) {
  const { status, stdout, stderr, error } = spawnSync(command, parameters, { cwd, encoding: 'utf8', timeout: 120_000 })
  if (status === 0) return stdout.trim()
  throw new Error(`${command} ${parameters.join(' ')} failed: ${error?.message ?? stderr.trim().slice(-300)}`)
}
