import {
  clientCredentials,
  memoryStore,
  password,
  refreshToken,
  type StoredRecord,
  StoreError,
  TokenManager,
} from '@keyturn/core'
import { expect, test, vi } from 'vitest'
import { testAuthorizationServer, USER } from './authorization-server.ts'
import {
  elapse,
  HOUR,
  MINUTE,
  movedTime,
  outcome,
  SECOND,
  START,
  setClock,
  sourceAt,
  troubledStore,
  turns,
} from './renewal-harness.ts'

movedTime()

/** A session that only a person can begin, begun. */
async function personal() {
  const server = testAuthorizationServer()
  const shared = troubledStore()
  const { options, warnings } = sourceAt(server, { store: shared.store })
  const kind = { name: 'person', oneSession: true, asksAgain: false }
  const grant = async () => ({
    accessToken: 'a',
    tokenType: 'Bearer' as const,
    refreshToken: server.newRefreshToken(),
    expiresAt: Date.now() + HOUR,
  })
  const source = new TokenManager(grant, options, kind)
  await source.getAccessToken()
  return { server, source, warnings, grant, kind, options, ...shared }
}

test('a session whose record was removed has ended, and says that the storage was cleared', async () => {
  const { source, store, key, record } = await personal()
  await store.replace(key(), (await record())?.version, undefined)
  await turns(5)
  expect(source.session).toEqual({
    status: 'signedOut',
    ended: { reason: 'storage-cleared', origin: 'storage', at: START, lastSuccessAt: START },
  })
})

test('a session whose record was damaged has ended, and says so', async () => {
  const { source, store, key, record, warnings } = await personal()
  await store.replace(key(), (await record())?.version, { version: START + 5 } as StoredRecord)
  await turns(5)
  expect(source.session).toMatchObject({ status: 'signedOut', ended: { reason: 'damaged', origin: 'storage' } })
  expect(warnings).toEqual(['a stored session was damaged'])
})

test('where nothing was ever stored nobody is signed in, and nothing has ended', async () => {
  const { grant, kind, options } = await personal()
  const source = new TokenManager(grant, { ...options, sessionKey: 'another' }, kind)
  source.subscribe(() => {})
  await turns(5)
  expect(source.session).toEqual({ status: 'signedOut' })
})

test('a machine token whose record was removed is served on, and nothing has ended', async () => {
  const server = testAuthorizationServer()
  const { store, key, record } = troubledStore()
  const source = clientCredentials(sourceAt(server, { store }).options)
  const token = await source.getAccessToken()
  await store.replace(key(), (await record())?.version, undefined)
  await turns(5)
  expect(source.session.status).toBe('signedIn')
  expect(await source.getAccessToken()).toBe(token)
})

test('a sign-out that could not be written is not undone by news of what is stored', async () => {
  const { source, trouble, change, record } = await personal()
  trouble.replace = 'throws'
  await source.revoke()
  await change((stored) => stored) // a sibling, which is told of nothing
  setClock(10 * SECOND)
  source.subscribe(() => {})
  await turns(5)
  expect(source.session).toMatchObject({ status: 'signedOut', ended: { reason: 'signed-out' } })
  trouble.replace = undefined
  await elapse(2 * MINUTE)
  expect(await record()).toMatchObject({ tokens: {}, ended: { reason: 'signed-out' } })
})

/** A session whose last renewal could not be written. */
async function unwritten() {
  const server = testAuthorizationServer()
  const shared = troubledStore()
  const { options } = sourceAt(server, { store: shared.store })
  const source = refreshToken({ ...options, refreshToken: server.newRefreshToken() })
  server.next([{ meanwhile: () => (shared.trouble.replace = 'throws') }])
  const token = await source.getAccessToken()
  return { server, source, token, ...shared }
}

test('tokens that could not be written outlive a read of what is stored', async () => {
  const { server, source, token } = await unwritten()
  setClock(10 * SECOND)
  expect(await source.getAccessToken()).toBe(token)
  expect(server.tokenRequests()).toHaveLength(1)
})

