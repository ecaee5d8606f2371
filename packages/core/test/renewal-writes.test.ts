import { clientCredentials, LoginRequiredError, password, refreshToken, TokenManager } from '@keyturn/core'
import { expect, test, vi } from 'vitest'
import { testAuthorizationServer, USER } from './authorization-server.ts'
import {
  elapse,
  HOUR,
  MINUTE,
  movedTime,
  outcome,
  SECOND,
  setClock,
  settled,
  sourceAt,
  troubledStore,
  turns,
} from './renewal-harness.ts'

movedTime()

/** A session that was begun and is to be renewed, with a store that tells of nothing. */
async function session() {
  const server = testAuthorizationServer()
  const shared = troubledStore()
  Object.assign(shared.store, { watch: undefined })
  const { options, warnings } = sourceAt(server, { store: shared.store })
  const seeded = { ...options, refreshToken: server.newRefreshToken() }
  const source = refreshToken(seeded)
  const rejectedToken = await source.getAccessToken()
  await elapse(MINUTE)
  return { server, source, rejectedToken, warnings, options: seeded, ...shared }
}

test('what a sibling wrote meanwhile about the same refresh token is written over, not asked again for', async () => {
  const { server, source, rejectedToken, change, record } = await session()
  server.next([{ meanwhile: () => change((stored) => stored) }])
  const token = await source.getAccessToken({ rejectedToken })
  expect(server.tokenRequests()).toHaveLength(2)
  expect(server.accepts(token)).toBe(true)
  expect(await record()).toMatchObject({ tokens: { '[[],[],[]]': { accessToken: token } } })
  expect(await record()).not.toHaveProperty('sending')
})

test('a store that refuses every write of what was issued is one that fails: that lives in memory', async () => {
  const { server, source, rejectedToken, store, warnings } = await session()
  const replace = store.replace.bind(store)
  let refused = 0
  vi.spyOn(store, 'replace').mockImplementation(async (key, expected, next) => {
    if (next?.sending !== undefined) return replace(key, expected, next)
    refused++
    return false
  })
  const token = await source.getAccessToken({ rejectedToken })
  expect(server.accepts(token)).toBe(true)
  expect(refused).toBe(4)
  expect(await source.getAccessToken()).toBe(token)
  expect(server.tokenRequests()).toHaveLength(2)
  expect(warnings).toEqual([expect.stringContaining('lives in memory')])
})

test('a store that never takes anything costs a machine one token, not one per call', async () => {
  const server = testAuthorizationServer()
  const { store } = troubledStore()
  const source = clientCredentials(sourceAt(server, { store: { ...store, replace: async () => false } }).options)
  for (let call = 0; call < 10; call++) expect(server.accepts(await source.getAccessToken())).toBe(true)
  expect(server.tokenRequests()).toHaveLength(1)
})

test('a store that never has what it took is asked ever more seldom, and no refresh token is sent', async () => {
  const { server, source, store, calls } = await session()
  vi.spyOn(store, 'get').mockImplementation(async () => undefined)
  source.subscribe(() => {})
  await elapse(3300 * SECOND, 5 * SECOND)
  const before = calls.lock
  await elapse(2 * MINUTE, 5 * SECOND)
  expect(calls.lock - before).toBeLessThan(30)
  expect(server.tokenRequests()).toHaveLength(1)
  expect(server.accepts(await source.getAccessToken())).toBe(true)
})

test('a store that says null where it has nothing is a store', async () => {
  const server = testAuthorizationServer()
  const { store } = troubledStore()
  const get = async (key: string) => (await store.get(key)) ?? (null as unknown as undefined)
  const { options, warnings } = sourceAt(server, { store: { ...store, get } })
  await clientCredentials(options).getAccessToken()
  await clientCredentials(options).getAccessToken()
  expect(server.tokenRequests()).toHaveLength(1)
  expect(warnings).toEqual([])
})

test('what could be neither written nor compared lives in memory, and that is reported', async () => {
  const { server, source, rejectedToken, store, trouble, warnings } = await session()
  const replace = store.replace.bind(store)
  vi.spyOn(store, 'replace').mockImplementation(async (key, expected, next) => {
    if (next?.sending !== undefined) return replace(key, expected, next)
    trouble.get = 'throws'
    return false
  })
  const token = await source.getAccessToken({ rejectedToken })
  expect(server.accepts(token)).toBe(true)
  expect(await source.getAccessToken()).toBe(token)
  expect(warnings).toEqual(['a session could not be written and lives in memory: The token store could not read'])
})

