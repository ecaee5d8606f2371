import { once } from 'node:events'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocketServer } from 'ws'
import { runNode } from '../../examples/playground/test/run-node.ts'
import { asJavaScript, compiled, snippetsOf, writeAll } from './snippets.ts'

const recipes = snippetsOf('docs/recipes.md')

/** Runs one of them with the API, and the token endpoint, at `origin`. */
async function outputOf(name: string, origin: string): Promise<string> {
  const metadata = `discovery: false, metadata: { token_endpoint: '${origin}/token' },`
  const change = (code: string) =>
    code
      .replaceAll('https://api.example.com', origin)
      .replaceAll('wss://api.example.com', origin.replace('http', 'ws'))
      .replace("clientId: 'nightly", `${metadata} clientId: 'nightly`)
      .replace('./api.ts', './api.js')
  const modules = await Promise.all(recipes.map((recipe) => asJavaScript(recipe, change)))
  const at = writeAll(`recipes/${name}`, modules)
  const program = pathToFileURL(join(at, `${name}.js`))
  const { stdout, stderr, code } = await runNode(program, [], { CLIENT_SECRET: 'secret' }).ended
  expect(stderr).toBe('')
  expect(code).toBe(0)
  return stdout
}

test('every recipe compiles against the packages as they are built', () => {
  expect(compiled('recipes/compiled', recipes)).toBe('')
  expect(recipes.length).toBeGreaterThanOrEqual(7)
})

test.each(['ky', 'openapi-fetch', 'ofetch', 'graphql-request', 'octokit', 'own-grant'])(
  'the recipe for %s works',
  async (name) => {
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
    const stdout = await outputOf(name, origin)
    expect(stdout).toContain("method: 'POST'")
    expect(sent.map(({ token }) => token)).toEqual(['Bearer t1', 'Bearer t2'])
    expect(sent[1]).toEqual({ ...sent[0], token: 'Bearer t2' })
    expect(sent[1]?.body).toMatch(name === 'graphql-request' ? /method body/ : /^\{"item":7\}$/)
  },
)

test.each([
  ['server-sent-events', ['message one 1', /offline, trying again in \d+ ms/, 'done two 2']],
  ['web-socket', [/closed with 4401, trying again in \d+ ms/, 'orders', 'over undefined']],
])('the recipe for %s works, and its program ends by itself', async (name, lines) => {
  let issued = 0
  const server = createServer((request, response) => {
    const { authorization, 'last-event-id': id } = request.headers
    if (request.url === '/token') {
      response.setHeader('content-type', 'application/json')
      return response.end(JSON.stringify({ access_token: `t${++issued}`, token_type: 'Bearer' }))
    }
    if (authorization !== 'Bearer t2') return response.writeHead(401).end()
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    if (id === '1') response.write('id: 2\nevent: done\ndata: two\n\n')
    else response.end('retry: 100\nid: 1\ndata: one\n\n')
  })
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (socket) => {
    socket.on('message', (data) => {
      const { type, accessToken, topic } = JSON.parse(`${data}`)
      if (type === 'authenticate' && accessToken !== 't2') socket.close(4401)
      if (type === 'subscribe') socket.send(topic)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const stdout = await outputOf(name, `http://127.0.0.1:${Object(server.address()).port}`)
  expect(stdout.trim().split('\n')).toEqual(
    lines.map((line) => (typeof line === 'string' ? line : expect.stringMatching(line))),
  )
})

test('the recipe for tests signs somebody in, and breaks, without a server', async () => {
  const stdout = await outputOf('signed-in', 'https://api.example.com')
  for (const said of ["status: 'signedIn'", "sub: 'ada'", "sent: 'Bearer of-ada'", 'network true']) {
    expect(stdout).toContain(said)
  }
})
