import { fileURLToPath } from 'node:url'
import type { Rolldown } from 'vite'

const root = fileURLToPath(new URL('../page', import.meta.url))

/** The page's files by their path, built and kept in memory. */
export type PageFiles = Map<string, string | Uint8Array>

/** Bundles the page against the packages as they are built. */
export async function buildPage(): Promise<PageFiles> {
  const { build } = await import('vite')
  const built = await build({
    root,
    configFile: false,
    logLevel: 'error',
    build: { write: false, modulePreload: { polyfill: false }, assetsInlineLimit: 0 },
  })
  const files: PageFiles = new Map()
  for (const { output } of [built].flat().filter(isOutput)) {
    for (const file of output) files.set(`/${file.fileName}`, file.type === 'chunk' ? file.code : file.source)
  }
  return files
}

function isOutput(built: object): built is Rolldown.RolldownOutput {
  return 'output' in built
}
