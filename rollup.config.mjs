// Bundles each package's entries into ES modules; `tsc -b` has already written the declarations.
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { transformWithOxc } from 'vite'

const typescript = {
  name: 'typescript',
  async transform(code, id) {
    if (!id.endsWith('.ts')) return
    const { code: out, map } = await transformWithOxc(code, id, { lang: 'ts', target: 'es2024', sourcemap: true })
    return { code: out, map }
  },
}

// What an earlier build left behind would be packed and published.
const sweep = (dir) => ({
  name: 'sweep',
  writeBundle(_, bundle) {
    for (const entry of readdirSync(`${dir}/dist`, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue
      const path = join(entry.parentPath, entry.name)
      const file = path.slice(`${dir}/dist/`.length)
      const source = join(dir, 'src', file.replace(/\.d\.ts(\.map)?$/, '.ts'))
      const stale = /\.js(\.map)?$/.test(file)
        ? !(file in bundle)
        : /\.d\.ts(\.map)?$/.test(file) && !existsSync(source)
      if (stale) rmSync(path)
    }
  },
})

export default ['core', 'browser', 'node'].map((name) => {
  const dir = `packages/${name}`
  const { dependencies = {}, peerDependencies = {} } = JSON.parse(readFileSync(`${dir}/package.json`, 'utf8'))
  const others = Object.keys({ ...dependencies, ...peerDependencies })
  return {
    input: Object.fromEntries(
      ['index', 'ky', 'testing', 'verifier', 'doctor', 'opentelemetry', 'keyturn']
        .map((entry) => [entry, `${dir}/src/${entry}.ts`])
        .filter(([, file]) => existsSync(file)),
    ),
    external: [/^node:/, ...others.map((d) => new RegExp(`^${d}(/|$)`))],
    plugins: [typescript, sweep(dir)],
    onwarn(warning) {
      throw Object.assign(new Error(warning.message), warning)
    },
    output: { dir: `${dir}/dist`, format: 'es', sourcemap: true, chunkFileNames: '[name].js' },
  }
})
