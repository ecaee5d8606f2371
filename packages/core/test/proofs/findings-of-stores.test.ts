import { memoryStore, password, type TokenStore } from '@keyturn/core'
import { expect, test } from 'vitest'
import { type Fault, testAuthorizationServer, USER } from '../authorization-server.ts'
import { elapse, MINUTE, movedTime, outcome, SECOND, sourceAt, turns } from '../renewal-harness.ts'
import { Log, strictServer } from './model-log.ts'
import { openTab } from './model-tab.ts'

// What the model tests found where a store fails, each as small as it gets.

movedTime()

const broken = () => Promise.reject(new Error('the disk is full'))

test('who failed without a lock does not undo what a sibling has renewed meanwhile', async () => {
  const server = testAuthorizationServer({ lifetime: 60 })
  const shared = memoryStore()
  const { options } = sourceAt(server)
  const mine = password({ ...options, ...USER, store: { ...shared, lock: broken } })
  const theirs = password({ ...options, ...USER, store: shared })
  const rejectedToken = await theirs.getAccessToken()
  await mine.getAccessToken()
  const arrived = Promise.withResolvers<void>()
  server.next([{ meanwhile: arrived.resolve, hang: 'request' }])
  const failed = outcome(mine.getAccessToken({ rejectedToken }))
  await arrived.promise
  await theirs.getAccessToken({ rejectedToken })
  await elapse(20 * SECOND)
  expect((await failed).error).toMatchObject({ retryable: true })
  await elapse(MINUTE)
  expect(server.accepts(await theirs.getAccessToken())).toBe(true)
  expect(server.tokenRequests().at(-1)).toMatchObject({ grantType: 'refresh_token' })
  expect(server.reuses).toEqual([])
})

test('a refresh token whose answer was lost is not sent once more without a lock where a sibling has renewed it since', async () => {
  const server = strictServer(0)
  const shared = memoryStore()
  const log = new Log()
  const faults: Fault[] = [{}, { hang: 'request' }]
  let works = true
  const store: TokenStore = {
    ...shared,
    get: (key) => (works ? shared.get(key) : broken()),
    lock: (...given) => (works ? shared.lock(...given) : broken()),
    // It is written, but that is not known.
    replace: (...given) => shared.replace(...given).then((replaced) => (works ? replaced : broken())),
  }
  const nextFault = () => faults.shift() ?? {}
  const world = { kind: 'authorizationCode', server, store, log, random: () => 0, nextFault } as const
  const mine = openTab(world)
  await turns(5)
  works = false
  await mine.signIn()
  const renewed = outcome(mine.source.getAccessToken({ rejectedToken: await mine.source.getAccessToken() }))
  await elapse(3 * SECOND)
  const theirs = openTab({ ...world, store: shared })
  const theirToken = await theirs.source.getAccessToken({ rejectedToken: 'another' })
  await theirs.source.getAccessToken({ rejectedToken: theirToken })
  works = true
  await elapse(20 * SECOND)
  expect(server.reuses).toEqual([])
  expect((await renewed).error).toBeUndefined()
})

test('a sign-out is not undone by the sign-in before it, whose write nobody answered', async () => {
  const server = strictServer(0)
  const shared = memoryStore()
  const log = new Log()
  let answers = true
  let failures = 0
  const store: TokenStore = {
    ...shared,
    get: (key) => (failures-- > 0 ? broken() : shared.get(key)),
    replace: async (...given) => {
      const replaced = await shared.replace(...given)
      return answers ? replaced : new Promise(() => {})
    },
  }
  const world = { kind: 'authorizationCode', server, store, log, random: () => 0, nextFault: () => ({}) } as const
  const { source, signIn } = openTab(world)
  await turns(5)
  answers = false
  void signIn()
  await turns(10)
  expect(await source.getAccessToken()).toMatch(/^access-token/)
  answers = true
  failures = 1
  const signedOut = source.revoke()
  await elapse(10 * SECOND)
  await signedOut
  expect((await outcome(source.getAccessToken())).error).toMatchObject({ name: 'LoginRequiredError' })
  expect(source.session.status).toBe('signedOut')
  const other = openTab({ ...world, store: shared })
  await turns(5)
  expect(other.source.session.status).toBe('signedOut')
})

