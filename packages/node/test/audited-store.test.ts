import { AsyncLocalStorage } from 'node:async_hooks'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { tokenStoreContract } from '@keyturn/core/testing'
import {
  auditedStore,
  clientCredentials,
  dpop,
  fileStore,
  LoginRequiredError,
  memoryStore,
  password,
  refreshToken,
  type StoredRecord,
  type TokenStore,
} from '@keyturn/node'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import {
  type AuthorizationServer,
  startAuthorizationServer,
} from '../../../examples/playground/src/authorization-server.ts'
import { heardEvents } from './heard-events.ts'

let server: AuthorizationServer

beforeAll(async () => {
  server = await startAuthorizationServer({ accessTokenTTL: 60 })
})

afterAll(() => server.stop())

const ada = { username: 'ada', password: 'lovelace' }

function session(store: TokenStore = auditedStore(memoryStore()), more: object = {}) {
  const scope = 'openid offline_access'
  const manager = password({ issuer: server.issuer, clientId: 'cli', scope, store, ...ada, ...more })
  onTestFinished(() => manager[Symbol.asyncDispose]())
  return manager
}

test('it is told who got a token, for what, how long it lives and how long it took', async () => {
  const heard = heardEvents()
  const before = Date.now()
  const manager = session()
  const { scope } = await manager.getTokenSet()
  expect(heard).toEqual([
    {
      name: 'keyturn:token:issued',
      event: {
        at: expect.any(Number),
        issuer: server.issuer,
        clientId: 'cli',
        grant: 'password',
        session: expect.stringMatching(/^[0-9a-f]{16}$/),
        subject: 'ada',
        scope,
        tokenType: 'Bearer',
        lifetime: 60_000,
        duration: expect.any(Number),
      },
    },
  ])
  expect(heard[0]?.event.at).toBeGreaterThanOrEqual(before)
})

test('a renewal, and the end of a session with its reason and how long it lasted, are told as one story', async () => {
  const heard = heardEvents()
  const manager = session()
  const first = await manager.getAccessToken()
  await manager.getAccessToken({ rejectedToken: first })
  await manager.revoke()
  expect(heard.map(({ name }) => name)).toEqual([
    'keyturn:token:issued',
    'keyturn:token:renewed',
    'keyturn:session:ended',
  ])
  const [issued, renewed, ended] = heard.map(({ event }) => event)
  expect(renewed).toMatchObject({ session: issued?.session, subject: 'ada', lifetime: 60_000 })
  expect(ended).toMatchObject({
    session: issued?.session,
    subject: 'ada',
    reason: 'signed-out',
    origin: 'user',
    lasted: expect.any(Number),
  })
  expect(ended?.lasted).toBeGreaterThanOrEqual(0)
})

test('a session that the server ends is told with what it said', async () => {
  const given = await session(memoryStore()).getTokenSet()
  expect(given.accessToken).toBeTruthy()
  const heard = heardEvents()
  const manager = refreshToken({
    issuer: server.issuer,
    clientId: 'cli',
    refreshToken: 'spent-long-ago',
    store: auditedStore(memoryStore()),
  })
  onTestFinished(() => manager[Symbol.asyncDispose]())
  await expect(manager.getAccessToken()).rejects.toBeInstanceOf(LoginRequiredError)
  expect(heard).toEqual([
    {
      name: 'keyturn:session:ended',
      event: expect.objectContaining({ reason: 'refused', origin: 'server', error: 'invalid_grant' }),
    },
  ])
})

test('an outage is told apart from a refusal, with when it is tried again', async () => {
  const heard = heardEvents()
  const store = auditedStore(memoryStore())
  const worker = (clientSecret: string) => {
    const manager = clientCredentials({ issuer: server.issuer, clientId: 'worker', clientSecret, store })
    onTestFinished(() => manager[Symbol.asyncDispose]())
    return manager
  }
  await expect(worker('not-the-secret').getAccessToken()).rejects.toMatchObject({ code: 'client-refused' })
  server.fault({ status: 503, retryAfter: 7 })
  await expect(worker('worker-secret').getAccessToken()).rejects.toMatchObject({ code: 'server-error' })
  server.fault()
  const [refused, unavailable] = heard
  expect(refused).toMatchObject({
    name: 'keyturn:token:refused',
    event: { error: 'invalid_client', clientId: 'worker' },
  })
  expect(unavailable).toMatchObject({ name: 'keyturn:token:unavailable', event: { error: 'server-error' } })
  expect(Number(unavailable?.event.retryAt) - Number(unavailable?.event.at)).toBeGreaterThan(6000)
  expect(heard).toHaveLength(2)
})

test('a secret that cannot be had at the moment is no refusal of the server', async () => {
  const heard = heardEvents()
  const manager = clientCredentials({
    issuer: server.issuer,
    clientId: 'worker',
    clientSecret: () => Promise.reject(new Error('the vault is sealed')),
    store: auditedStore(memoryStore()),
  })
  onTestFinished(() => manager[Symbol.asyncDispose]())
  await expect(manager.getAccessToken()).rejects.toMatchObject({ code: 'callback-failed', retryable: true })
  expect(heard.map(({ name, event }) => [name, event.error])).toEqual([
    ['keyturn:token:unavailable', 'callback-failed'],
  ])
})