/** Two who share a session, and a store that fails to take what one of them has been issued. */
async function unwritten() {
  const one = await session()
  const other = refreshToken(one.options)
  const { store, server, source, rejectedToken } = one
  const replace = store.replace.bind(store)
  const fails = vi.spyOn(store, 'replace').mockImplementation(async (key, expected, next) => {
    if (next?.sending !== undefined) return replace(key, expected, next)
    throw new Error('the disk is full')
  })
  const token = await source.getAccessToken({ rejectedToken })
  expect(server.tokenRequests()).toHaveLength(2)
  return { ...one, other, token, fails }
}

test('a refresh token that was spent is not sent by others while the store cannot take the next one', async () => {
  const { server, other, rejectedToken, token, fails, source } = await unwritten()
  const asked = other.getAccessToken({ rejectedToken })
  await elapse(2 * SECOND)
  expect(server.tokenRequests()).toHaveLength(2)
  fails.mockRestore()
  expect((await settled(asked, MINUTE)).value).toBe(token)
  expect(server.tokenRequests()).toHaveLength(2)
  expect(await source.getAccessToken()).toBe(token)
})

test.each(['throws', 'hangs'] as const)(
  'a seed that was spent is not sent by others while the store has taken nothing yet (replace %s)',
  async (how) => {
    const server = testAuthorizationServer()
    const { store, trouble } = troubledStore()
    const seeded = { ...sourceAt(server, { store }).options, refreshToken: server.newRefreshToken() }
    trouble.replace = how
    const [source, other] = [refreshToken(seeded), refreshToken(seeded)]
    const { value: token } = await settled(source.getAccessToken(), MINUTE)
    const asked = other.getAccessToken()
    await elapse(2 * SECOND)
    expect(server.tokenRequests()).toHaveLength(1)
    trouble.replace = undefined
    expect((await settled(asked, MINUTE)).value).toBe(token)
    expect(server.tokenRequests()).toHaveLength(1)
    expect(server.reuses).toEqual([])
  },
)

test('who could not write and has to renew once more does so before anybody else who waits for the lock', async () => {
  const { server, source, other, token, rejectedToken, fails, options } = await unwritten()
  const asked = other.getAccessToken({ rejectedToken })
  await turns()
  const renewed = (await settled(source.getAccessToken({ rejectedToken: token }), SECOND)).value
  expect(server.tokenRequests()).toHaveLength(3)
  fails.mockRestore()
  expect((await settled(asked, MINUTE)).value).toBe(renewed)
  expect(await refreshToken(options).getAccessToken()).toBe(renewed)
  expect(server.reuses).toEqual([])
})

test('what others note beside a refresh token that is spent does not undo what took its place', async () => {
  const { server, source, token, change, fails, record, store, key } = await unwritten()
  await change((stored) => ({ ...stored, failures: {} })) // a failure of theirs that they could not note before, say
  fails.mockRestore()
  await elapse(MINUTE)
  expect(await source.getAccessToken()).toBe(token)
  expect((await record())?.tokens).toMatchObject({ '[[],[],[]]': { accessToken: token } })
  expect((await store.get(key()))?.sending).toBeUndefined()
  expect(server.reuses).toEqual([])
})

test('a sign-out that could not be written is tried again in time, however much others write meanwhile', async () => {
  const server = testAuthorizationServer()
  const { store, trouble, change, record } = troubledStore()
  const source = refreshToken({ ...sourceAt(server, { store }).options, refreshToken: server.newRefreshToken() })
  await source.getAccessToken()
  trouble.replace = 'throws'
  await source.revoke()
  trouble.replace = undefined
  for (let news = 0; news < 6; news++) {
    await change((stored) => stored)
    await elapse(SECOND / 2)
  }
  expect(await record()).toMatchObject({ ended: { reason: 'signed-out' } })
})

