import {
  LoginRequiredError,
  memoryStore,
  password,
  refreshToken,
  TokenManager,
  type TokenUnavailableError,
} from '@keyturn/core'
import { expect, test } from 'vitest'
import { testAuthorizationServer, USER } from './authorization-server.ts'
import { elapse, movedTime, outcome, SECOND, sourceAt, troubledStore } from './renewal-harness.ts'

movedTime()

test('a session that was refused here is fresh again when a sibling has renewed it', async () => {
  const server = testAuthorizationServer({ lifetime: 60 })
  const store = memoryStore()
  let secret = String(server.settings.secret)
  const start = (clientSecret: () => string) =>
    password({ ...sourceAt(server, { store, clientSecret }).options, ...USER })
  const here = start(() => secret)
  const sibling = start(() => String(server.settings.secret))
  here.subscribe(() => {})
  await here.getAccessToken()
  secret = 'wrong'
  await elapse(62 * SECOND)
  await expect(here.getAccessToken()).rejects.toMatchObject({ code: 'client-refused' })
  expect(here.session).toMatchObject({ status: 'signedIn', freshness: 'stale' })
  const token = await sibling.getAccessToken()
  await elapse(SECOND)
  expect(here.session).toMatchObject({ status: 'signedIn', freshness: 'fresh' })
  expect(await here.getAccessToken()).toBe(token)
})

/** A session whose token has ended, in a store that cannot lock. */
async function locked() {
  const server = testAuthorizationServer({ lifetime: 60 })
  const { store, trouble } = troubledStore()
  const { options } = sourceAt(server, { store })
  const source = refreshToken({ ...options, refreshToken: server.newRefreshToken() })
  await source.getAccessToken()
  trouble.lock = 'throws'
  await elapse(62 * SECOND)
  return { source, trouble }
}

test('a session that its store keeps from being renewed is stale, and fresh when the store is back', async () => {
  const { source, trouble } = await locked()
  expect((await outcome(source.getAccessToken())).error).toMatchObject({ code: 'storage', retryable: true })
  expect(source.session).toMatchObject({ status: 'signedIn', freshness: 'stale' })
  trouble.lock = undefined
  await source.getAccessToken()
  expect(source.session).toMatchObject({ status: 'signedIn', freshness: 'fresh' })
})

test('who signs in while the store still fails has a fresh session', async () => {
  class Person extends TokenManager {
    signIn(): Promise<void> {
      const issuedAt = Date.now()
      const expiresAt = issuedAt + 60 * SECOND
      return this.begin({ accessToken: 'a', tokenType: 'Bearer', refreshToken: 'r', issuedAt, expiresAt })
    }
  }
  const { store, trouble } = troubledStore()
  const { options } = sourceAt(testAuthorizationServer(), { store })
  const person = new Person(
    () => Promise.reject(new LoginRequiredError('login-required', 'Nobody is there')),
    options,
    {
      name: 'person',
      oneSession: true,
      asksAgain: false,
    },
  )
  await person.signIn()
  trouble.lock = 'throws'
  trouble.get = 'throws'
  await elapse(62 * SECOND)
  await outcome(person.getAccessToken())
  expect(person.session).toMatchObject({ freshness: 'stale' })
  await person.signIn()
  expect(person.session).toMatchObject({ status: 'signedIn', freshness: 'fresh' })
})

test('many callers in a short outage of the store put nobody off for minutes', async () => {
  const { source } = await locked()
  const asked = () => outcome(source.getAccessToken()).then(({ error }) => error as TokenUnavailableError)
  const { retryAt } = await asked()
  for (let call = 0; call < 50; call++) expect((await asked()).retryAt).toBe(retryAt)
  await elapse(retryAt - Date.now())
  expect((await asked()).retryAt).toBeGreaterThan(retryAt + SECOND) // who waited waits longer
})

test('what a slow store says after nobody waits for it any more is told all the same', async () => {
  const server = testAuthorizationServer({ lifetime: 3600 })
  const { store, trouble } = troubledStore()
  const { options } = sourceAt(server, { store })
  const seed = { ...options, refreshToken: server.newRefreshToken() }
  const token = await refreshToken(seed).getAccessToken()
  const { get } = store
  let delay = 0
  store.get = (key) => new Promise((resolve) => setTimeout(resolve, delay)).then(() => get(key))
  trouble.get = 'throws'
  trouble.lock = 'throws'
  const later = refreshToken(seed)
  const refused = outcome(later.getAccessToken())
  await elapse(SECOND)
  expect((await refused).error).toMatchObject({ code: 'storage' })
  trouble.get = undefined
  delay = 2 * SECOND
  const asked = outcome(later.getAccessToken())
  await elapse(5 * SECOND)
  await asked
  expect(await later.getAccessToken()).toBe(token)
  expect(later.session).toMatchObject({ status: 'signedIn' })
})
