import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type ClientAuthentication,
  clientAssertion,
  clientCredentials,
  fileStore,
  OAuthError,
  privateKeyJwt,
  type SourceOptions,
  secretFile,
  secretVariable,
} from '@keyturn/node'
import { decodeJwt } from 'jose'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { record } from '../../core/test/token-store-contract.ts'

let folder = ''
let path = ''

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyturn-'))
  path = join(folder, 'secret')
})

afterEach(() => {
  vi.unstubAllEnvs()
  rmSync(folder, { recursive: true, force: true })
})

/** A source whose tokens last, so that every `getAccessToken({ scope })` is a request; and what was sent. */
function sourceWith(options: Partial<SourceOptions>, accepted: (body: URLSearchParams) => boolean = () => true) {
  const sent: URLSearchParams[] = []
  const source = clientCredentials({
    issuer: 'https://as.example',
    clientId: 'worker',
    clientAuthentication: 'client_secret_post',
    discovery: false,
    metadata: { token_endpoint: 'https://as.example/token' },
    fetch: async (input, init) => {
      const body = new URLSearchParams(await new Request(input, init).text())
      sent.push(body)
      if (!accepted(body)) return Response.json({ error: 'invalid_client' }, { status: 401 })
      return Response.json({ access_token: `token ${sent.length}`, token_type: 'Bearer', expires_in: 3600 })
    },
    ...options,
  })
  return { source, sent }
}

test('a secret file is read at each request, without the line break at its end', async () => {
  writeFileSync(path, 'first\n')
  const { source, sent } = sourceWith({ clientSecret: secretFile(path) })
  await source.getAccessToken({ scope: 'a' })
  writeFileSync(path, ' second with spaces \r\n')
  await source.getAccessToken({ scope: 'b' })
  expect(sent.map((body) => body.get('client_secret'))).toEqual(['first', ' second with spaces '])
})

test('a secret that Kubernetes replaces, by turning a link, is taken up at once, also by a request that is refused', async () => {
  const publish = (version: string, secret: string) => {
    mkdirSync(join(folder, version))
    writeFileSync(join(folder, version, 'client-secret'), secret)
    symlinkSync(version, join(folder, '..data_tmp'))
    renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
  }
  publish('..2030_01', 'old')
  symlinkSync('..data/client-secret', path)
  let valid = 'old'
  const { source, sent } = sourceWith({ clientSecret: secretFile(path) }, (body) => {
    // The server changes its mind while the request is on its way, and the new secret is mounted in the same moment.
    if (valid === 'old' && body.get('scope') === 'b') {
      valid = 'new'
      publish('..2030_02', 'new')
    }
    return body.get('client_secret') === valid
  })
  expect(await source.getAccessToken({ scope: 'a' })).toBe('token 1')
  expect(await source.getAccessToken({ scope: 'b' })).toBe('token 3')
  expect(sent.map((body) => body.get('client_secret'))).toEqual(['old', 'old', 'new'])
})

test('a secret file that is not there, or empty, is told by its name, nothing is sent, and it may come later', async () => {
  const { source, sent } = sourceWith({ clientSecret: secretFile(path) })
  await expect(source.getAccessToken({ scope: 'a' })).rejects.toMatchObject({
    name: 'TokenUnavailableError',
    code: 'callback-failed',
    retryable: true,
    message: expect.stringContaining(`The secret file ${path} cannot be read (ENOENT)`),
  })
  writeFileSync(path, '\n')
  await expect(secretFile(path)()).rejects.toMatchObject({ message: `The secret file ${path} is empty` })
  expect(sent).toEqual([])
})

test('a secret in the environment is looked up at each request, and its name is told where there is none', async () => {
  vi.stubEnv('KEYTURN_TEST_SECRET', 'first')
  const { source, sent } = sourceWith({ clientSecret: secretVariable('KEYTURN_TEST_SECRET') })
  await source.getAccessToken({ scope: 'a' })
  vi.stubEnv('KEYTURN_TEST_SECRET', 'second')
  await source.getAccessToken({ scope: 'b' })
  expect(sent.map((body) => body.get('client_secret'))).toEqual(['first', 'second'])
  vi.stubEnv('KEYTURN_TEST_SECRET', '')
  expect(secretVariable('KEYTURN_TEST_SECRET')).toThrow(OAuthError)
  await expect(source.getAccessToken({ scope: 'c' })).rejects.toMatchObject({
    message: expect.stringContaining('The environment variable KEYTURN_TEST_SECRET is not set'),
  })
})

test('a secret in the environment loses the line break that a file of it or an editor left at its end', () => {
  for (const [given, secret] of [
    ['from Kubernetes\n', 'from Kubernetes'],
    ['from Windows\r\n', 'from Windows'],
    [' with spaces ', ' with spaces '],
  ] as const) {
    vi.stubEnv('KEYTURN_TEST_SECRET', given)
    expect(secretVariable('KEYTURN_TEST_SECRET')()).toBe(secret)
  }
  vi.stubEnv('KEYTURN_TEST_SECRET', '\n')
  expect(secretVariable('KEYTURN_TEST_SECRET')).toThrow('is not set')
})

test("a workload proves itself with the token of a file, which is another one's an hour later", async () => {
  const clientAuthentication: ClientAuthentication = clientAssertion(secretFile(path))
  const { source, sent } = sourceWith({ clientAuthentication })
  for (const [scope, jwt] of Object.entries({ a: 'header.first.signature', b: 'header.second.signature' })) {
    writeFileSync(path, `${jwt}\n`)
    await source.getAccessToken({ scope })
  }
  expect(sent.map((body) => body.get('client_assertion'))).toEqual([
    'header.first.signature',
    'header.second.signature',
  ])
})

test('a private key in a file signs, and the next one when the file has changed', async () => {
  const { source, sent } = sourceWith({ clientAuthentication: privateKeyJwt(secretFile(path)) })
  for (const scope of ['a', 'b']) {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    writeFileSync(path, privateKey.export({ type: 'pkcs8', format: 'pem' }))
    await source.getAccessToken({ scope })
  }
  const assertions = sent.map((body) => body.get('client_assertion') ?? '')
  expect(assertions.map((jwt) => decodeJwt(jwt).sub)).toEqual(['worker', 'worker'])
})

test('the key of a store may be in a file, too', async () => {
  writeFileSync(path, 'correct horse battery staple\n')
  const file = join(folder, 'tokens.json')
  await fileStore(file, { key: secretFile(path) }).replace('alice', undefined, record(1))
  expect(await fileStore(file, { key: 'correct horse battery staple' }).get('alice')).toEqual(record(1))
  const store = fileStore(file, { key: secretFile(join(folder, 'none')) })
  await expect(store.get('alice')).rejects.toMatchObject({ name: 'StoreError', retryable: true })
})