/** Two who share a session that is to begin, by a sign-in or because the first one's grant yields it. */
function two(how: 'login' | 'grant' = 'login') {
  const server = testAuthorizationServer()
  const { store, trouble } = troubledStore()
  const { options } = sourceAt(server, { store })
  const kind = { name: 'person', oneSession: true, asksAgain: false }
  const nobody = () => Promise.reject(new LoginRequiredError('login-required', 'Nobody is there'))
  const issuedAt = Date.now()
  const refreshToken = server.newRefreshToken()
  const signedIn = {
    accessToken: 'a',
    tokenType: 'Bearer',
    issuedAt,
    expiresAt: issuedAt + HOUR,
    refreshToken,
  } as const
  const mine = new TokenManager(how === 'grant' ? async () => signedIn : nobody, options, kind)
  const theirs = new TokenManager(nobody, options, kind)
  return { server, store, trouble, mine, theirs, signedIn }
}

test('who signs in while the store fails keeps what a renewal brings, though others have written meanwhile', async () => {
  const { server, store, trouble, mine, theirs, signedIn } = two()
  trouble.replace = 'throws'
  await Object(mine).begin(signedIn)
  const meanwhile = async () => {
    trouble.replace = undefined
    await theirs.revoke() // it knows of no sign-in
  }
  server.next([{ meanwhile }])
  const renewed = await mine.getAccessToken({ rejectedToken: 'a' })
  await elapse(MINUTE)
  expect(await mine.getAccessToken()).toBe(renewed)
  const stored = await store.get(JSON.stringify([server.issuer, 'client', 'person', 'default']))
  expect(Object.values(stored?.tokens ?? {})).toMatchObject([{ accessToken: renewed }])
  expect(server.reuses).toEqual([])
})

/** A session whose first write is answered after more than the five seconds for which a store is waited for, and a sibling. */
async function lateSignIn(how: 'login' | 'grant' = 'login') {
  const { server, store, trouble, mine, theirs, signedIn } = two(how)
  const replace = store.replace.bind(store)
  const late: typeof replace = async (key, expected, next) => {
    const replaced = await replace(key, expected, next)
    await new Promise((resolve) => setTimeout(resolve, 6 * SECOND))
    return replaced
  }
  const fails = async () => Promise.reject(new Error('the disk is full'))
  const slow = vi.spyOn(store, 'replace')
  if (how === 'grant') slow.mockImplementationOnce(fails) // under the lock; what is late is the next try
  slow.mockImplementationOnce(late)
  theirs.subscribe(() => {})
  const begun = how === 'grant' ? mine.getAccessToken() : Object(mine).begin(signedIn)
  await elapse(how === 'grant' ? 1.1 * SECOND : 0)
  await turns()
  expect(slow).toHaveBeenCalledTimes(how === 'grant' ? 2 : 1)
  return { server, trouble, mine, theirs, begun }
}

test.each(['login', 'grant'] as const)(
  'what a %s brings does not undo what siblings have renewed since, where its write is answered too late',
  async (how) => {
    const { server, mine, theirs, begun } = await lateSignIn(how)
    const renewed = await theirs.getAccessToken({ rejectedToken: 'a' })
    expect(server.accepts(renewed)).toBe(true)
    await elapse(MINUTE)
    await begun
    expect(await theirs.getAccessToken()).toBe(renewed)
    expect(await mine.getAccessToken()).toBe(renewed)
    await elapse(HOUR, 10 * SECOND)
    expect(server.accepts(await mine.getAccessToken())).toBe(true)
    expect(server.reuses).toEqual([])
  },
)

test('a sign-in whose write is answered too late is not begun again by that, where somebody has signed out since', async () => {
  const { mine, theirs, begun } = await lateSignIn()
  await theirs.revoke()
  await elapse(MINUTE)
  await begun
  expect(mine.session).toMatchObject({ status: 'signedOut', ended: { reason: 'signed-out', origin: 'another' } })
  expect(theirs.session).toMatchObject({ status: 'signedOut' })
})

test('a sign-in whose write is answered too late is not renewed without a lock, for siblings have it, too', async () => {
  const { server, trouble, mine, theirs, begun } = await lateSignIn()
  const renewed = await theirs.getAccessToken({ rejectedToken: 'a' })
  trouble.lock = 'throws'
  const asked = mine.getAccessToken({ rejectedToken: 'a' })
  expect((await settled(asked, MINUTE)).value).toBe(renewed)
  await begun
  expect(server.tokenRequests()).toHaveLength(1)
  expect(server.reuses).toEqual([])
})

