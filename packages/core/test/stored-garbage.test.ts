import { clientCredentials, memoryStore, type StoredRecord } from '@keyturn/core'
import { expect, test, vi } from 'vitest'
import { testAuthorizationServer } from './authorization-server.ts'
import { soundRecord } from './proofs/fuzzed-records.ts'
import { sourceAt } from './renewal-harness.ts'
import { comeBack, ISSUER, startApp } from './sign-in-server.ts'

// What the fuzzing of stored records found, each by name.

const circle: Record<string, unknown> = {}
circle.circle = circle

const unusable: [string, unknown][] = [
  ['a circle', circle],
  ['a big integer', { version: 1, format: 1, tokens: {}, claims: { sub: 'ada', age: 36n } }],
  ...[0, -1, Number.NaN, 2 ** 53, Number.MAX_VALUE, null, '', '9'.repeat(20), {}, [], [1e300], { toString: 1 }].map(
    (version): [string, unknown] => [
      `a version that is ${typeof version === 'number' ? version : JSON.stringify(version)}`,
      { version },
    ],
  ),
]

/** With a record in order around it. */
const stored = (found: unknown, tokenKey: string) =>
  (found && Object.hasOwn(Object(found), 'version') && Object.keys(Object(found)).length === 1
    ? { ...soundRecord(tokenKey), failures: undefined, ...Object(found) }
    : found) as StoredRecord

// Each has a session of its own, or they would count as new sources for the same token.
test.each(unusable)(
  '%s in place of the record of a machine is told, and written over at once',
  async (sessionKey, found) => {
    const server = testAuthorizationServer()
    const store = memoryStore()
    const key = JSON.stringify([ISSUER, 'client', 'client_credentials', sessionKey, '[[],[],[]]'])
    await store.replace(key, undefined, stored(found, '[[],[],[]]'))
    const { options, warnings } = sourceAt(server, { store, sessionKey })
    expect(server.accepts(await clientCredentials(options).getAccessToken())).toBe(true)
    expect(warnings).toEqual([expect.stringMatching(/^a stored session was damaged/)])
    const healed = await store.get(key)
    expect(healed?.version).toBeGreaterThan(Date.now() - 60_000)
    expect(healed?.version).toBeLessThanOrEqual(Date.now() + 1000)
  },
)

test.each(['line\nbreak', 'nul\0', 'lost \ufffd character', 'tökén'])(
  'a stored token that no header can carry (%j) is not handed out, and another one takes its place',
  async (accessToken) => {
    const server = testAuthorizationServer()
    const store = memoryStore()
    const key = JSON.stringify([ISSUER, 'client', 'client_credentials', accessToken, '[[],[],[]]'])
    const sound = soundRecord('[[],[],[]]')
    const tokens = { '[[],[],[]]': { ...Object(sound.tokens['[[],[],[]]']), accessToken } }
    await store.replace(key, undefined, { ...sound, refreshToken: undefined, failures: undefined, tokens })
    const { options, warnings } = sourceAt(server, { store, sessionKey: accessToken })
    expect(server.accepts(await clientCredentials(options).getAccessToken())).toBe(true)
    expect(warnings).toEqual([expect.stringMatching(/^a stored session was damaged/)])
  },
)

test.each(unusable)(
  '%s in place of the record of a person is told, and a sign-in takes its place',
  async (_, found) => {
    const store = memoryStore()
    const key = JSON.stringify([ISSUER, 'app', 'authorization_code', 'default'])
    await store.replace(key, undefined, stored(found, '[["openid"],[],[]]'))
    const app = startApp({ store })
    expect(await app.auth.handleCallback()).toBeUndefined()
    expect(app.auth.session).toMatchObject({ status: 'signedOut', ended: { reason: 'damaged', origin: 'storage' } })
    expect(app.warnings).toEqual([expect.stringMatching(/^a stored session was damaged/)])
    await comeBack(app, {}, 'deep')
    expect(await app.auth.handleCallback()).toEqual({ appState: 'deep' })
    const next = startApp({ store })
    await next.auth.handleCallback()
    expect(next.auth.session).toMatchObject({ status: 'signedIn', claims: { sub: 'ada' } })
    expect(next.warnings).toEqual([])
    await next.auth.revoke()
    await vi.waitFor(() =>
      expect(app.auth.session).toMatchObject({ status: 'signedOut', ended: { origin: 'another' } }),
    )
  },
)
