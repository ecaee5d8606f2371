import { globSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseSync } from 'vite'

export const root: string = fileURLToPath(new URL('../../', import.meta.url))

export const packageNames = ['core', 'browser', 'node'] as const
export type PackageName = (typeof packageNames)[number]

export interface Import {
  specifier: string
  /** Gone at run time: `import type`, `import('x').Y`. */
  typeOnly: boolean
}

export interface SourceFile {
  /** Relative to its package's `src`, with forward slashes. */
  name: string
  text: string
  imports: Import[]
  saysAny: boolean
}

interface SyntaxNode {
  type: string
  source?: { value: string } | null
  importKind?: string
  exportKind?: string
  specifiers?: { importKind?: string; exportKind?: string }[]
}

function* nodesIn(value: unknown): Generator<SyntaxNode> {
  if (typeof value !== 'object' || value === null) return
  if ('type' in value && typeof value.type === 'string') yield value as SyntaxNode
  for (const child of Object.values(value)) yield* nodesIn(child)
}

function isTypeOnly({ type, importKind, exportKind, specifiers = [] }: SyntaxNode): boolean {
  if (type === 'TSImportType' || importKind === 'type' || exportKind === 'type') return true
  return specifiers.length > 0 && specifiers.every((s) => s.importKind === 'type' || s.exportKind === 'type')
}

export function read(name: string, text: string): SourceFile {
  const nodes = [...nodesIn(parseSync(name, text).program)]
  const imports = nodes
    .filter((node) => /^(Import(Declaration|Expression)|Export(Named|All)Declaration|TSImportType)$/.test(node.type))
    .flatMap((node) => (node.source ? [{ specifier: node.source.value, typeOnly: isTypeOnly(node) }] : []))
  return { name, text, imports, saysAny: nodes.some((node) => node.type === 'TSAnyKeyword') }
}

/** Every source file of a package, parsed. */
export function sourcesOf(name: PackageName): SourceFile[] {
  const cwd = `${root}packages/${name}/src`
  return globSync('**/*.ts', { cwd }).map((file) =>
    read(file.replaceAll('\\', '/'), readFileSync(`${cwd}/${file}`, 'utf8')),
  )
}
