import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { transformWithOxc } from 'vite'
import { root } from './sources.ts'

/** A snippet of a document whose first line is its file's name. */
export interface Snippet {
  readonly file: string
  readonly code: string
}

export function snippetsOf(document: string): Snippet[] {
  const found = readFileSync(join(root, document), 'utf8').matchAll(/```ts\n\/\/ (.*?)\n(.*?)```/gs)
  return [...found].map(([, file = '', code = '']) => ({ file, code }))
}

/** A folder of its own below `node_modules`, where packages are found and nothing is checked in. */
export function writeAll(folder: string, snippets: readonly Snippet[]): string {
  const at = join(root, 'node_modules/.cache', folder)
  mkdirSync(at, { recursive: true })
  for (const { file, code } of snippets) writeFileSync(join(at, file), code)
  writeFileSync(join(at, 'package.json'), '{ "type": "module" }')
  return at
}

/** What the compiler says of them, against the packages as they are built: nothing, if all is well. */
export function compiled(folder: string, snippets: readonly Snippet[]): string {
  const modules = snippets.map(({ file, code }) => ({ file, code: `${code}\nexport {}\n` }))
  const at = writeAll(folder, modules)
  const compilerOptions = {
    target: 'es2024',
    module: 'nodenext',
    lib: ['es2024', 'esnext.disposable', 'dom', 'dom.iterable'],
    types: ['node'],
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    allowImportingTsExtensions: true,
  }
  const files = modules.map(({ file }) => file)
  writeFileSync(join(at, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }))
  const { stdout, status } = spawnSync('npx', ['tsc', '-p', at], { cwd: root, encoding: 'utf8' })
  return status === 0 ? stdout : `${stdout}(status ${status})`
}

/** As Node runs it, after `change`. */
export async function asJavaScript({ file, code }: Snippet, change: (code: string) => string): Promise<Snippet> {
  const { code: text } = await transformWithOxc(change(code), file, { lang: 'ts' })
  return { file: file.replace('.ts', '.js'), code: text }
}
