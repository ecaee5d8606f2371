import { password, refreshToken, StoreError } from '@keyturn/core'
import { expect, test, vi } from 'vitest'
import { testAuthorizationServer, USER } from './authorization-server.ts'
import { elapse, HOUR, MINUTE, movedTime, SECOND, sourceAt, troubledStore, turns } from './renewal-harness.ts'

movedTime()

/** Two sources of one session, as two tabs are, both of which look. */
async function siblings() {
  const server = testAuthorizationServer({ lifetime: 3 * 3600 })
  const here = troubledStore()
  const seed = server.newRefreshToken()
  const { options } = sourceAt(server, { store: here.store })
  const source = refreshToken({ ...options, refreshToken: seed })
  const get = here.store.get.bind(here.store)
  const there = { ...here.store, get, lock: here.store.lock.bind(here.store) }
  const sibling = refreshToken({ ...sourceAt(server, { store: there }).options, refreshToken: seed })
  await source.getAccessToken()
  await sibling.getAccessToken()
  source.subscribe(() => {})
  sibling.subscribe(() => {})
  await turns(5)
  return { server, source, sibling, options: { ...options, refreshToken: seed }, ...here }
}

test('a sign-out elsewhere that could not be read is read by itself as soon as it can be', async () => {
  const { source, sibling, store } = await siblings()
  const read = vi.spyOn(store, 'get').mockRejectedValue(new Error('the connection is lost'))
  await sibling.revoke()
  await elapse(2 * SECOND)
  expect(source.session.status).toBe('signedIn')
  read.mockRestore()
  await elapse(5 * SECOND)
  expect(source.session).toMatchObject({ status: 'signedOut', ended: { reason: 'signed-out', origin: 'another' } })
})

test('who is signed in is known as soon as a store can be read that could not be at first', async () => {
  const { options, store } = await siblings()
  vi.spyOn(store, 'get').mockRejectedValueOnce(new Error('the connection is lost'))
  const reloaded = refreshToken(options)
  reloaded.subscribe(() => {})
  await turns(5)
  expect(reloaded.session).toEqual({ status: 'signedOut' })
  await elapse(1500)
  expect(reloaded.session).toMatchObject({ status: 'signedIn', freshness: 'fresh' })
})

test('a store that cannot be read for long is read every minute, and what it has is renewed again afterwards', async () => {
  const { source, store, server } = await siblings()
  const read = vi.spyOn(store, 'get').mockRejectedValue(new Error('the connection is lost'))
  vi.setSystemTime(Date.now() + 10 * SECOND) // looks again after every gap
  await source.getAccessToken()
  await elapse(HOUR, SECOND)
  expect(read.mock.calls.length).toBeGreaterThan(55)
  expect(read.mock.calls.length).toBeLessThan(70)
  read.mockRestore()
  await elapse(MINUTE + SECOND, SECOND)
  const before = server.tokenRequests().length
  await elapse(2 * HOUR, SECOND)
  expect(server.tokenRequests().length).toBe(before + 1)
})

test('a store that no retry can help is not read again by itself', async () => {
  const { source, store } = await siblings()
  const wrongKey = new StoreError('The key is another one', { retryable: false })
  const read = vi.spyOn(store, 'get').mockRejectedValue(wrongKey)
  vi.setSystemTime(Date.now() + 10 * SECOND)
  await source.getAccessToken()
  await elapse(10 * MINUTE, SECOND)
  expect(read).toHaveBeenCalledOnce()
})

test('a function of the app that says whose session it is, and fails, is not asked again by itself', async () => {
  const { store } = troubledStore()
  const username = vi.fn(() => Promise.reject(new Error('nobody answered')))
  const { options } = sourceAt(testAuthorizationServer(), { store })
  const source = password({ ...options, username, password: USER.password })
  source.subscribe(() => {})
  await elapse(10 * MINUTE, SECOND)
  expect(username).toHaveBeenCalledOnce()
})
