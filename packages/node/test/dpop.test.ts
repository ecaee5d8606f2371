import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { dpop, fileStore, type OAuthError, refreshToken } from '@keyturn/node'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ProofServer } from '../../core/test/proof-server.ts'

let folder = ''
let path = ''

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyturn-'))
  path = join(folder, 'tokens.json')
})

afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** Another process each time, as far as a store and a key can tell. */
function process(server: ProofServer, options: Parameters<typeof fileStore>[1] = {}) {
  const warnings: string[] = []
  server.bind('seed', undefined)
  const source = refreshToken({
    issuer: 'https://as.example',
    clientId: 'app',
    fetch: server.fetch,
    store: fileStore(path, options),
    refreshToken: 'seed',
    dpop: dpop(),
    onWarning: (message) => warnings.push(message),
  })
  return { source, warnings }
}

test('an encrypted file keeps the key: the next process goes on with the session', async () => {
  const server = new ProofServer()
  const options = { key: new Uint8Array(32).fill(7) } // a passphrase may take longer than a store has, on a busy machine
  const before = process(server, options)
  const token = await before.source.getAccessToken()
  const after = process(server, options)
  expect(await after.source.getAccessToken()).toBe(token)
  expect(await after.source.getAccessToken({ rejectedToken: token })).not.toBe(token)
  expect(server.tokenRequests.map((body) => body.get('refresh_token'))).toEqual(['seed', 'refresh-token-1'])
  expect(new Set(server.proofs.map(({ thumbprint }) => thumbprint)).size).toBe(1)
  expect([...before.warnings, ...after.warnings]).toEqual([])
})

test('two processes that begin at once on an encrypted file have one key', async () => {
  const server = new ProofServer()
  const options = { key: new Uint8Array(32).fill(7) }
  const sources = [process(server, options), process(server, options)].map(({ source }) => source)
  const [one, other] = await Promise.all(sources.map((source) => source.getAccessToken()))
  expect(one).toBe(other)
  expect(server.proofs).toHaveLength(1)
})

test('a file that is not encrypted holds no private key: that lives in memory, which is said, and ends with the process', async () => {
  const server = new ProofServer()
  const before = process(server)
  await before.source.getAccessToken()
  expect(before.warnings).toEqual([expect.stringContaining('Encrypt the store')])
  const text = readFileSync(path, 'utf8')
  expect(text).toContain(server.proofs[0]?.thumbprint)
  expect(text).not.toMatch(/"(d|pair|jwk)":/)
  const after = process(server)
  const error: OAuthError = await after.source.getAccessToken().catch((thrown) => thrown)
  expect(error).toMatchObject({ code: 'session-ended' })
  expect(after.source.session).toMatchObject({ status: 'signedOut', ended: { reason: 'key-lost', origin: 'storage' } })
  expect(server.tokenRequests).toHaveLength(1)
})
