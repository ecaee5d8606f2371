import { clientCredentials, memoryStore, refreshToken, type TokenStore } from '@keyturn/core'
import { expect, test } from 'vitest'
import { testAuthorizationServer } from '../authorization-server.ts'
import { elapse, HOUR, MINUTE, movedTime, outcome, SECOND, setClock, sourceAt, turns } from '../renewal-harness.ts'
import { Log, strictServer } from './model-log.ts'
import { openTab } from './model-tab.ts'

// What the model tests found, each as small as it gets.

movedTime()

/** A store of which the calls that are chosen wait at a gate: after they were done, or before; perhaps without news. */
function gated(inner: TokenStore, news = true) {
  const gate = Promise.withResolvers<void>()
  const waits = { get: false, replaced: false, unlock: false }
  const store: TokenStore = {
    async get(key) {
      if (waits.get) await gate.promise
      return inner.get(key)
    },
    async replace(key, expected, next) {
      const replaced = await inner.replace(key, expected, next)
      if (waits.replaced && next?.sending === undefined) await gate.promise // not the journal
      return replaced
    },
    async lock(key, critical, duration) {
      const value = await inner.lock(key, critical, duration)
      if (waits.unlock) await gate.promise
      return value
    },
    watch: (key, listener) => (news && inner.watch?.(key, listener)) || (() => {}),
  }
  return { store, waits, open: () => gate.resolve() }
}

/** Two who share a store, signed in; the first sees it through a gate. */
async function siblings(news = true) {
  const server = testAuthorizationServer({ grace: 0 })
  const shared = memoryStore()
  const gate = gated(shared, news)
  const { options } = sourceAt(server)
  const seed = { refreshToken: server.newRefreshToken() }
  const mine = refreshToken({ ...options, ...seed, store: gate.store })
  const theirs = refreshToken({ ...options, ...seed, store: shared })
  for (const source of [mine, theirs]) source.subscribe(() => {})
  const rejectedToken = await mine.getAccessToken()
  await theirs.getAccessToken()
  await elapse(MINUTE)
  return { server, mine, theirs, rejectedToken, ...gate }
}

test('a token whose end the clock passes while it is on its way is not handed out', async () => {
  const server = testAuthorizationServer({ lifetime: 60 })
  const source = clientCredentials(sourceAt(server).options)
  server.next([{ meanwhile: () => setClock(HOUR) }]) // the machine sleeps between request and answer
  const { expiresAt } = await source.getTokenSet()
  expect(expiresAt).toBeGreaterThan(Date.now())
})

test('a sign-in that overtakes a sign-out is not left with a revoked refresh token', async () => {
  const server = strictServer(0)
  const { store, waits, open } = gated(memoryStore())
  const log = new Log()
  const world = { kind: 'authorizationCode', server, store, log, random: () => 0, nextFault: () => ({}) } as const
  const { source, signIn } = openTab(world)
  await turns()
  waits.get = true
  const signedOut = source.revoke()
  await turns()
  waits.get = false
  await signIn()
  open()
  await signedOut
  const { status } = source.session
  const revoked = server.isRevoked(log.record?.refreshToken ?? '')
  expect({ status, revoked }).not.toEqual({ status: 'signedIn', revoked: true })
})

test('who signs out during a renewal does not make a sibling send the same refresh token', async () => {
  const { server, mine, theirs, rejectedToken, waits, open } = await siblings()
  server.next([{ delay: SECOND }])
  const renewals = [mine, theirs].map((source) => outcome(source.getAccessToken({ rejectedToken })))
  await turns()
  waits.get = true
  const signedOut = mine.revoke()
  await elapse(2 * SECOND)
  open()
  await signedOut
  await Promise.all(renewals)
  const sent = server.tokenRequests().map((request) => request.refreshToken)
  expect(new Set(sent).size).toBe(sent.length)
})

test('a sign-out elsewhere is not missed while the answer to an own write is on its way', async () => {
  const { mine, theirs, rejectedToken, waits, open } = await siblings()
  waits.replaced = true
  const renewal = outcome(mine.getAccessToken({ rejectedToken }))
  await turns()
  waits.replaced = false
  await theirs.revoke()
  await turns()
  open()
  await renewal
  await elapse(SECOND)
  expect(theirs.session.status).toBe('signedOut')
  expect(mine.session.status).toBe('signedOut')
})

test('a call after a sign-out is not handed what was under way before', async () => {
  const { mine, theirs, rejectedToken, waits, open } = await siblings(false)
  waits.unlock = true
  const renewed = await theirs.getAccessToken({ rejectedToken })
  const before = outcome(mine.getAccessToken({ rejectedToken }))
  await turns()
  const signedOut = mine.revoke()
  const after = outcome(mine.getAccessToken())
  await turns()
  open()
  await signedOut
  await before
  expect((await after).value).not.toBe(renewed)
})

test('a sign-out elsewhere is not missed while an own sign-in is being written', async () => {
  const server = strictServer(0)
  const shared = memoryStore()
  const { store, waits, open } = gated(shared)
  const log = new Log()
  const common = { kind: 'authorizationCode', server, log, random: () => 0, nextFault: () => ({}) } as const
  const mine = openTab({ ...common, store })
  const theirs = openTab({ ...common, store: shared })
  await turns()
  waits.replaced = true
  const signedIn = mine.signIn()
  await turns(5)
  await theirs.source.revoke()
  waits.replaced = false
  open()
  await signedIn
  await turns(5)
  expect([mine, theirs].map(({ source }) => source.session.status)).toEqual(['signedOut', 'signedOut'])
})

test('a read that comes late does not undo a newer one', async () => {
  const server = testAuthorizationServer()
  const shared = memoryStore()
  const reads: (() => void)[] = []
  let late = false
  const get: TokenStore['get'] = async (key) => {
    const found = await shared.get(key)
    if (late) await new Promise<void>((resolve) => reads.push(resolve))
    return found
  }
  const { options } = sourceAt(server)
  const seed = { refreshToken: server.newRefreshToken() }
  const mine = refreshToken({ ...options, ...seed, store: { ...shared, get } })
  const theirs = refreshToken({ ...options, ...seed, store: shared })
  mine.subscribe(() => {})
  const rejectedToken = await mine.getAccessToken()
  late = true
  await theirs.getAccessToken({ rejectedToken }) // news: the first read has the record before its end
  await turns()
  const before = reads.splice(0)
  await theirs.revoke()
  await turns()
  late = false
  for (const answer of [...reads.reverse(), ...before]) {
    answer()
    await turns()
  }
  expect(mine.session.status).toBe('signedOut')
})
