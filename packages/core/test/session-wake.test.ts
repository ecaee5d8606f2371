import { memoryStore, type TokenStore } from '@keyturn/core'
import { expect, test, vi } from 'vitest'
import type { Fault } from './authorization-server.ts'
import { Log, strictServer } from './proofs/model-log.ts'
import { openTab } from './proofs/model-tab.ts'
import { elapse, HOUR, MINUTE, movedTime, SECOND, turns } from './renewal-harness.ts'

movedTime()

const throttled = { status: 429, headers: { 'retry-after': '3600' } } as const

/** A page where somebody is signed in, with a token that has to be renewed. */
async function page(store = memoryStore()) {
  const server = strictServer(0)
  const log = new Log()
  let fault: Fault = {}
  const world = { kind: 'authorizationCode', server, store, log, random: () => 0, nextFault: () => fault } as const
  const tab = openTab(world)
  await turns()
  await tab.signIn()
  return {
    ...tab,
    sent: () => log.sent.length,
    fail: (with_: Fault) => {
      fault = with_
    },
    async wake() {
      tab.wake()
      await turns(5)
    },
  }
}

/** A store that counts how often somebody looked at the session. */
function lookedAt() {
  const store = memoryStore()
  let looks = 0
  const get: TokenStore['get'] = (key) => {
    if (!key.includes('revocations')) looks++
    return store.get(key)
  }
  return { store: { ...store, get }, looks: () => looks }
}

test('a page that comes back looks at the store, and asks the server for nothing', async () => {
  const { store, looks } = lookedAt()
  const { source, wake, sent } = await page(store)
  const token = await source.getAccessToken()
  const before = looks()
  await wake()
  expect(looks()).toBe(before + 1)
  expect(await source.getAccessToken()).toBe(token)
  expect([looks(), sent()]).toEqual([before + 1, 0])
})

test('nothing is served from memory between the return of a page and the look at the store', async () => {
  const { store, looks } = lookedAt()
  const { source, wake } = await page(store)
  await source.getAccessToken()
  const { tokensServedFromMemory } = source.stats()
  const before = looks()
  const woken = wake()
  await source.getAccessToken()
  await woken
  expect(looks()).toBe(before + 1) // one look for both
  expect(source.stats().tokensServedFromMemory).toBe(tokensServedFromMemory + 1)
})

test('a return breaks through a back-off, once in half a minute', async () => {
  const { source, wake, sent, fail } = await page()
  fail(throttled)
  await elapse(HOUR)
  expect(sent()).toBe(1)
  const sentWhen = async (waited: number) => {
    await elapse(waited)
    await wake()
    return sent()
  }
  expect(await sentWhen(0)).toBe(2)
  expect(await sentWhen(0)).toBe(2)
  expect(await sentWhen(29 * SECOND)).toBe(2)
  expect(await sentWhen(SECOND)).toBe(3)
  fail({})
  expect(await sentWhen(MINUTE)).toBe(4)
  expect(source.session).toMatchObject({ status: 'signedIn', freshness: 'fresh' })
  expect(await sentWhen(31 * SECOND)).toBe(4)
})

test('a return during a back-off costs those who ask for a token nothing but the one request', async () => {
  const { source, wake, sent, fail } = await page()
  fail(throttled)
  await elapse(2 * HOUR, 10 * SECOND)
  const before = sent()
  fail({})
  const asked = vi.fn()
  const woken = wake()
  const tokens = Array.from({ length: 10 }, () => source.getAccessToken().then(asked, asked))
  await woken
  await Promise.all(tokens)
  expect(sent()).toBe(before + 1)
  expect(source.session).toMatchObject({ freshness: 'fresh' })
})