test('what takes the place of a damaged record is written and told', async () => {
  const heard = heardEvents()
  const inner = memoryStore()
  const damaged = { format: 1, version: 1, tokens: { a: null }, timeline: null } as unknown as StoredRecord
  await inner.replace('alice', undefined, damaged)
  const tokens = { a: { accessToken: 'a', tokenType: 'Bearer', issuedAt: 1, expiresAt: 2 } } as const
  const next: StoredRecord = { format: 1, version: 2, tokens, timeline: [{ at: 1, event: 'issued' }] }
  expect(await auditedStore(inner).replace('alice', 1, next)).toBe(true)
  expect(heard.map(({ name }) => name)).toEqual(['keyturn:token:issued'])
})

test('who shares a store tells of what it did itself, once', async () => {
  const heard = heardEvents()
  const inner = memoryStore()
  const [one, other] = [session(auditedStore(inner)), session(auditedStore(inner))]
  const tokens = await Promise.all([one, other, one, other].map((manager) => manager.getAccessToken()))
  expect(new Set(tokens).size).toBe(1)
  expect(heard.map(({ name }) => name)).toEqual(['keyturn:token:issued'])
  await other.getAccessToken({ rejectedToken: tokens[0] })
  expect(heard.map(({ name }) => name)).toEqual(['keyturn:token:issued', 'keyturn:token:renewed'])
})

test('an event comes in the async context of who asked first', async () => {
  const context = new AsyncLocalStorage<string>()
  const seen: unknown[] = []
  const listener = () => seen.push(context.getStore())
  subscribe('keyturn:token:issued', listener)
  onTestFinished(() => void unsubscribe('keyturn:token:issued', listener))
  const manager = session()
  await Promise.all(['first', 'second'].map((who) => context.run(who, () => manager.getAccessToken())))
  expect(seen).toEqual(['first'])
})

test('no token, secret or password is in any event', async () => {
  const heard = heardEvents()
  const inner = memoryStore()
  const records: StoredRecord[] = []
  const spied: TokenStore = {
    ...inner,
    replace(key, expected, next) {
      if (next) records.push(next)
      return inner.replace(key, expected, next)
    },
  }
  const manager = session(auditedStore(spied))
  await manager.getAccessToken({ rejectedToken: await manager.getAccessToken() })
  await manager.revoke()
  const said = JSON.stringify(heard)
  expect(heard.length).toBe(3)
  const secrets = records.flatMap(({ refreshToken, idToken, tokens }) => [
    ...[refreshToken, idToken].filter((text) => text !== undefined),
    ...Object.values(tokens).map(({ accessToken }) => accessToken),
  ])
  expect(secrets.length).toBeGreaterThan(4)
  for (const secret of [...secrets, ada.password]) expect(said).not.toContain(secret)
})

test('machines whose tokens are bound to a key are told of, too', async () => {
  const heard = heardEvents()
  const manager = clientCredentials({
    issuer: server.issuer,
    clientId: 'worker',
    clientSecret: 'worker-secret',
    dpop: dpop(),
    store: auditedStore(memoryStore()),
  })
  onTestFinished(() => manager[Symbol.asyncDispose]())
  await manager.getAccessToken()
  expect(heard.map(({ event }) => event)).toEqual([
    expect.objectContaining({ clientId: 'worker', grant: 'client_credentials', tokenType: 'DPoP', subject: undefined }),
  ])
})

test('only where somebody listens the store is read once more per write', async () => {
  const next = { format: 1 as const, version: 1, tokens: {} }
  const inner = memoryStore()
  let reads = 0
  const store = auditedStore({
    ...inner,
    get(key) {
      reads++
      return inner.get(key)
    },
  })
  await store.replace('one', undefined, next)
  expect(reads).toBe(0)
  heardEvents()
  await store.replace('another', undefined, next)
  expect(reads).toBe(1)
})

test('a story that was damaged in the store is told from where it can be read', async () => {
  const heard = heardEvents()
  const inner = memoryStore()
  const damaged = Object.assign({ format: 1 as const, version: 1, tokens: {} }, { timeline: 7 })
  await inner.replace('somebody else’s key', undefined, Object(damaged))
  const next = { format: 1 as const, version: 2, tokens: {}, timeline: [{ at: 5, event: 'renewed' as const }] }
  expect(await auditedStore(inner).replace('somebody else’s key', 1, next)).toBe(true)
  expect(heard).toEqual([
    { name: 'keyturn:token:renewed', event: expect.objectContaining({ at: 5, issuer: undefined, subject: undefined }) },
  ])
})

test('what was not written is not told', async () => {
  const heard = heardEvents()
  const next = { format: 1 as const, version: 2, tokens: {}, timeline: [{ at: 5, event: 'renewed' as const }] }
  expect(await auditedStore(memoryStore()).replace('key', 1, next)).toBe(false)
  expect(heard).toEqual([])
})

describe('it is a store like the one underneath', () => {
  for (const { title, check } of tokenStoreContract(() => ({ store: auditedStore(memoryStore()) }))) {
    test(title, async () => {
      heardEvents()
      await check()
    })
  }

  test('an encrypted file can still keep keys', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'keyturn-audited-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    const store = fileStore(join(folder, 'sessions'), { key: 'a passphrase' })
    expect(auditedStore(store).keys).toBe(store.keys)
    expect(auditedStore(store).watch).toBeTypeOf('function')
  })
})
