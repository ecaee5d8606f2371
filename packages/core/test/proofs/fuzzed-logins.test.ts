import { memoryStore, memoryTransactions, OAuthError, type StoredRecord } from '@keyturn/core'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { comeBack, ISSUER, startApp } from '../sign-in-server.ts'
import { anything, damagedRecord, RUNS } from './fuzzed-records.ts'

const KEY = JSON.stringify([ISSUER, 'app', 'authorization_code', 'default'])
const DEADLINE = 8000
const timeout = 60_000 + RUNS * 1000

/** How it settled; fails where it takes too long, or where an error has no type. */
async function typed<T>(promise: Promise<T>): Promise<{ value?: T; error?: OAuthError }> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(reject, DEADLINE, new Error('not settled in time'))
  })
  try {
    return { value: await Promise.race([promise, late]) }
  } catch (error) {
    if (!(error instanceof OAuthError)) throw error
    return { error }
  } finally {
    clearTimeout(timer)
  }
}

test("whatever is in place of a person's record, login() works, every error has a type, and the record heals", {
  timeout,
}, async () => {
  const property = fc.asyncProperty(damagedRecord('[["openid"],[],[]]'), async (found) => {
    const store = memoryStore()
    await store.replace(KEY, undefined, found as StoredRecord)
    const app = startApp({ store })
    expect((await typed(app.auth.handleCallback())).value).toBeUndefined()
    expect(app.auth.session.status).toMatch(/^signed(In|Out)$/)
    const { error } = await typed(app.auth.getAccessToken())
    if (app.auth.session.status === 'signedOut') expect(error).toBeDefined()
    expect(app.auth.explain().every(({ at, event }) => Number.isFinite(at) && typeof event === 'string')).toBe(true)

    await comeBack(app, {}, 'deep')
    expect(await typed(app.auth.handleCallback())).toEqual({ value: { appState: 'deep' } })
    expect(await app.auth.getAccessToken()).toBe('access-token-of-ada')
    const next = startApp({ store })
    expect((await typed(next.auth.handleCallback())).value).toBeUndefined()
    expect(next.auth.session).toMatchObject({ status: 'signedIn', claims: { sub: 'ada' }, renewable: true })
    expect(next.warnings).toEqual([])
    await app.auth.logout({ endSession: false })
    expect(JSON.stringify(await store.get(KEY))).not.toContain('-of-ada')
    for (const { auth } of [app, next]) await auth[Symbol.asyncDispose]()
  })
  await fc.assert(property, { numRuns: RUNS })
})

const transaction = fc.record(
  {
    codeVerifier: fc.oneof(anything, fc.constant('v'.repeat(43))),
    nonce: fc.oneof(anything, fc.constant(undefined)),
    maxAge: fc.oneof(anything, fc.constant(undefined)),
    issuer: fc.oneof(anything, fc.constant(ISSUER)),
    redirectUri: fc.oneof(anything, fc.constant('https://app.example/callback')),
    createdAt: fc.oneof(anything, fc.constant(Date.now()), fc.constant(`${Date.now()}`)),
    appState: anything,
  },
  { requiredKeys: [] },
)

/** What a store of logins under way may do besides what it should. */
const trouble = fc.oneof(
  fc.oneof(transaction, anything).map((found) => () => found),
  anything.map((thrown) => () => {
    throw thrown
  }),
  anything.map((thrown) => () => Promise.reject(thrown)),
)

test('whatever is in place of a login under way, every error has a type, and the next login works', {
  timeout,
}, async () => {
  const property = fc.asyncProperty(trouble, trouble, fc.boolean(), async (take, pending, isOurs) => {
    const good = memoryTransactions()
    let isDamaged = false
    const app = startApp({
      store: memoryStore(),
      transactions: {
        put: good.put,
        take: (state) => (isDamaged ? (take() as ReturnType<typeof good.take>) : good.take(state)),
        pending: () => (isDamaged ? (pending() as boolean) : good.pending()),
      },
    })
    await comeBack(app, {}, 'first')
    if (!isOurs) app.page.url = 'https://app.example/callback?code=x&state=theirs'
    isDamaged = true
    const { value, error } = await typed(app.auth.handleCallback())
    if (error) expect(error.code).toMatch(/^(invalid-state|invalid-response|exchange-failed|storage)$/)
    else expect(value).toBeUndefined()
    expect(app.auth.session.status).toBe('signedOut')
    isDamaged = false
    await comeBack(app, {}, 'deep')
    expect(await typed(app.auth.handleCallback())).toEqual({ value: { appState: 'deep' } })
    await app.auth[Symbol.asyncDispose]()
  })
  await fc.assert(property, { numRuns: RUNS })
})
