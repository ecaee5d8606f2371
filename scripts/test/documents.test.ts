import { spawnSync } from 'node:child_process'
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { root } from './sources.ts'

const text = (file: string) => readFileSync(join(root, file), 'utf8')

const READMES = ['README.md', ...['core', 'browser', 'node'].map((name) => `packages/${name}/README.md`)]

test('every snippet of the READMEs and of docs/events.md compiles against the packages as they are built', () => {
  const folder = join(root, 'node_modules/.cache/readme')
  mkdirSync(folder, { recursive: true })
  const documents = [...READMES, 'docs/events.md'].map(text).join('')
  const snippets = [...documents.matchAll(/```ts\n(.*?)```/gs)].map(([, code]) => code ?? '')
  expect(snippets.length).toBeGreaterThanOrEqual(3)
  const files = snippets.map((_, i) => `snippet-${i}.ts`)
  snippets.forEach((code, i) => {
    writeFileSync(join(folder, `snippet-${i}.ts`), `${code}\nexport {}\n`)
  })
  const compilerOptions = {
    target: 'es2024',
    module: 'nodenext',
    lib: ['es2022', 'dom', 'dom.iterable'],
    types: ['node'],
    strict: true,
    noEmit: true,
  }
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }))
  const { stdout, status } = spawnSync('npx', ['tsc', '-p', folder], { cwd: root, encoding: 'utf8' })
  expect(stdout).toBe('')
  expect(status).toBe(0)
})

test('every error code has its story in docs/errors.md, and no other code has one', () => {
  const union = /export type OAuthErrorCode =(.*?)\n\n/s.exec(text('packages/core/src/errors.ts'))?.[1] ?? ''
  const codes = [...union.matchAll(/\| '([^']+)'/g)].map(([, code]) => code)
  const told = [...text('docs/errors.md').matchAll(/^- (`[^:]+):/gm)].flatMap(([, names]) =>
    [...(names ?? '').matchAll(/`([^`]+)`/g)].map(([, name]) => name),
  )
  expect(codes.length).toBeGreaterThan(10)
  expect(told.sort()).toEqual(codes.sort())
})

test('docs/doctor.md tells of every finding of the doctor, and of no other', () => {
  const sources = /export const SOURCES = \{(.*?)\n\}/s.exec(text('packages/node/src/doctor/finding.ts'))?.[1] ?? ''
  const ids = [...sources.matchAll(/^ {2}'?([a-z-]+)'?:/gm)].map(([, id]) => id)
  const told = [...text('docs/doctor.md').matchAll(/^\| (`[^|]+) \|/gm)].flatMap(([, names]) =>
    [...(names ?? '').matchAll(/`([^`]+)`/g)].map(([, name]) => name),
  )
  expect(ids.length).toBeGreaterThan(20)
  expect(told.sort()).toEqual(ids.sort())
})

/** What stands in backticks in the first column of the tables of a document, as far as `pattern` fits. */
const firstColumn = (file: string, pattern: RegExp) =>
  [...text(file).matchAll(/^\| `([^`]+)` \|/gm)].flatMap(([, name = '']) => (pattern.test(name) ? [name] : []))

test('docs/events.md tells of every channel and every metric, and of no other', () => {
  const channels = new Set(text('packages/node/src/audit-events.ts').match(/keyturn:\w+:\w+/g))
  const metrics = new Set(text('packages/node/src/opentelemetry.ts').match(/(?<=create\w+\(')keyturn\.[\w.]+/g))
  expect([channels.size, metrics.size]).toEqual([6, 5])
  expect(firstColumn('docs/events.md', /^keyturn:/).sort()).toEqual([...channels].sort())
  expect(firstColumn('docs/events.md', /^keyturn\./).sort()).toEqual([...metrics].sort())
})

test('the dashboard shows every metric, by the names and attributes that exporters to Prometheus give them', () => {
  const source = text('packages/node/src/opentelemetry.ts')
  const named = (name: string) => name.replaceAll('.', '_')
  const counters = [...source.matchAll(/createCounter\('([^']+)'/g)].map(([, name = '']) => `${named(name)}_total`)
  const histograms = [...source.matchAll(/createHistogram\('([^']+)'/g)].map(
    ([, name = '']) => `${named(name)}_seconds_bucket`,
  )
  const dashboard = JSON.parse(text('docs/grafana-dashboard.json'))
  const expressions = dashboard.panels.flatMap(({ targets }: { targets: { expr: string }[] }) =>
    targets.map(({ expr }) => expr),
  )
  const shown = new Set(expressions.join(' ').match(/keyturn_\w+_(total|bucket)/g))
  expect([...shown].sort()).toEqual([...counters, ...histograms].sort())
  const attributes = new Set(
    [...source.matchAll(/'((?:keyturn|error|http)\.[\w.]+)'/g)].map(([, name = '']) => named(name)),
  )
  const used =
    expressions.join(' ').match(/\b(keyturn_(outcome|reason|client_id|\w*grant)|error_type|http_\w+)\b/g) ?? []
  for (const name of used) expect(attributes).toContain(name)
})

/** What GitHub calls the headings of a document. */
const anchorsOf = (file: string) =>
  [...text(file).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )

test('every relative link of the documents leads somewhere, and its anchor to a heading there', () => {
  const documents = [
    ...READMES,
    'CONTRIBUTING.md',
    'SECURITY.md',
    'CHANGELOG.md',
    ...globSync('docs/*.md', { cwd: root }),
  ]
  const broken = documents.flatMap((file) =>
    [...text(file).matchAll(/\]\((?!https?:)([^)#]*)#?([^)]*)\)/g)].flatMap(([link, path = '', anchor = '']) => {
      const target = path ? join(file, '..', path) : file
      const leads = existsSync(join(root, target)) && (!anchor || anchorsOf(target).includes(anchor))
      return leads ? [] : [`${file}: ${link}`]
    }),
  )
  expect(documents.length).toBeGreaterThan(12)
  expect(broken).toEqual([])
})

test('every file that docs/architecture.md names is in core', () => {
  const table = /\| layer \| files.*?\n\n/s.exec(text('docs/architecture.md'))?.[0] ?? ''
  const named = [...table.matchAll(/`([a-z-]+)`/g)].map(([, name]) => name)
  expect(named.length).toBeGreaterThan(20)
  expect(named.filter((name) => !existsSync(join(root, `packages/core/src/${name}.ts`)))).toEqual([])
})
