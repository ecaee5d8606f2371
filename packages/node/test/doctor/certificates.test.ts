import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import { createServer as createPlainServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { runNode } from '../../../../examples/playground/test/run-node.ts'
import { diagnosed } from './broken-server.ts'
import { type CertificateOptions, certificate } from './certificate.ts'

const DAY = 86_400_000
const PROCESSES = 60_000 // each test starts some

async function portOf(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  return Object(server.address()).port
}

/** What the command says of a server with this certificate; trust is read when a process starts. */
async function lookedAt(options: CertificateOptions, isTrusted = true) {
  const { key, cert } = certificate(options)
  const folder = await mkdtemp(join(tmpdir(), 'keyturn-certificate-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const file = join(folder, 'trusted.pem')
  await writeFile(file, cert)
  const port = await portOf(createServer({ key, cert }, (_, response) => void response.writeHead(404).end()))
  const env = isTrusted ? { NODE_EXTRA_CA_CERTS: file } : {}
  return findingsAt(`https://localhost:${port}`, env)
}

async function findingsAt(issuer: string, env: NodeJS.ProcessEnv = {}, seconds = '5') {
  const bin = new URL('../../dist/keyturn.js', import.meta.url)
  const { stdout } = await runNode(bin, ['doctor', issuer, '--json', '--timeout', seconds], env).ended
  return JSON.parse(stdout).findings
}

test.each([
  ['has expired (CERT_HAS_EXPIRED)', { until: Date.now() - DAY }, /^Renew/],
  ['is not valid yet (CERT_NOT_YET_VALID)', { from: Date.now() + DAY, until: Date.now() + 9 * DAY }, /clock/],
  [
    'is for another host (ERR_TLS_CERT_ALTNAME_INVALID)',
    { until: Date.now() + 99 * DAY, host: 'other.example' },
    /this host/,
  ],
])(
  'a certificate that %s is named, and nothing else is asked',
  async (problem, options, fix) => {
    const findings = await lookedAt(options)
    expect(findings).toEqual([
      expect.objectContaining({ id: 'tls', level: 'error', sentence: expect.stringContaining(problem) }),
    ])
    expect(findings[0].fix).toMatch(fix)
  },
  PROCESSES,
)

test(
  'a certificate that nobody signed but itself is named',
  async () => {
    const findings = await lookedAt({ until: Date.now() + 99 * DAY }, false)
    expect(findings).toEqual([
      expect.objectContaining({ level: 'error', fix: expect.stringMatching(/NODE_EXTRA_CA_CERTS/) }),
    ])
    expect(findings[0].sentence).toMatch(/signed by nobody but itself \(DEPTH_ZERO_SELF_SIGNED_CERT\)$/)
  },
  PROCESSES,
)

test(
  'a certificate that ends soon is a warning, a good one is not',
  async () => {
    const [soon, later] = await Promise.all([
      lookedAt({ until: Date.now() + 5.5 * DAY }),
      lookedAt({ until: Date.now() + 99.5 * DAY }),
    ])
    expect(soon[0]).toMatchObject({ id: 'tls', level: 'warning', sentence: expect.stringMatching(/ends in 5 days$/) })
    expect(later[0]).toMatchObject({
      id: 'tls',
      level: 'ok',
      sentence: expect.stringMatching(/for 99 more days \(TLSv1\.3\)$/),
    })
    expect(later[1]).toMatchObject({ id: 'metadata', level: 'error' }) // it went on, and found nothing there
  },
  PROCESSES,
)

test('a fetch that goes its own way is not judged by what is seen on this one', async () => {
  const { key, cert } = certificate({ until: Date.now() - DAY })
  const issuer = `https://localhost:${await portOf(createServer({ key, cert }))}`
  const token_endpoint = `${issuer}/token`
  const own: typeof fetch = async () => Response.json({ issuer, token_endpoint, grant_types_supported: [] })
  const { findings } = await diagnosed({ issuer, fetch: own })
  expect(findings.slice(0, 2)).toMatchObject([
    { id: 'tls', level: 'unknown', sentence: expect.stringContaining('CERT_HAS_EXPIRED') },
    { id: 'metadata', level: 'ok' },
  ])
})

test(
  'who does not speak TLS, or hangs up, is named',
  async () => {
    const port = await portOf(createPlainServer((socket) => socket.end('SSH-2.0-hello\r\n')))
    const [finding] = await findingsAt(`https://localhost:${port}`)
    expect(finding).toMatchObject({
      id: 'tls',
      level: 'error',
      sentence: expect.stringMatching(/^No TLS connection to /),
    })
  },
  PROCESSES,
)

test(
  'who takes the connection and says nothing is waited for as long as a request may take',
  async () => {
    const port = await portOf(createPlainServer(() => {}))
    const [finding] = await findingsAt(`https://localhost:${port}`, {}, '0.5')
    expect(finding).toMatchObject({ id: 'tls', level: 'error', sentence: expect.stringMatching(/\(ETIMEDOUT\)$/) })
  },
  PROCESSES,
)
