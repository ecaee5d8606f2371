import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'
import { transformWithOxc } from 'vite'
import { expect, onTestFinished, test } from 'vitest'
import { runNode } from '../../examples/playground/test/run-node.ts'
import { root } from './sources.ts'

const folder = join(root, 'node_modules/.cache/recipes')
const recipes = [...readFileSync(join(root, 'docs/recipes.md'), 'utf8').matchAll(/```ts\n\/\/ (.*?)\n(.*?)```/gs)]

/** Writes every snippet to a folder of its own: as it is, or as Node runs it. */
async function write(name: string, change: (file: string, code: string) => Promise<[file: string, code: string]>) {
  const at = join(folder, name)
  mkdirSync(at, { recursive: true })
  for (const [, file = '', code = ''] of recipes) {
    const [to, text] = await change(file, code)
    writeFileSync(join(at, to), text)
  }
  writeFileSync(join(at, 'package.json'), '{ "type": "module" }')
  return at
}

test('every recipe compiles against the packages as they are built', async () => {
  const at = await write('compiled', async (file, code) => [file, `${code}\nexport {}\n`])
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
  writeFileSync(join(at, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: recipes.map(([, file]) => file) }))
  const { stdout, status } = spawnSync('npx', ['tsc', '-p', at], { cwd: root, encoding: 'utf8' })
  expect(stdout).toBe('')
  expect(status).toBe(0)
  expect(recipes.length).toBeGreaterThanOrEqual(7)
})

test.each(['ky', 'openapi-fetch', 'ofetch', 'graphql-request', 'octokit'])('the recipe for %s works', async (name) => {
  const sent: { path: string; token: string | undefined; body: string }[] = []
  const server = createServer(async (request, response) => {
    const body = `${await buffer(request)}`
    const { method, url: path = '' } = request
    response.setHeader('content-type', 'application/json')
    if (path === '/token') return response.end(JSON.stringify({ access_token: `t${++issued}`, token_type: 'Bearer' }))
    sent.push({ path, token: request.headers.authorization, body })
    if (request.headers.authorization !== 'Bearer t2') return response.writeHead(401).end('{}')
    const answer = { method, body }
    response.end(JSON.stringify(path === '/graphql' ? { data: answer } : answer))
  })
  let issued = 0
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const origin = `http://127.0.0.1:${Object(server.address()).port}`
  const metadata = `discovery: false, metadata: { token_endpoint: '${origin}/token' },`
  const at = await write(name, async (file, code) => {
    const own = code
      .replaceAll('https://api.example.com', origin)
      .replace("clientId: 'nightly", `${metadata} clientId: 'nightly`)
      .replace('./api.ts', './api.js')
    return [file.replace('.ts', '.js'), (await transformWithOxc(own, file, { lang: 'ts' })).code]
  })
  const program = pathToFileURL(join(at, `${name}.js`))
  const { stdout, stderr, code } = await runNode(program, [], { CLIENT_SECRET: 'secret' }).ended
  expect(stderr).toBe('')
  expect(code).toBe(0)
  expect(stdout).toContain("method: 'POST'")
  expect(sent.map(({ token }) => token)).toEqual(['Bearer t1', 'Bearer t2'])
  expect(sent[1]).toEqual({ ...sent[0], token: 'Bearer t2' })
  expect(sent[1]?.body).toMatch(name === 'graphql-request' ? /method body/ : /^\{"item":7\}$/)
})
