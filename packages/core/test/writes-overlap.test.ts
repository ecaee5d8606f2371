import { clientCredentials, refreshToken, type StoredRecord, type TokenStore } from '@keyturn/core'
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

test('a write that is done late does not bring back a refresh token that was spent since it began', async () => {
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
  expect(server.accepts((await renewed).value ?? '')).toBe(true)
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