test('tokens that could not be written give way to newer ones of a sibling', async () => {
  const { source, change, record } = await unwritten()
  const times = { issuedAt: Date.now(), expiresAt: Date.now() + HOUR }
  await change(({ sending: _, ...stored }) => ({
    ...stored,
    tokens: { '[[],[],[]]': { accessToken: 'theirs', tokenType: 'Bearer', ...times } },
    refreshToken: 'refresh-token-of-theirs',
  }))
  await turns(5)
  expect(await source.getAccessToken()).toBe('theirs')
  expect((await record())?.refreshToken).toBe('refresh-token-of-theirs')
})

test('a sign-out goes over what was written between its reading and its writing', async () => {
  const { source, store, trouble, change, record } = await personal()
  const get = vi.spyOn(store, 'get').mockImplementationOnce(async () => {
    const found = await record()
    await change((stored) => stored)
    return found
  })
  await source.revoke()
  expect(get).toHaveBeenCalled()
  expect(trouble).toEqual({})
  expect((await record())?.ended).toMatchObject({ reason: 'signed-out' })
})

test('a sign-out ends the session that is stored, though that began unheard', async () => {
  const server = testAuthorizationServer()
  const shared = memoryStore()
  const deaf = { get: shared.get, replace: shared.replace, lock: shared.lock }
  const { options } = sourceAt(server)
  const mine = password({ ...options, ...USER, store: deaf })
  const theirs = password({ ...options, ...USER, store: shared })
  await mine.getAccessToken()
  await elapse(SECOND)
  await theirs.revoke()
  await theirs.getAccessToken()
  await elapse(SECOND)
  await mine.revoke()
  await turns(5)
  expect(theirs.session).toMatchObject({ status: 'signedOut', ended: { reason: 'signed-out', origin: 'another' } })
})

test('a failure is nothing to callers for whom a sibling has renewed meanwhile', async () => {
  const server = testAuthorizationServer({ grace: MINUTE })
  const { store, change } = troubledStore()
  const source = refreshToken({ ...sourceAt(server, { store }).options, refreshToken: server.newRefreshToken() })
  server.next([
    {
      status: 503,
      meanwhile: () =>
        change(({ sending: _, ...stored }) => {
          const theirs = server.refreshElsewhere(stored.refreshToken ?? '')
          const times = { issuedAt: Date.now(), expiresAt: Date.now() + HOUR }
          const token = { accessToken: theirs.accessToken, tokenType: 'Bearer', ...times } as const
          return { ...stored, refreshToken: theirs.refreshToken, tokens: { '[[],[],[]]': token } }
        }),
    },
  ])
  expect(server.accepts(await source.getAccessToken())).toBe(true)
  expect(server.tokenRequests()).toHaveLength(1)
})

test('a refresh token that never reached a store is used from memory, though the store is gone', async () => {
  const server = testAuthorizationServer()
  const { store, trouble } = troubledStore()
  trouble.get = trouble.replace = trouble.lock = 'throws'
  const source = password({ ...sourceAt(server, { store }).options, ...USER })
  await source.getAccessToken()
  await elapse(3 * HOUR, 10 * SECOND)
  await source.getAccessToken()
  expect(server.tokenRequests('password')).toHaveLength(1)
  expect(server.tokenRequests('refresh_token').length).toBeGreaterThan(0)
})

test.each([
  ['wall clock', () => setClock(1500)],
  [
    'monotonic clock',
    () => {
      vi.advanceTimersByTime(1500)
      setClock(-1500)
    },
  ],
] as const)('a token of a second that is over by the %s alone is not handed out', async (_, passes) => {
  const server = testAuthorizationServer({ lifetime: 1 })
  const source = clientCredentials(sourceAt(server).options)
  const first = await source.getAccessToken()
  passes()
  expect(await source.getAccessToken()).not.toBe(first)
})

test.each([10 * SECOND, -10 * SECOND])('after the wall clock was set by %i ms the store is read again', async (by) => {
  const server = testAuthorizationServer()
  const { store, calls } = troubledStore()
  const source = clientCredentials(sourceAt(server, { store }).options)
  await source.getAccessToken()
  await elapse(MINUTE)
  const before = calls.get
  setClock(by)
  await source.getAccessToken()
  expect(calls.get).toBeGreaterThan(before)
})

