import { calculateJwkThumbprint, decodeProtectedHeader } from 'jose'
import type { Page } from 'playwright'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { type Person, signIn, startWorld, untilStatus, type World } from './world.ts'

const TTL = 3

let world: World
let person: Person
/** The thumbprints of the keys in all proofs that left the browser, and the tokens that left without one. */
let keys: Set<string>
let bearers: string[]
let reading: Promise<unknown>[]

beforeAll(async () => {
  world = await startWorld({ accessTokenTTL: TTL, dpopNonce: true })
})
afterAll(() => world.stop())
beforeEach(async () => {
  keys = new Set()
  bearers = []
  reading = []
  person = await world.open('/callback', { clientId: 'spa-dpop', bound: true })
  person.context.on('request', (request) => {
    const { dpop, authorization } = request.headers()
    if (authorization?.startsWith('Bearer')) bearers.push(request.url())
    if (!dpop) return
    const { jwk } = decodeProtectedHeader(dpop)
    if (jwk) reading.push(calculateJwkThumbprint(jwk).then((thumbprint) => keys.add(thumbprint)))
  })
})
afterEach(() => person.leave())

/** What is in the database, as far as it is about keys. */
const storedKeys = (page: Page) =>
  page.evaluate(async () => {
    const opened = indexedDB.open('keyturn')
    const database = await new Promise<IDBDatabase>((resolve) => {
      opened.onsuccess = () => resolve(opened.result)
    })
    const all = database.transaction('sessions').objectStore('sessions').getAll()
    await new Promise((resolve) => {
      all.onsuccess = resolve
    })
    database.close()
    return Promise.all(
      all.result.map(async ({ key }) => ({
        thumbprint: String(key.thumbprint),
        isKey: key.pair.privateKey instanceof CryptoKey,
        extractable: key.pair.privateKey.extractable,
        exported: await crypto.subtle.exportKey('jwk', key.pair.privateKey).catch((error) => error.name),
      })),
    )
  })

const callBoth = (page: Page) =>
  page.evaluate(
    async (urls) => Promise.all(urls.map(async (url) => (await lab.call(url)).status)),
    world.apis.map(({ url }) => `${url}?q=1`),
  )

test('two tabs share one key through a sign-in, renewals and a reload, with nonces at every server', async () => {
  await signIn(person.page)
  const other = await person.tab()
  await untilStatus(other, 'signedIn')
  for (let round = 0; round < 2; round++) {
    for (const page of [person.page, other]) expect(await callBoth(page)).toEqual([200, 200])
    await other.waitForTimeout(TTL * 1000 + 50)
  }
  await other.reload()
  await other.waitForFunction(() => globalThis.lab !== undefined)
  expect(await callBoth(other)).toEqual([200, 200])
  await Promise.all(reading)
  expect([...keys]).toHaveLength(1)
  expect(bearers).toEqual([])
  expect(world.server.reuses).toBe(0)
  expect(world.apis[0].proven).toBe(5)
  const key = { thumbprint: [...keys][0], isKey: true, extractable: false, exported: 'InvalidAccessError' }
  expect(await storedKeys(other)).toEqual([key, key])
})

test('tabs that log in at once name one key, so that either login can be finished', async () => {
  const other = await person.tab()
  const authorizationUrl = async (page: Page) => {
    const [request] = await Promise.all([
      page.waitForRequest((request) => request.url().includes('dpop_jkt')),
      page.waitForURL(/\/interaction\//),
      page.evaluate(() => void lab.auth.login()),
    ])
    return new URL(request.url()).searchParams.get('dpop_jkt')
  }
  const [one, two] = await Promise.all([authorizationUrl(person.page), authorizationUrl(other)])
  expect(one).toMatch(/^[\w-]{43}$/)
  expect(two).toBe(one)
})

test('a session whose key is gone ends as key-lost, and signing in again mends that', async () => {
  await signIn(person.page)
  await person.page.evaluate(async () => {
    const opened = indexedDB.open('keyturn')
    const database = await new Promise<IDBDatabase>((resolve) => {
      opened.onsuccess = () => resolve(opened.result)
    })
    const sessions = database.transaction('sessions', 'readwrite').objectStore('sessions')
    const cursor = sessions.openCursor()
    await new Promise<void>((resolve) => {
      cursor.onsuccess = () => {
        if (!cursor.result) return resolve()
        const { key, ...record } = cursor.result.value
        if (record.refreshToken) cursor.result.update({ ...record, key: { thumbprint: key.thumbprint } })
        else cursor.result.delete()
        cursor.result.continue()
      }
    })
    database.close()
  })
  await person.page.reload()
  await untilStatus(person.page, 'signedOut')
  expect(await person.page.evaluate(() => lab.auth.session)).toMatchObject({ ended: { reason: 'key-lost' } })
  await Promise.all([person.page.waitForURL(/\?code=/), person.page.evaluate(() => void lab.auth.login())])
  await untilStatus(person.page, 'signedIn')
  expect(await callBoth(person.page)).toEqual([200, 200])
  await Promise.all(reading)
  expect([...keys]).toHaveLength(2)
})
