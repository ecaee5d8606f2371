import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { root } from './sources.ts'

const text = (file: string) => readFileSync(join(root, file), 'utf8')

test('every snippet of the README compiles against the packages as they are built', () => {
  const folder = join(root, 'node_modules/.cache/readme')
  mkdirSync(folder, { recursive: true })
  const snippets = [...text('README.md').matchAll(/```ts\n(.*?)```/gs)].map(([, code]) => code ?? '')
  expect(snippets.length).toBeGreaterThanOrEqual(3)
  const files = snippets.map((_, i) => `snippet-${i}.ts`)
  snippets.forEach((code, i) => {
    writeFileSync(join(folder, `snippet-${i}.ts`), `${code}\nexport {}\n`)
  })
  const compilerOptions = {
    target: 'es2024',
    module: 'nodenext',
    lib: ['es2024', 'esnext.disposable', 'dom', 'dom.iterable'],
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

test('every relative link of the documents leads somewhere', () => {
  const broken = [
    'README.md',
    'CONTRIBUTING.md',
    'SECURITY.md',
    'docs/architecture.md',
    'docs/errors.md',
    'docs/providers.md',
    'docs/recipes.md',
  ].flatMap((file) =>
    [...text(file).matchAll(/\]\((?!https?:|#)([^)#]+)/g)]
      .map(([, target]) => join(file, '..', target ?? ''))
      .filter((target) => !existsSync(join(root, target))),
  )
  expect(broken).toEqual([])
})

test('every file that docs/architecture.md names is in core', () => {
  const table = /\| layer \| files.*?\n\n/s.exec(text('docs/architecture.md'))?.[0] ?? ''
  const named = [...table.matchAll(/`([a-z-]+)`/g)].map(([, name]) => name)
  expect(named.length).toBeGreaterThan(20)
  expect(named.filter((name) => !existsSync(join(root, `packages/core/src/${name}.ts`)))).toEqual([])
})
