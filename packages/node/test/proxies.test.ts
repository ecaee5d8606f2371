import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { authenticatedFetch, clientCredentials } from '@keyturn/node'
import { Agent, type Dispatcher, ProxyAgent } from 'undici'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startScript } from './processes/start.ts'

let folder = ''
let origin = ''
let proxy = ''
let ca = ''
const servers: Server[] = []
/** The ports from which the server was asked, and those that the proxy came from. */
const asked: number[] = []
const tunnelled: number[] = []

const openssl = (...words: string[]) => {
  const { status, stderr } = spawnSync('openssl', words, { cwd: folder, encoding: 'utf8' })
  if (status !== 0) throw new Error(`openssl ${words.join(' ')}: ${stderr}`)
}

/** A certificate of an authority that nobody knows, for 127.0.0.1. */
function certificate(): { key: string; cert: string } {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
  openssl('req', '-x509', ...key, '-subj', '/CN=Company CA', '-keyout', 'ca.key', '-out', 'ca.pem')
  openssl('req', ...key.slice(0, 5), '-subj', '/CN=127.0.0.1', '-keyout', 'server.key', '-out', 'server.csr')
  writeFileSync(join(folder, 'server.ext'), 'subjectAltName=IP:127.0.0.1')
  const signer = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2']
  openssl('x509', '-req', '-in', 'server.csr', ...signer, '-extfile', 'server.ext', '-out', 'server.pem')
  const read = (name: string) => readFileSync(join(folder, name), 'utf8')
  return { key: read('server.key'), cert: read('server.pem') }
}

async function listening(server: Server): Promise<string> {
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'keyturn-'))
  const secure = createSecureServer(certificate(), ({ url, headers, socket }, response) => {
    asked.push(socket.remotePort ?? 0)
    response.setHeader('content-type', 'application/json')
    if (url === '/.well-known/openid-configuration') {
      return response.end(JSON.stringify({ issuer: origin, token_endpoint: `${origin}/token` }))
    }
    if (url === '/token') return response.end('{"access_token":"good","token_type":"Bearer","expires_in":60}')
    response.writeHead(headers.authorization === 'Bearer good' ? 200 : 401).end('{}')
  })
  origin = `https://${await listening(secure as unknown as Server)}`
  ca = readFileSync(join(folder, 'ca.pem'), 'utf8')
  const tunnels = createServer().on('connect', ({ url = '' }, socket, head) => {
    const { hostname, port } = new URL(`http://${url}`)
    const upstream = connect(Number(port), hostname, () => {
      tunnelled.push(upstream.localPort ?? 0)
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
      upstream.write(head)
      socket.pipe(upstream).pipe(socket)
    })
    for (const end of [socket, upstream]) end.on('error', () => upstream.destroy())
  })
  proxy = `http://${await listening(tunnels)}`
})

afterAll(() => {
  for (const server of servers) {
    server.closeAllConnections()
    server.close()
  }
  rmSync(folder, { recursive: true, force: true })
})

/** Asks for metadata, a token, and calls an API with it: the status. */
async function called(own: typeof fetch): Promise<number> {
  const source = clientCredentials({ issuer: origin, clientId: 'worker', clientSecret: 'secret', fetch: own })
  const api = authenticatedFetch(source, { apis: origin, fetch: own })
  return (await api(`${origin}/orders`)).status
}

const over =
  (dispatcher: Dispatcher): typeof fetch =>
  (input, init) =>
    fetch(input, Object.assign({ dispatcher }, init))

test('a certificate authority of the company is trusted by the dispatcher of the caller, and by nothing else', async () => {
  await expect(called(fetch)).rejects.toMatchObject({
    code: 'network',
    cause: { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' },
  })
  const agent = new Agent({ connect: { ca } })
  expect(await called(over(agent))).toBe(200)
  await agent.close()
})

test("everything goes through the caller's proxy, as a tunnel that it cannot look into", async () => {
  asked.length = 0
  tunnelled.length = 0
  const agent = new ProxyAgent({ uri: proxy, requestTls: { ca } })
  expect(await called(over(agent))).toBe(200)
  await agent.close()
  expect(asked).toHaveLength(3)
  for (const port of asked) expect(tunnelled).toContain(port)
})

test('what the environment tells Node of proxies and authorities holds here, too', async () => {
  asked.length = 0
  tunnelled.length = 0
  const environment = [
    `NODE_EXTRA_CA_CERTS='${join(folder, 'ca.pem')}'`,
    ...['NODE_USE_ENV_PROXY=1', `HTTPS_PROXY=${proxy}`, "NO_PROXY=''", "no_proxy=''"],
  ]
  const program = startScript('proxied-process.mjs', [origin], `export ${environment.join(' ')}`)
  expect(await program.next()).toBe('200')
  expect(await program.exited).toBe(0)
  expect(asked).toHaveLength(3)
  for (const port of asked) expect(tunnelled).toContain(port)
})