test('where only the lock fails, what a sibling has renewed is taken over', async () => {
  const { server, source, rejectedToken, trouble, options } = await session()
  const other = refreshToken(options)
  expect(await other.getAccessToken()).toBe(rejectedToken)
  const renewed = await source.getAccessToken({ rejectedToken })
  trouble.lock = 'throws'
  expect(await other.getAccessToken({ rejectedToken })).toBe(renewed)
  expect(server.tokenRequests()).toHaveLength(2)
})

test('who waits for a lock that is not given back gets nothing of a session that is over by then', async () => {
  const { server, trouble, mine, theirs, signedIn } = two()
  await Object(mine).begin(signedIn)
  mine.subscribe(() => {})
  trouble.unlock = 'hangs'
  const asked = mine.getAccessToken({ rejectedToken: 'a' })
  await elapse(SECOND)
  expect(server.tokenRequests()).toHaveLength(1)
  trouble.unlock = undefined
  await Object(theirs).begin({ ...signedIn, accessToken: 'b', refreshToken: server.newRefreshToken() })
  expect((await settled(asked, MINUTE)).value).toBe('b')
})

test('what was renewed is kept where the clock was set back meanwhile and somebody noted something beside it', async () => {
  const { server, source, rejectedToken, change, record } = await session()
  setClock(-HOUR)
  server.next([{ meanwhile: () => change((stored) => stored) }])
  const renewed = await source.getAccessToken({ rejectedToken })
  expect(renewed).not.toBe(rejectedToken)
  expect(await record()).toMatchObject({ tokens: { '[[],[],[]]': { accessToken: renewed } } })
})

test('who signed in while the store failed hears of a sign-out later', async () => {
  const { trouble, mine, theirs, signedIn } = two()
  trouble.replace = 'throws'
  await Object(mine).begin(signedIn)
  trouble.replace = undefined
  await elapse(2 * SECOND)
  await theirs.revoke()
  await turns(5)
  expect(mine.session).toMatchObject({ status: 'signedOut', ended: { origin: 'another' } })
})

test('who could not write waits for nobody when it needs the lock again', async () => {
  const { server, source, token } = await unwritten()
  const renewed = await settled(source.getAccessToken({ rejectedToken: token }), SECOND)
  expect(server.accepts(renewed.value as string)).toBe(true)
  expect(server.tokenRequests()).toHaveLength(3)
})

test('what could not be written is written before its lock is given back for another renewal', async () => {
  const { server, source, token, fails, store, key } = await unwritten()
  const found = vi.fn(async () => (await store.get(key()))?.refreshToken)
  const next = store.lock(key(), found, HOUR)
  const before = (await store.get(key()))?.refreshToken
  fails.mockRestore()
  const renewed = await settled(source.getAccessToken({ rejectedToken: token }), SECOND)
  expect(server.accepts(renewed.value as string)).toBe(true)
  expect(found).toHaveBeenCalledOnce()
  expect(await next).not.toBe(before)
  expect(server.reuses).toEqual([])
})

test('a lock is kept for what could not be written though the renewal has given nobody a token', async () => {
  const { server, source, rejectedToken, options, store } = await session()
  const replace = store.replace.bind(store)
  const fails = vi.spyOn(store, 'replace').mockImplementation(async (key, expected, next) => {
    if (next?.sending !== undefined) return replace(key, expected, next)
    throw new Error('the disk is full')
  })
  // The server rotates, and issues once more what the API has refused.
  server.next([{ change: (body) => ({ ...body, access_token: rejectedToken }) }])
  expect((await outcome(source.getAccessToken({ rejectedToken }))).error).toMatchObject({ code: 'token-rejected' })
  const asked = refreshToken(options).getAccessToken({ rejectedToken })
  await elapse(SECOND / 2)
  expect(server.tokenRequests()).toHaveLength(2)
  fails.mockRestore()
  await settled(
    asked.catch(() => {}),
    MINUTE,
  )
  expect(server.reuses).toEqual([])
})

