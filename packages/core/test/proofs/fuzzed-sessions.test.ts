import { clientCredentials, memoryStore, OAuthError, type StoredRecord } from '@keyturn/core'
import fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import { testAuthorizationServer } from '../authorization-server.ts'
import { elapse, HOUR, MINUTE, movedTime, outcome, SECOND, START, settled, sourceAt } from '../renewal-harness.ts'
import { damagedRecord, RUNS } from './fuzzed-records.ts'

movedTime()

const KEY = JSON.stringify(['https://as.example', 'client', 'client_credentials', 'default', '[[],[],[]]'])

test('whatever is in place of the record of a machine, it has a good token in the end, and the record heals', {
  timeout: MINUTE + RUNS * SECOND,
}, async () => {
  const property = fc.asyncProperty(damagedRecord('[[],[],[]]'), async (found) => {
    vi.clearAllTimers()
    vi.setSystemTime(START)
    const server = testAuthorizationServer()
    const store = memoryStore()
    await store.replace(KEY, undefined, found as StoredRecord)
    const { options } = sourceAt(server, { store })
    const source = clientCredentials(options)
    for (let tries = 0; tries < 3; tries++) {
      const { error } = await settled(source.getAccessToken(), 50 * SECOND)
      if (error) expect(error).toBeInstanceOf(OAuthError)
      expect(source.session.status).toMatch(/^signed(In|Out)$/)
      expect(source.explain().every(({ at, event }) => Number.isFinite(at) && typeof event === 'string')).toBe(true)
      await elapse(HOUR + MINUTE, 20 * MINUTE)
    }
    const { value: token } = await settled(source.getAccessToken(), 50 * SECOND)
    expect(server.accepts(token ?? ''), 'a good token').toBe(true)
    const next = clientCredentials(options)
    expect((await outcome(next.getAccessToken())).value, 'the next process finds it').toBe(token)
    expect(next.stats(), 'healed').toMatchObject({ tokenRequests: 0, degradations: 0 })
    for (const one of [source, next]) await one[Symbol.asyncDispose]()
  })
  await fc.assert(property, { numRuns: RUNS })
})
