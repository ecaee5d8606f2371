import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { tlsClientAuth } from '@keyturn/node'
import { decodeJwt } from 'jose'
import { expect, onTestFinished, test } from 'vitest'
import { runNode } from '../../../../examples/playground/test/run-node.ts'
import { diagnosed, serve, startServer } from './broken-server.ts'

const PROCESSES = 60_000 // each of these tests starts some
const bin = new URL('../../dist/keyturn.js', import.meta.url)
const command = (args: string[], env: NodeJS.ProcessEnv = {}) => runNode(bin, ['doctor', ...args], env).ended

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
const jwk = privateKey.export({ format: 'jwk' })
const webKeys = [{ ...publicKey.export({ format: 'jwk' }), kty: 'EC' as const, kid: 'of-the-worker' }]
const client = { clientId: 'worker-key-jwt' }

async function fileWith(content: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'keyturn-doctor-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const file = join(folder, 'secret')
  await writeFile(file, content)
  return file
}

test(
  'a client that signs is looked at with its key, a JWK or in PEM, of which nothing is shown',
  async () => {
    const { issuer } = await startServer({ webKeys })
    const files = await Promise.all([pem, JSON.stringify({ ...jwk, kid: 'of-the-worker' }, undefined, 2)].map(fileWith))
    for (const file of files) {
      const args = [issuer, '--client-id', client.clientId, '--private-key-file', file]
      const { code, stdout } = await command(args, { KEYTURN_CLIENT_SECRET: 'of another client' })
      expect(stdout).toMatch(/ok +client-authentication +The server knows the client as it authenticates\n/)
      expect(code).toBe(0)
      expect(stdout).not.toContain(jwk.d)
    }
  },
  PROCESSES,
)

test('a key that is not the one that was registered is refused', async () => {
  const { issuer } = await startServer({ webKeys })
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' })
  const { wrong, findings } = await diagnosed({ ...client, issuer, privateKey: other.toString() })
  expect(wrong).toContain('error client-authentication')
  expect(findings.map(({ fix }) => fix)).toContain(
    'Check client and key, and which method the client is registered with.',
  )
})

test('a server that wants to be addressed by its token endpoint is told from one that does not know the key', async () => {
  const issuer = await serve(async (request, response) => {
    if (request.url?.startsWith('/.well-known')) {
      return response.end(JSON.stringify({ issuer, token_endpoint: `${issuer}/token` }))
    }
    const assertion = new URLSearchParams(await text(request)).get('client_assertion')
    const isKnown = assertion !== null && decodeJwt(assertion).aud === `${issuer}/token`
    response.writeHead(400).end(JSON.stringify({ error: isKnown ? 'invalid_grant' : 'invalid_client' }))
  })
  const { findings } = await diagnosed({ ...client, issuer, privateKey: pem })
  expect(findings).toContainEqual(
    expect.objectContaining({ id: 'client-authentication', level: 'error', fix: expect.stringMatching(/audience/) }),
  )
})

test('a client without its key is told how to give it, and that a certificate is for diagnose()', async () => {
  const { issuer } = await startServer({ webKeys })
  const { findings } = await diagnosed({ ...client, issuer })
  const finding = findings.find(({ id }) => id === 'client-authentication')
  expect(finding).toMatchObject({ level: 'error', fix: expect.stringMatching(/--private-key-file/) })
  expect(finding?.fix).not.toMatch(/certificate/)

  const withCertificates = await serve((request, response) => {
    if (!request.url?.startsWith('/.well-known')) return response.writeHead(401).end('{"error":"invalid_client"}')
    const methods = ['tls_client_auth']
    const token_endpoint = `${withCertificates}/token`
    const metadata = { issuer: withCertificates, token_endpoint, token_endpoint_auth_methods_supported: methods }
    response.end(JSON.stringify(metadata))
  })
  const found = await diagnosed({ ...client, issuer: withCertificates })
  expect(found.findings.find(({ id }) => id === 'client-authentication')?.fix).toMatch(/certificate/)
})

test('a client with a certificate is looked at where its requests go, with the fetch that is given', async () => {
  const issuer = await serve(async (request, response) => {
    if (request.url?.startsWith('/.well-known')) {
      const mtls_endpoint_aliases = { token_endpoint: `${issuer}/mtls` }
      return response.end(JSON.stringify({ issuer, token_endpoint: `${issuer}/token`, mtls_endpoint_aliases }))
    }
    const isMine = new URLSearchParams(await text(request)).get('client_id') === client.clientId
    const isKnown = isMine && request.url === '/mtls' && request.headers['x-certificate'] === 'mine'
    response.writeHead(400).end(JSON.stringify({ error: isKnown ? 'invalid_grant' : 'invalid_client' }))
  })
  const send: typeof fetch = (input, init) => {
    const headers = new Headers(init?.headers)
    headers.set('x-certificate', 'mine')
    return fetch(input, { ...init, headers })
  }
  const { findings } = await diagnosed({ ...client, issuer, clientAuthentication: tlsClientAuth(), fetch: send })
  expect(findings).toContainEqual(expect.objectContaining({ id: 'client-authentication', level: 'ok' }))
})

test(
  'files that hold nothing that can be used are told without what they hold',
  async () => {
    const args = ['http://127.0.0.1:9', '--client-id', 'me']
    const empty = await fileWith('\n')
    const noJson = await fileWith(`{"kty":"EC","d":${jwk.d}}`)
    const runs: [args: string[], said: RegExp][] = [
      [['--client-secret-file', empty], /^\S+ is empty\n/],
      [['--private-key-file', empty], /^\S+ is empty\n/],
      [['--private-key-file', noJson], /^\S+ is no JSON\n/],
    ]
    for (const [more, said] of runs) {
      const { code, stdout, stderr } = await command([...args, ...more])
      expect([code, stdout, stderr]).toEqual([2, '', expect.stringMatching(said)])
      expect(stderr).not.toContain(jwk.d?.slice(0, 5))
    }
  },
  PROCESSES,
)

test('a key that cannot sign is the fault of who gave it, and not shown', async () => {
  const { issuer } = await startServer({ webKeys })
  const { findings } = await diagnosed({ ...client, issuer, privateKey: 'not-to-be-shown' })
  expect(findings).toContainEqual(
    expect.objectContaining({
      id: 'client-authentication',
      level: 'error',
      sentence: 'The private key cannot be used',
    }),
  )
  expect(JSON.stringify(findings)).not.toContain('not-to-be-shown')
})