test('what is renewed from memory is not lost to a write of what was there before, for the store works again meanwhile', async () => {
  const { server, source, other, token, rejectedToken, fails, trouble } = await unwritten()
  trouble.get = 'throws'
  server.next([{ delay: 3 * SECOND }])
  const renewing = source.getAccessToken({ rejectedToken: token })
  await elapse(SECOND / 2)
  expect(server.tokenRequests()).toHaveLength(3)
  trouble.get = undefined
  fails.mockRestore()
  const asked = other.getAccessToken({ rejectedToken })
  const renewed = (await settled(renewing, MINUTE)).value
  expect((await settled(asked, MINUTE)).value).toBe(renewed)
  expect(server.tokenRequests()).toHaveLength(3)
  expect((await outcome(source.getAccessToken({ rejectedToken: renewed }))).error).toBeUndefined()
  expect(server.reuses).toEqual([])
})

test('a slow write of what was there before a renewal does not undo what that could not write', async () => {
  const server = testAuthorizationServer()
  const { store } = troubledStore()
  let news = () => {}
  vi.spyOn(store, 'watch').mockImplementation((_, listener) => {
    news = listener
    return () => {}
  })
  const { options } = sourceAt(server, { store })
  const source = refreshToken({ ...options, refreshToken: server.newRefreshToken() })
  const rejectedToken = await source.getAccessToken()
  await elapse(MINUTE)
  const replace = store.replace.bind(store)
  let writes = 0
  const fails = vi.spyOn(store, 'replace').mockImplementation(async (...written) => {
    const isFirst = ++writes === 1 // the journal
    if (isFirst || written[2]?.sending === undefined) throw new Error('the disk is full')
    await new Promise((resolve) => setTimeout(resolve, 2 * SECOND))
    return replace(...written)
  })
  server.next([{ delay: 1.5 * SECOND }])
  const renewing = source.getAccessToken({ rejectedToken })
  await elapse(SECOND / 4)
  news() // sets the timer for what is not saved
  const token = (await settled(renewing, MINUTE)).value
  await elapse(MINUTE)
  fails.mockRestore()
  expect(await source.getAccessToken()).toBe(token)
  const renewed = await settled(source.getAccessToken({ rejectedToken: token }), MINUTE)
  expect(server.accepts(`${renewed.value}`)).toBe(true)
  expect(server.reuses).toEqual([])
})

test.each([0, 1])(
  'a lock that is kept is not given back while its holder renews once more, nor where the store fails again (%i times)',
  async (times) => {
    const { server, source, other, token, fails, store } = await unwritten()
    fails.mockRestore()
    const replace = store.replace.bind(store)
    let failures = 0
    vi.spyOn(store, 'replace').mockImplementation(async (...written) => {
      if (written[2]?.sending === undefined && failures++ < times) throw new Error('the disk is full')
      const replaced = await replace(...written)
      Object(source).wake() // as a store does that tells of every change
      return replaced
    })
    server.next([{ delay: 3 * SECOND }])
    const renewing = source.getAccessToken({ rejectedToken: token })
    await turns(5)
    const asked = other.getAccessToken({ rejectedToken: token })
    const renewed = (await settled(renewing, MINUTE)).value
    expect((await settled(asked, MINUTE)).value).toBe(renewed)
    expect([server.tokenRequests().length, server.reuses]).toEqual([3, []])
  },
)

test('what a source could not write it writes though it is disposed of, for a minute', async () => {
  const { server, source, other, rejectedToken, token, fails } = await unwritten()
  await source[Symbol.asyncDispose]()
  const asked = other.getAccessToken({ rejectedToken })
  await elapse(2 * SECOND)
  fails.mockRestore()
  expect((await settled(asked, MINUTE)).value).toBe(token)
  expect(server.tokenRequests()).toHaveLength(2)

  const never = await unwritten()
  await never.source[Symbol.asyncDispose]()
  await elapse(2 * MINUTE, SECOND)
  const tries = never.fails.mock.calls.length
  await elapse(HOUR, MINUTE)
  expect(never.fails.mock.calls.length).toBe(tries)
})

test('a source that is disposed of writes at once what it could not, once the store works again', async () => {
  const { source, fails, record } = await unwritten()
  const before = (await record())?.refreshToken
  fails.mockRestore()
  await source[Symbol.asyncDispose]()
  await turns()
  expect((await record())?.refreshToken).not.toBe(before)
})

