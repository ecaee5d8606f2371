// What is tested here is what would be published: the packed tarballs, installed together outside of the repository.
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { packageNames, read, root } from './sources.ts'

const bin = `${root}node_modules/.bin/`
const entries = [
  ...packageNames.flatMap((name) => [`@keyturn/${name}`, `@keyturn/${name}/ky`]),
  '@keyturn/core/testing',
  '@keyturn/node/doctor',
  '@keyturn/node/verifier',
]

let app: string
const tarballs = new Map<string, string>()

/** Runs a command in the app; its output is in the error when it fails. */
async function run(command: string, args: string[], cwd = app): Promise<string> {
  const { NODE_OPTIONS: _, ...env } = process.env
  const { stdout } = await promisify(execFile)(command, args, { cwd, env: { ...env, FORCE_COLOR: '0' } }).catch(
    ({ message, stdout, stderr }) => {
      throw new Error([message, stdout, stderr].join('\n'))
    },
  )
  return stdout
}

const evaluate = (type: 'module' | 'commonjs', code: string) =>
  run(process.execPath, ['--no-warnings', `--input-type=${type}`, '--eval', code])

beforeAll(async () => {
  app = await mkdtemp(join(tmpdir(), 'keyturn-tarballs-'))
  const folders = packageNames.map((name) => `${root}packages/${name}`)
  const packed = JSON.parse(
    await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', app, ...folders]),
  )
  for (const { name, filename } of packed) tarballs.set(name, join(app, filename))
  await writeFile(join(app, 'package.json'), '{ "private": true, "type": "module" }')
  await run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', '--ignore-scripts', ...tarballs.values()])
})

afterAll(() => rm(app, { recursive: true, force: true }))

test.each(packageNames)('publint finds nothing to say about the tarball of %s', async (name) => {
  const output = await run(`${bin}publint`, ['--strict', tarballs.get(`@keyturn/${name}`) ?? ''])
  expect(output).toContain('All good!')
})

test.each(packageNames)('the types of %s resolve for every ESM consumer', async (name) => {
  const output = await run(`${bin}attw`, [
    tarballs.get(`@keyturn/${name}`) ?? '',
    '--profile',
    'esm-only',
    '--no-emoji',
  ])
  expect(output).toContain('OK (ESM)')
})

test.each(packageNames)(
  'the tarball of %s holds its licence, its sources for the maps and no build state',
  async (name) => {
    const files = (await run('tar', ['-tzf', tarballs.get(`@keyturn/${name}`) ?? ''])).split('\n')
    expect(files).toEqual(expect.arrayContaining(['package/LICENSE', 'package/src/index.ts', 'package/dist/index.js']))
    expect(files.filter((file) => /tsbuildinfo|\/test\//.test(file))).toEqual([])
  },
)

test.each(entries)('%s loads by import and by require', async (entry) => {
  const names = 'console.log(Object.keys(m).filter((k) => k !== "default").sort().join())'
  const imported = await evaluate('module', `import * as m from '${entry}'; ${names}`)
  const required = await evaluate('commonjs', `const m = require('${entry}'); ${names}`)
  expect(imported.trim()).not.toBe('')
  expect(required).toBe(imported)
})

test.each(entries)('importing %s touches no global, listens to nothing and starts nothing', async (entry) => {
  const changes = await evaluate(
    'module',
    // The first Request and the first look at stdout make Node load parts of itself.
    `new Request('data:,'); process.stdout
     const functions = () => [process.cwd, process.chdir, process.emit, process.exit, fetch, setTimeout, Promise]
     const originals = functions()
     const look = () => ({
       globals: Reflect.ownKeys(globalThis).map(String).sort(),
       patched: functions().filter((f, i) => f !== originals[i]).map((f) => f.name),
       listeners: process.eventNames().map((name) => String(name) + ' ' + process.listenerCount(name)).sort(),
       active: process.getActiveResourcesInfo().sort(),
     })
     const before = look()
     await import('${entry}')
     console.log(JSON.stringify([before, look()]))`,
  )
  const [before, after] = JSON.parse(changes)
  expect(after).toEqual(before)
})

test('npx finds the command of node, which runs from its tarball', async () => {
  expect(await run('npx', ['--no-install', '@keyturn/node', '--help'])).toMatch(/^Usage: keyturn doctor ISSUER/)
  const looked = run('npx', ['--no-install', '@keyturn/node', 'doctor', 'http://login.example.com', '--json'])
  await expect(looked).rejects.toThrow(/"id": "address"/) // it ends with 1
})

test('the index of core pulls in oauth4webapi and nothing else, least of all ky', async () => {
  const dist = join(app, 'node_modules/@keyturn/core/dist')
  const reached = new Set<string>()
  const outside = new Set<string>()
  const follow = async (file: string): Promise<void> => {
    if (reached.has(file)) return
    reached.add(file)
    for (const { specifier } of read(file, await readFile(join(dist, file), 'utf8')).imports) {
      if (specifier.startsWith('.')) await follow(join(specifier))
      else outside.add(specifier)
    }
  }
  await follow('index.js')
  expect([...outside]).toEqual(['oauth4webapi'])
})

test.each([
  [
    'a Node program without the DOM',
    ['@keyturn/core', '@keyturn/core/ky', '@keyturn/node', '@keyturn/node/ky', '@keyturn/node/doctor'],
    'es2022',
    'node',
  ],
  [
    'a page without Node',
    ['@keyturn/core', '@keyturn/core/ky', '@keyturn/browser', '@keyturn/browser/ky'],
    'es2022,dom,dom.iterable',
    '',
  ],
])('the declarations compile strictly in %s', async (title, imports, lib, types) => {
  const file = `${title.split(' ')[1]?.toLowerCase()}.ts`
  await writeFile(join(app, file), imports.map((entry, i) => `export * as e${i} from '${entry}'`).join('\n'))
  const options = ['--noEmit', '--strict', '--skipLibCheck', 'false', '--target', 'es2024', '--module', 'nodenext']
  await run(`${bin}tsc`, [
    ...options,
    '--lib',
    lib,
    '--types',
    types,
    '--typeRoots',
    `${root}node_modules/@types`,
    file,
  ])
})
