import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  authorizationCode,
  clientCredentials,
  fileStore,
  password,
  refreshToken,
  type SourceOptions,
  type TokenManager,
} from '@keyturn/node'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  type AuthorizationServer,
  startAuthorizationServer,
} from '../../../examples/playground/src/authorization-server.ts'
import { signInOverHttp } from '../../../examples/playground/src/sign-in-over-http.ts'

const redirectUri = 'http://127.0.0.1:9/callback'
const key = new Uint8Array(32).fill(7)
let server: AuthorizationServer
let path = ''
let folder = ''
let warnings: string[] = []
let sources: TokenManager[] = []

beforeAll(async () => {
  server = await startAuthorizationServer({ apis: ['https://orders.example/'], redirectUris: [redirectUri] })
})

afterAll(() => server.stop())

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyturn-'))
  path = join(folder, 'tokens.json')
  warnings = []
  sources = []
})

afterEach(async () => {
  for (const source of sources) await source[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

const userAgent = () => ({
  url: redirectUri,
  async navigate(url: string) {
    this.url = await signInOverHttp(url, { username: 'ada', password: 'lovelace' })
  },
  replaceUrl(url: string) {
    this.url = url
  },
})

type Common = Pick<SourceOptions, 'issuer' | 'store' | 'onWarning'>

// Each test has a session of its own, or they would count as new sources for the same token.
const machine = (common: Common) =>
  clientCredentials({
    ...common,
    clientId: 'worker',
    clientSecret: 'worker-secret',
    scope: 'api:read',
    sessionKey: folder,
  })
const ada = (common: Common) => password({ ...common, clientId: 'cli', username: 'ada', password: 'lovelace' })
const person = (common: Common) =>
  authorizationCode({
    ...common,
    clientId: 'web',
    clientSecret: 'web-secret',
    scope: 'openid offline_access',
    redirectUri,
    userAgent: userAgent(),
  })

async function seeded(): Promise<(common: Common) => TokenManager> {
  const response = await fetch(`${server.issuer}/token`, {
    method: 'POST',
    body: new URLSearchParams({ grant_type: 'password', client_id: 'cli', username: 'ada', password: 'lovelace' }),
  })
  const { refresh_token } = Object(await response.json())
  return (common) => refreshToken({ ...common, clientId: 'cli', refreshToken: refresh_token })
}

/** As the next process would start. */
function started<T extends TokenManager>(grant: (common: Common) => T, options: { key?: Uint8Array } = {}): T {
  const said = warnings
  const onWarning = (message: string) => said.push(message)
  const source = grant({ issuer: server.issuer, store: fileStore(path, options), onWarning })
  sources.push(source)
  return source
}

/** As a process that has ended leaves the file. */
async function leftBy(grant: (common: Common) => TokenManager, options: { key?: Uint8Array } = {}): Promise<void> {
  const source = started(grant, options)
  await source.getAccessToken()
  await source[Symbol.asyncDispose]()
  warnings = []
}

async function leftByPerson(options: { key?: Uint8Array } = {}): Promise<void> {
  const source = started(person, options)
  await source.login()
  await source.handleCallback()
  await source[Symbol.asyncDispose]()
  warnings = []
}

const text = () => readFileSync(path, 'utf8')
const inRecords = (change: (entry: Record<string, unknown>) => unknown) => () => {
  const document = JSON.parse(text())
  for (const name of Object.keys(document.records)) document.records[name] = change(document.records[name])
  writeFileSync(path, JSON.stringify(document))
}

const damages: Record<string, () => void> = {
  'a file of garbage': () => writeFileSync(path, '\u0000garbage'),
  'a file cut short': () => writeFileSync(path, text().slice(0, text().length / 2)),
  'an old schema': () => writeFileSync(path, '{"version":0,"sessions":[]}'),
  'a record of garbage': inRecords(() => 'garbage'),
  'a record cut short': inRecords(({ sealed }) =>
    typeof sealed === 'string' ? { sealed: sealed.slice(9) } : { format: 1 },
  ),
}

for (const [how, options] of Object.entries({ plain: {}, encrypted: { key } })) {
  describe.each(Object.entries(damages))(`after %s (${how})`, (_, harm) => {
    test.each([
      ['clientCredentials', machine],
      ['password', ada],
    ])('%s asks again, says so once, and the next process finds its token', async (_, grant) => {
      await leftBy(grant, options)
      harm()
      const token = await started(grant, options).getAccessToken()
      expect(warnings).toEqual([expect.stringMatching(/^a stored session was damaged/)])
      const next = started(grant, options)
      expect(await next.getAccessToken()).toBe(token)
      expect([next.stats().tokenRequests, warnings.length]).toEqual([0, 1])
      expect(existsSync(`${path}.damaged`)).toBe(true)
    })

    test('refreshToken goes on from its seed, or ends with what to do', async () => {
      const grant = await seeded()
      await leftBy(grant, options)
      harm()
      const error: unknown = await started(grant, options)
        .getAccessToken()
        .catch((error) => error)
      expect(warnings).toEqual([expect.stringMatching(/^a stored session was damaged/)])
      // The seed had been rotated away, so this server refuses it.
      expect(error).toMatchObject({ name: 'LoginRequiredError', code: 'session-ended', fix: expect.any(String) })
      const replacement = await seeded()
      const token = await started(replacement, options).getAccessToken()
      expect(await started(replacement, options).getAccessToken()).toBe(token)
      expect(warnings).toHaveLength(1)
    })

    test('a person is signed out for a reason that is told, and signs in again', async () => {
      await leftByPerson(options)
      harm()
      const source = started(person, options)
      await expect(source.getAccessToken()).rejects.toMatchObject({
        name: 'LoginRequiredError',
        code: 'session-ended',
        message: expect.stringContaining('damaged'),
        fix: 'Call login().',
      })
      expect(source.session).toMatchObject({ status: 'signedOut', ended: { reason: 'damaged', origin: 'storage' } })
      expect(warnings).toEqual([expect.stringMatching(/^a stored session was damaged/)])
      await source.login()
      await source.handleCallback()
      const token = await source.getAccessToken()
      expect(await started(person, options).getAccessToken()).toBe(token)
      expect(warnings).toHaveLength(1)
    })
  })
}

const unusable: Record<string, [() => void, { key?: Uint8Array }]> = {
  'the key is another': [() => {}, { key: new Uint8Array(32).fill(8) }],
  'the key is missing': [() => {}, {}],
  'the file is of a later version': [() => writeFileSync(path, '{"format":2,"records":{}}'), { key }],
}

describe.each(Object.entries(unusable))('where %s', (_, [change, options]) => {
  const refusal = { name: 'StoreError', code: 'storage', retryable: false, fix: expect.stringMatching(/\.$/) }

  test.each([
    ['clientCredentials', machine],
    ['password', ada],
  ])('%s goes on from memory, says why once, and the file stays as it is', async (_, grant) => {
    await leftBy(grant, { key })
    change()
    const before = readFileSync(path)
    const source = started(grant, options)
    const token = await source.getAccessToken()
    expect(await source.getAccessToken()).toBe(token)
    expect(warnings).toEqual([expect.stringMatching(/token file/)])
    expect(readFileSync(path)).toEqual(before)
    expect(existsSync(`${path}.damaged`)).toBe(false)
  })

  test('refreshToken and a person are refused with what to set, and the file stays as it is', async () => {
    const grant = await seeded()
    await leftBy(grant, { key })
    await leftByPerson({ key })
    change()
    const before = readFileSync(path)
    await expect(started(grant, options).getAccessToken()).rejects.toMatchObject(refusal)
    await expect(started(person, options).getAccessToken()).rejects.toMatchObject(refusal)
    expect(readFileSync(path)).toEqual(before)
    expect(existsSync(`${path}.damaged`)).toBe(false)
  })
})

test('a running session whose file is damaged under it keeps its token, and a grant that asks again heals the file', async () => {
  const warned = vi.spyOn(process, 'emitWarning')
  const { reuses } = server
  const source = started(ada)
  const token = await source.getAccessToken()
  source.subscribe(() => {})
  writeFileSync(path, 'garbage')
  await expect.poll(() => warnings, { timeout: 5_000 }).toHaveLength(1)
  expect(await source.getAccessToken()).toBe(token)
  const renewed = await source.getAccessToken({ rejectedToken: token })
  expect(renewed).not.toBe(token)
  expect(server.reuses).toBe(reuses)
  expect(await started(ada).getAccessToken()).toBe(renewed)
  expect(warned).not.toHaveBeenCalled()
})