test('a lock that is kept for what could not be written is given back after the lease', async () => {
  const { source, store, key } = await unwritten()
  const entered = vi.fn(async () => {})
  void store.lock(key(), entered, HOUR)
  await elapse(29 * SECOND)
  expect(entered).not.toHaveBeenCalled()
  await elapse(2 * SECOND)
  expect(entered).toHaveBeenCalledOnce()
  await source[Symbol.asyncDispose]()
})

test('a refresh token that comes after the sign-out is revoked and, where that fails, waits for the server', async () => {
  for (const fault of [undefined, { status: 503 }]) {
    const { server, source, rejectedToken, store } = await session()
    server.next([{ delay: SECOND }])
    const renewal = outcome(source.getAccessToken({ rejectedToken }))
    await turns()
    const signedOut = source.revoke()
    server.always(fault, 'revocation')
    await elapse(2 * SECOND)
    await signedOut
    expect((await renewal).error).toMatchObject({ code: 'session-ended', message: 'The session ended: signed-out' })
    const revoked = server.requests
      .filter(({ endpoint }) => endpoint === 'revocation')
      .map(({ parameters }) => parameters)
    expect(revoked.at(-1)?.get('token_type_hint')).toBe('refresh_token')
    const waiting = await store.get(JSON.stringify([server.issuer, 'client', 'revocations']))
    expect(Object(waiting).revocations ?? []).toHaveLength(fault ? 2 : 0) // with that of the sign-out itself
  }
})

test('an end that is known is not believed while the store cannot be read: somebody may have signed in since', async () => {
  const server = testAuthorizationServer()
  const { store, trouble } = troubledStore()
  const { options } = sourceAt(server, { store })
  const kind = { name: 'person', oneSession: true, asksAgain: false }
  const grant = async () => ({ accessToken: 'a', refreshToken: server.newRefreshToken(), expiresAt: Date.now() + HOUR })
  const [mine, theirs] = [1, 2].map(() => new TokenManager(grant, options, kind)) as [TokenManager, TokenManager]
  await mine.getAccessToken()
  await theirs.getAccessToken()
  await theirs.revoke()
  await turns(5)
  expect(mine.session.status).toBe('signedOut')
  trouble.lock = 'throws'
  const nobody = () => Promise.reject(new LoginRequiredError('login-required', 'Nobody is there'))
  const failing = new TokenManager(nobody, options, kind)
  failing.subscribe(() => {})
  await turns(5)
  expect(failing.session.status).toBe('signedOut')
  expect((await outcome(failing.getAccessToken())).error).toMatchObject({ code: 'storage', retryable: true })
})

test('while the store fails tokens live in memory, which is told, and so do failures', async () => {
  const server = testAuthorizationServer()
  const { store, trouble } = troubledStore()
  const { options, warnings } = sourceAt(server, { store })
  const source = clientCredentials(options)
  trouble.lock = 'throws'
  server.next([{ status: 503 }])
  await outcome(source.getAccessToken())
  await outcome(source.getAccessToken())
  expect(server.tokenRequests()).toHaveLength(1)
  await elapse(MINUTE)
  expect(server.accepts(await source.getAccessToken())).toBe(true)
  expect(warnings).toEqual(['the token store fails, tokens live in memory: The token store could not lock'])
  expect(source.explain().map(({ event }) => event)).toContain('failed')
})

test('a holder whose lease is lost when it has the lock writes nothing', async () => {
  const { server, source, rejectedToken, store, calls } = await session()
  vi.spyOn(store, 'lock').mockImplementation((_, critical) => critical({ valid: () => false }))
  const before = calls.replace
  const { error } = await outcome(source.getAccessToken({ rejectedToken }))
  expect(error).toMatchObject({
    code: 'busy',
    message: expect.stringMatching(/^Somebody else who shares the token store was faster/),
  })
  expect([calls.replace, server.tokenRequests().length]).toEqual([before, 1])
})

test('who has to wait for a renewal gets its token where that takes less than half of the time that is left', async () => {
  const server = testAuthorizationServer({ lifetime: 1000 })
  const source = clientCredentials(sourceAt(server).options)
  const token = await source.getAccessToken()
  vi.advanceTimersByTime(992 * SECOND)
  server.next([{ delay: SECOND }])
  const renewed = await settled(source.getAccessToken(), MINUTE)
  expect(renewed.value).not.toBe(token)
  expect(renewed.after).toBe(SECOND)
})

