import {
  clientCredentials,
  refreshToken,
  type SourceOptions,
  type StoredRecord,
  TokenManager,
  type TokenStore,
} from '@keyturn/core'
import { expect, test } from 'vitest'
import { testAuthorizationServer } from './authorization-server.ts'
import { elapse, movedTime, outcome, SECOND, sourceAt, troubledStore } from './renewal-harness.ts'

movedTime()

/** A store whose lock fails on demand, and whose writes take a while before they are done, or are not. */
function slowStore() {
  const { store: inner, trouble, record } = troubledStore()
  const settings = { delay: 0, fails: (_: StoredRecord | undefined) => false }
  const store: TokenStore = {
    ...inner,
    async replace(key, expected, next) {
      const { delay, fails } = settings
      if (delay > 0) await new Promise((resolve) => setTimeout(resolve, delay))
      if (fails(next)) throw new Error('the disk is full')
      return inner.replace(key, expected, next)
    },
  }
  return { store, trouble, record, settings }
}

test('a refresh token that is being written is not sent before that is done, and the session goes on after it', async () => {
  const server = testAuthorizationServer({ lifetime: 60 })
  const { store, trouble, record, settings } = slowStore()
  const { options } = sourceAt(server, { store, timeout: SECOND })
  const source = refreshToken({ ...options, refreshToken: server.newRefreshToken() })
  await source.getAccessToken()
  const stored = (await record())?.refreshToken
  settings.fails = (next) => next?.refreshToken !== stored // what the next renewal brings lives in memory
  await elapse(52 * SECOND)
  const rejectedToken = await source.getAccessToken()
  expect(server.tokenRequests()).toHaveLength(2)
  trouble.lock = 'throws'
  await elapse(20 * SECOND)
  Object.assign(settings, { fails: () => false, delay: 4 * SECOND })
  const renewed = outcome(source.getAccessToken({ rejectedToken }))
  await elapse(10 * SECOND)
  expect((await renewed).error).toMatchObject({ retryable: true })
  expect(server.tokenRequests()).toHaveLength(2)
  settings.delay = 0
  trouble.lock = undefined
  for (let minute = 0; minute < 3; minute++) {
    await elapse(60 * SECOND)
    expect(server.accepts((await outcome(source.getAccessToken())).value ?? '')).toBe(true)
  }
  expect(server.reuses).toEqual([])
})

test('a write that fails late does not take away a token that came since it began', async () => {
  const server = testAuthorizationServer({ lifetime: 60 })
  const { store, trouble, settings } = slowStore()
  const source = clientCredentials(sourceAt(server, { store }).options)
  trouble.lock = 'throws'
  Object.assign(settings, { delay: 4 * SECOND, fails: () => true })
  server.always({ status: 503 })
  void outcome(source.getAccessToken()) // a failure, which is to be written
  await elapse(20 * SECOND)
  server.always(undefined)
  const first = outcome(source.getAccessToken())
  await elapse(10 * SECOND)
  const { value } = await first
  expect(server.accepts(value ?? '')).toBe(true)
  await elapse(10 * SECOND)
  const later = outcome(source.getAccessToken())
  await elapse(10 * SECOND)
  expect((await later).value).toBe(value)
})

/** Somebody who can sign in at any time. */
class Person extends TokenManager {
  constructor(options: SourceOptions) {
    super(() => Promise.reject(new Error('only by sign-in')), options, {
      name: 'person',
      oneSession: true,
      asksAgain: false,
    })
  }
  signIn(refreshToken: string): Promise<void> {
    const issuedAt = Date.now()
    const expiresAt = issuedAt + 60 * SECOND
    return this.begin({ accessToken: 'first', refreshToken, tokenType: 'Bearer', issuedAt, expiresAt })
  }
}

test.each([5.5, 8, 12, Number.POSITIVE_INFINITY])(
  'a sign-in that a slow store could not take is not written as it was before a renewal: the store works after %d s',
  async (seconds) => {
    const server = testAuthorizationServer({ lifetime: 60 })
    const { store: inner, trouble } = troubledStore()
    const store: TokenStore = {
      ...inner,
      async get(key) {
        await new Promise((resolve) => setTimeout(resolve, 3 * SECOND))
        return inner.get(key)
      },
    }
    const source = new Person(sourceAt(server, { store }).options)
    Object.assign(trouble, { get: 'throws', replace: 'throws' })
    const signedIn = source.signIn(server.newRefreshToken())
    await elapse(10 * SECOND)
    await signedIn
    let rejectedToken = 'first'
    for (let round = 0; round < 3; round++) {
      const renewed = outcome(source.getAccessToken({ rejectedToken }))
      for (let second = 0; second < 25; second += 0.5) {
        if (round === 0 && second === seconds) Object.assign(trouble, { get: undefined, replace: undefined })
        await elapse(0.5 * SECOND)
      }
      const { value = '' } = await renewed
      expect(server.accepts(value)).toBe(true)
      rejectedToken = value
    }
    expect(server.reuses).toEqual([])
    expect(source.session).toMatchObject({ status: 'signedIn' })
  },
)

/** Two tokens of one session, of which both are to be renewed, and a store that takes nothing of it at first. */
async function twoTokens() {
  const server = testAuthorizationServer({ lifetime: 60 })
  const { store: inner, record } = troubledStore()
  let failures = 0
  const store: TokenStore = {
    ...inner,
    async replace(...write) {
      if (failures-- > 0) throw new Error('the disk is full')
      return inner.replace(...write)
    },
  }
  const source = refreshToken({ ...sourceAt(server, { store }).options, refreshToken: server.newRefreshToken() })
  const rejectedToken = await source.getAccessToken()
  const before = (await record())?.refreshToken
  failures = 2
  const renewed = [source.getAccessToken({ rejectedToken }), source.getAccessToken({ resource: 'urn:other' })].map(
    outcome,
  )
  return { server, record, before, renewed }
}

test('what could not be written is written soon, though another token of the session waits for the lock', async () => {
  const { server, record, before, renewed } = await twoTokens()
  await elapse(5 * SECOND)
  expect((await record())?.refreshToken).not.toBe(before)
  for (const { value } of await Promise.all(renewed)) expect(server.accepts(value ?? '')).toBe(true)
  expect(server.reuses).toEqual([])
})

test('two tokens of a session that no store has yet are renewed one by one, though one of them gets no lock', async () => {
  const server = testAuthorizationServer({ lifetime: 60 })
  const { store: inner, trouble } = troubledStore()
  let refused = 1
  const store: TokenStore = {
    ...inner,
    async lock(...lock) {
      if (refused-- > 0) throw new Error('no lock is to be had')
      return inner.lock(...lock)
    },
  }
  trouble.replace = 'throws'
  const source = new Person(sourceAt(server, { store }).options)
  await source.signIn(server.newRefreshToken())
  server.always({ delay: 2 * SECOND })
  const requests = [{ rejectedToken: 'first' }, { resource: 'urn:other' }]
  const renewed = requests.map((request) => outcome(source.getAccessToken(request)))
  await elapse(10 * SECOND)
  for (const { value } of await Promise.all(renewed)) expect(server.accepts(value ?? '')).toBe(true)
  expect(server.reuses).toEqual([])
})
