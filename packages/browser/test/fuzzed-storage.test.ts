import { OAuthError } from '@keyturn/browser'
import fc from 'fast-check'
import { createStore, get, set } from 'idb-keyval'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { commands } from 'vitest/browser'
import { anything, damagedRecord } from '../../core/test/proofs/fuzzed-records.ts'
import { type App, startApp } from './sign-in.ts'
import { forgetAll } from './tabs.ts'

// The same properties hold for a store in memory, thousands of times (packages/core/test/proofs); here it is the
// browser's own storages that give back what they were given.

const RUNS = 25
const DEADLINE = 8000

let issuer = ''
const unhandled: unknown[] = []
const note = ({ reason }: PromiseRejectionEvent) => void unhandled.push(reason)
beforeAll(async () => {
  issuer = await commands.startServer(300)
  addEventListener('unhandledrejection', note)
})
afterAll(() => {
  removeEventListener('unhandledrejection', note)
  return commands.stopServer()
})
afterEach(async () => {
  sessionStorage.clear()
  await forgetAll()
  expect(unhandled.splice(0)).toEqual([])
})

const database = createStore('keyturn', 'sessions')
const keyOf = (sessionKey: string) => JSON.stringify([issuer, 'spa', 'authorization_code', sessionKey])

/** What IndexedDB can hold. */
function isClonable(value: unknown): boolean {
  try {
    structuredClone(value)
    return true
  } catch {
    return false
  }
}

/** How it settled; fails where it takes too long, or where an error has no type. */
async function typed<T>(promise: Promise<T>): Promise<T | OAuthError> {
  const late = new Promise<never>((_, reject) => setTimeout(reject, DEADLINE, new Error('not settled in time')))
  return Promise.race([promise, late]).catch((error) => {
    if (error instanceof OAuthError) return error
    throw error
  })
}

/** The next page signs in, whatever the last one found. */
async function signsIn({ auth, signIn }: App): Promise<void> {
  expect(await typed(auth.handleCallback())).toBeUndefined()
  expect(auth.session.status).toMatch(/^signed(In|Out)$/)
  await typed(auth.getAccessToken())
  await signIn()
  expect(auth.session).toMatchObject({ status: 'signedIn', claims: { sub: 'ada' }, renewable: true })
  expect(await auth.getAccessToken()).not.toBe('stored-token')
}

test("whatever IndexedDB holds in place of a person's record, login() works, every error has a type, and the record heals", {
  timeout: 120_000,
}, async () => {
  const property = fc.asyncProperty(damagedRecord('[["openid","profile"],[],[]]').filter(isClonable), async (found) => {
    const sessionKey = crypto.randomUUID()
    await set(keyOf(sessionKey), found, database)
    const app = startApp(issuer, { sessionKey })
    await signsIn(app)
    const next = startApp(issuer, { sessionKey })
    expect(await typed(next.auth.handleCallback())).toBeUndefined()
    expect(next.auth.session).toMatchObject({ status: 'signedIn', claims: { sub: 'ada' } })
    expect(next.warnings).toEqual([])
    await app.auth.logout({ endSession: false })
    expect(JSON.stringify(await get(keyOf(sessionKey), database))).not.toMatch(/refreshToken|accessToken/)
    for (const { auth } of [app, next]) await auth[Symbol.asyncDispose]()
  })
  await fc.assert(property, { numRuns: RUNS })
})

/** What may be in the session storage of an origin, under our prefix and beside it. */
const items = fc.array(
  fc.tuple(
    fc.oneof(fc.string(), fc.constantFrom('keyturn ', 'keyturn __proto__', 'keyturn {}', 'length', 'getItem')),
    fc.oneof(
      fc.string(),
      fc.json(),
      anything.map((value) => text(value)),
      fc.constant(
        JSON.stringify({ createdAt: Date.now(), codeVerifier: 'v'.repeat(43), issuer: 'https://other.example' }),
      ),
    ),
  ),
  { maxLength: 8 },
)

function text(value: unknown): string {
  try {
    return JSON.stringify(value) ?? 'undefined'
  } catch {
    return String(Object.prototype.toString.call(value))
  }
}

test('whatever the session storage holds, login() works, and so does what comes back', {
  timeout: 120_000,
}, async () => {
  const property = fc.asyncProperty(items, async (stored) => {
    sessionStorage.clear()
    for (const [name, value] of stored) sessionStorage.setItem(`keyturn ${name}`, value)
    for (const [name, value] of stored) sessionStorage.setItem(name, value)
    const app = startApp(issuer)
    await signsIn(app)
    await app.auth.logout({ endSession: false })
    await app.auth[Symbol.asyncDispose]()
  })
  await fc.assert(property, { numRuns: RUNS })
})