test('nor is the sign-out of a tab that had not heard of that sign-in', async () => {
  const server = strictServer(0)
  const { watch: _, ...shared } = memoryStore()
  const log = new Log()
  let answers = true
  const store: TokenStore = {
    ...shared,
    replace: async (...given) => {
      const replaced = await shared.replace(...given)
      return answers ? replaced : new Promise(() => {})
    },
  }
  const world = { kind: 'authorizationCode', server, log, random: () => 0, nextFault: () => ({}) } as const
  const [here, there] = [openTab({ ...world, store }), openTab({ ...world, store: shared })]
  await there.signIn()
  await elapse(SECOND)
  expect(await here.source.getAccessToken()).toMatch(/^access-token/)
  answers = false
  void here.signIn()
  await turns(10)
  answers = true
  await there.source.revoke()
  await elapse(10 * SECOND)
  expect((await outcome(here.source.getAccessToken())).error).toMatchObject({ name: 'LoginRequiredError' })
  expect([here.source.session.status, there.source.session.status]).toEqual(['signedOut', 'signedOut'])
})

test('a renewal that waits for the lock which its own session keeps does not keep what is unsaved from the store', async () => {
  const server = strictServer(0)
  const shared = memoryStore()
  let writes = 0
  const replace: TokenStore['replace'] = async (...given) => {
    // The note that a refresh token is sent is taken; what came for it is not, at first.
    if (++writes === 2) return new Promise(() => {})
    return shared.replace(...given)
  }
  const log = new Log()
  log.seededWith(server.newRefreshToken())
  const world = { kind: 'refreshToken', server, log, random: () => 0, nextFault: () => ({}) } as const
  const mine = openTab({ ...world, store: { ...shared, replace } })
  const both = [mine.source.getTokenSet(), mine.source.getTokenSet({ resource: 'urn:other' })]
  await elapse(20 * SECOND)
  await Promise.all(both)
  const theirs = openTab({ ...world, store: shared })
  await theirs.source.getAccessToken({ rejectedToken: await theirs.source.getAccessToken() })
  await elapse(20 * SECOND)
  expect(server.reuses).toEqual([])
  expect(theirs.source.session.status).toBe('signedIn')
})

test('a refresh token that is being written counts as one that others have', async () => {
  const server = testAuthorizationServer({ lifetime: 60 })
  const shared = memoryStore()
  const { options } = sourceAt(server)
  const slowly: TokenStore = {
    ...shared,
    lock: broken,
    replace: async (...given) => {
      await new Promise((resolve) => setTimeout(resolve, 2500))
      return shared.replace(...given)
    },
  }
  const mine = password({ ...options, ...USER, store: slowly })
  const rejectedToken = await mine.getAccessToken()
  const renewed = mine.getAccessToken({ rejectedToken })
  await elapse(3 * SECOND)
  expect(server.accepts(await renewed)).toBe(true)
  const theirs = password({ ...options, ...USER, store: shared })
  expect(server.accepts(await theirs.getAccessToken({ rejectedToken }))).toBe(true)
  await elapse(20 * SECOND)
  expect(server.reuses).toEqual([])
})

test('of a sign-in that the store had taken all the same the others have the refresh token, though what they made of it is read slowly', async () => {
  const server = strictServer(0)
  const { watch: _, ...shared } = memoryStore()
  const log = new Log()
  let answers = true
  let reads = [] as (() => Promise<unknown>)[]
  const store: TokenStore = {
    ...shared,
    lock: broken,
    get: async (key) => {
      await reads.shift()?.()
      return shared.get(key)
    },
    replace: async (...given) => {
      const replaced = await shared.replace(...given)
      return answers ? replaced : new Promise(() => {})
    },
  }
  const world = { kind: 'authorizationCode', server, log, random: () => 0, nextFault: () => ({}) } as const
  const here = openTab({ ...world, store })
  await turns(5)
  answers = false
  void here.signIn()
  await turns(10)
  answers = true
  reads = Array(20).fill(broken)
  await elapse(6 * SECOND) // it is given up
  const there = openTab({ ...world, store: shared })
  const rejectedToken = await there.source.getAccessToken()
  await there.source.getAccessToken({ rejectedToken })
  reads = [async () => {}, () => new Promise((resolve) => setTimeout(resolve, 2500))]
  const renewed = outcome(here.source.getAccessToken({ rejectedToken }))
  await elapse(30 * SECOND)
  await renewed
  expect(server.reuses).toEqual([])
})