test('a machine token that nobody needs to renew in time sets no timer', async () => {
  const source = clientCredentials(sourceAt(testAuthorizationServer()).options)
  await source.getAccessToken()
  expect(vi.getTimerCount()).toBe(0)
})

test('a source that was never asked can be disposed of', async () => {
  const source = clientCredentials(sourceAt(testAuthorizationServer()).options)
  await expect(source[Symbol.asyncDispose]()).resolves.toBeUndefined()
})

test('a sign-out is told at once, though the store hangs, and a store that cannot tell of changes is named', async () => {
  const server = testAuthorizationServer()
  const { store, trouble } = troubledStore()
  trouble.watch = 'throws'
  const { options, warnings } = sourceAt(server, { store })
  const source = refreshToken({ ...options, refreshToken: server.newRefreshToken() })
  await source.getAccessToken()
  expect(warnings).toEqual(['the token store cannot tell of changes'])
  const told = vi.fn()
  source.subscribe(told)
  trouble.get = trouble.replace = 'hangs'
  const signedOut = source.revoke()
  await turns()
  expect(source.session.status).toBe('signedOut')
  expect(told).toHaveBeenCalledOnce()
  await elapse(MINUTE, SECOND)
  await signedOut
})

test('where a person is needed for one token, the others of the session stay; where there is none, nothing ends', async () => {
  const { options } = sourceAt(testAuthorizationServer())
  let calls = 0
  const grant = async () => {
    if (++calls > 1) throw new LoginRequiredError('login-required', 'Nobody is there')
    return { accessToken: 'a', expiresAt: Date.now() + HOUR }
  }
  const kind = { name: 'person', oneSession: true, asksAgain: false }
  const source = new TokenManager(grant, options, kind)
  await source.getAccessToken()
  const { error } = await outcome(source.getAccessToken({ scope: 'other' }))
  expect(error).toMatchObject({ code: 'login-required' })
  expect(source.session).toMatchObject({ status: 'signedIn' })
  expect(await source.getAccessToken()).toBe('a')
  const another = new TokenManager(grant, options, kind)
  expect((await outcome(another.getAccessToken())).error).toMatchObject({ code: 'login-required' })
  expect(another.session).toEqual({ status: 'signedOut' })
})

test('store and server away at once, as in an outage of the network, cost no refresh token', async () => {
  const server = testAuthorizationServer({ lifetime: 60 })
  const { store, trouble, record } = troubledStore()
  const source = password({ ...sourceAt(server, { store }).options, ...USER })
  await source.getAccessToken()
  const issued = await record()
  trouble.lock = 'throws'
  server.always({ status: 503 })
  await elapse(62 * SECOND)
  expect((await outcome(source.getAccessToken())).error).toMatchObject({ retryable: true })
  expect((await record())?.refreshToken).toBe(issued?.refreshToken)
  trouble.lock = undefined
  server.always(undefined)
  await elapse(2 * MINUTE)
  expect(server.accepts(await source.getAccessToken())).toBe(true)
  expect(server.tokenRequests().at(-1)).toMatchObject({
    grantType: 'refresh_token',
    refreshToken: issued?.refreshToken,
  })
})

test('what could not be written for long is written within the lease of who holds it, once it can be', async () => {
  const server = testAuthorizationServer({ lifetime: 60 })
  const { store, trouble } = troubledStore()
  const { options } = sourceAt(server, { store })
  const seed = { refreshToken: server.newRefreshToken() }
  const source = refreshToken({ ...options, ...seed })
  await source.getAccessToken()
  trouble.replace = 'throws'
  // It has been tried for so long that it is tried once a minute by now.
  for (let minutes = 0; minutes < 6; minutes++) {
    await elapse(MINUTE)
    await outcome(source.getAccessToken())
  }
  await elapse(5 * SECOND)
  trouble.replace = undefined
  await elapse(15 * SECOND)
  const sibling = refreshToken({ ...options, ...seed })
  const { value } = await settled(sibling.getAccessToken({ rejectedToken: 'another' }), MINUTE)
  expect(server.accepts(value ?? '')).toBe(true)
  expect(server.reuses).toEqual([])
  expect(server.accepts(await source.getAccessToken())).toBe(true)
})