test('a refresh token is not sent where somebody else has signed out while the journal was being written', async () => {
  const server = testAuthorizationServer()
  const { store, change } = troubledStore()
  const { options } = sourceAt(server, { store })
  const seed = { refreshToken: server.newRefreshToken() }
  const source = refreshToken({ ...options, ...seed })
  source.subscribe(() => {})
  const rejectedToken = await source.getAccessToken()
  const replace = store.replace.bind(store)
  vi.spyOn(store, 'replace').mockImplementationOnce(async (...all) => {
    const replaced = await replace(...all)
    await change(({ format, version, seed: same }) => {
      const end = { reason: 'signed-out', origin: 'user', at: Date.now() + 1 } as const
      return { format, version, seed: same, tokens: {}, ended: end }
    })
    await turns(5) // the news of it
    return replaced
  })
  const { error } = await outcome(source.getAccessToken({ rejectedToken }))
  expect(error).toMatchObject({ code: 'session-ended' })
  expect(server.tokenRequests()).toHaveLength(1)
})

test('where nothing was ever stored, looking again changes nothing', async () => {
  const { grant, kind, options } = await personal()
  const source = new TokenManager(grant, { ...options, sessionKey: 'another' }, kind)
  for (let look = 0; look < 3; look++) {
    source.subscribe(() => {})
    await turns(5)
    expect(source.session).toEqual({ status: 'signedOut' })
    setClock(10 * SECOND)
  }
})

test('a record that is gone is missed by a store that tells of nothing too, and the story goes on', async () => {
  const { grant, kind, options, store } = await personal()
  const deaf = { get: store.get, replace: store.replace, lock: store.lock }
  const source = new TokenManager(grant, { ...options, store: deaf, sessionKey: 'deaf' }, kind)
  await source.getAccessToken()
  const key = JSON.stringify([options.issuer, 'client', 'person', 'deaf'])
  await store.replace(key, (await store.get(key))?.version, undefined)
  setClock(10 * SECOND)
  source.subscribe(() => {})
  await turns(5)
  expect(source.session).toMatchObject({ status: 'signedOut', ended: { reason: 'storage-cleared' } })
  expect(source.explain().map(({ event }) => event)).toEqual(['issued', 'ended'])
})

test.each([
  ['get', 'throws', 'the token store cannot be read: The token store could not read'],
  ['get', 'hangs', 'the token store cannot be read: The token store did not read within 5000 ms'],
  ['replace', 'throws', 'a session could not be written and lives in memory: The token store could not write'],
  [
    'replace',
    'hangs',
    'a session could not be written and lives in memory: The token store did not write within 5000 ms',
  ],
] as const)('a store whose %s %s is named in the warning', async (operation, how, warning) => {
  const server = testAuthorizationServer()
  const { store, trouble } = troubledStore()
  const { options, warnings } = sourceAt(server, { store })
  trouble[operation] = how
  const token = outcome(clientCredentials(options).getAccessToken())
  await elapse(12 * SECOND, 250)
  expect(server.accepts((await token).value ?? '')).toBe(true)
  expect(warnings).toEqual([warning])
})

test('the error of a store that cannot be read says what failed', async () => {
  const { options, trouble, server } = await personal()
  trouble.get = 'throws'
  const { error } = await outcome(refreshToken({ ...options, refreshToken: server.newRefreshToken() }).getAccessToken())
  expect(error).toMatchObject({
    code: 'storage',
    message: expect.stringContaining('The token store could not read'),
    cause: { message: 'the disk is full (get)' },
  })
})

test('damage is told also after the store has failed for a while', async () => {
  const { source, store, trouble, key, record, warnings } = await personal()
  trouble.get = 'throws'
  setClock(10 * SECOND)
  await source.getAccessToken()
  trouble.get = undefined
  const damage = new StoreError('The file is damaged', { retryable: false })
  vi.spyOn(store, 'get').mockResolvedValue(damage as unknown as StoredRecord)
  await store.replace(key(), (await record())?.version, undefined)
  await turns(5)
  expect(warnings).toEqual([
    'the token store cannot be read: The token store could not read',
    'a stored session was damaged: The file is damaged',
  ])
})
