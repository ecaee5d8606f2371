import {
  authenticatedFetch,
  clientCredentials,
  dpop,
  memoryStore,
  memoryTransactions,
  password,
  pushedAuthorizationRequests,
  refreshToken,
  type SourceOptions,
  type StoredRecord,
  type TokenStore,
} from '@keyturn/core'
import { calculateJwkThumbprint, exportJWK } from 'jose'
import { expect, test, vi } from 'vitest'
import { ProofServer } from './proof-server.ts'
import { rejection, startApp } from './sign-in-server.ts'

const server = new ProofServer()
const ada = { username: 'ada', password: 'lovelace' }

function optionsWith(store: TokenStore | undefined, more: Partial<SourceOptions> = {}) {
  const warnings: string[] = []
  const onWarning = (message: string) => warnings.push(message)
  const options = { issuer: 'https://as.example', clientId: 'app', fetch: server.fetch, dpop: dpop(), onWarning, store }
  return { options: { ...options, sessionKey: crypto.randomUUID(), ...more }, warnings }
}

/** The thumbprint in the newest proof. */
const lastKey = () => server.proofs.at(-1)?.thumbprint

/** What is in it, and what it loses when told to. */
function openStore(keys: TokenStore['keys'] = 'structured') {
  const inner = memoryStore()
  const names = new Set<string>()
  const store: TokenStore = {
    ...inner,
    keys,
    replace(key, expected, next) {
      names.add(key)
      return inner.replace(key, expected, next)
    },
  }
  const change = async (change: (record: StoredRecord) => StoredRecord | undefined) => {
    for (const name of names) {
      const record = await inner.get(name)
      if (record) await inner.replace(name, record.version, change(record))
    }
  }
  const records = async () => (await Promise.all([...names].map(inner.get))).filter((record) => record !== undefined)
  return { store, change, records }
}

const withoutKeys = (record: StoredRecord): StoredRecord | undefined =>
  record.refreshToken && record.key
    ? { ...record, version: record.version + 1, key: { thumbprint: record.key.thumbprint } }
    : undefined

test('the key goes with the session: another source that shares the store proves the same', async () => {
  const { store, records } = openStore()
  const { options } = optionsWith(store)
  const [here, there] = [password({ ...options, ...ada }), password({ ...options, ...ada, dpop: dpop() })]
  const token = await here.getAccessToken()
  expect(await there.getAccessToken()).toBe(token)
  const key = lastKey()
  await there.getAccessToken({ rejectedToken: token })
  expect(lastKey()).toBe(key)
  const signed = await there.authorize?.({ method: 'GET', url: 'https://api.example/' })
  await server.fetch('https://api.example/', { headers: signed?.headers ?? {} })
  expect(lastKey()).toBe(key)
  for (const { key: stored } of await records()) {
    expect(stored?.pair?.privateKey).toMatchObject({ type: 'private', extractable: false })
    await expect(crypto.subtle.exportKey('jwk', stored?.pair?.privateKey as CryptoKey)).rejects.toThrow()
    expect(await calculateJwkThumbprint(await exportJWK(stored?.pair?.publicKey as CryptoKey))).toBe(key)
  }
})

test('a session stays with its key, though the next one has another', async () => {
  const { store, change } = openStore()
  const { options } = optionsWith(store)
  const token = await password({ ...options, ...ada }).getAccessToken()
  const key = lastKey()
  await change((record) => (record.refreshToken ? { ...record, version: record.version + 1 } : undefined))
  const later = password({ ...options, ...ada, dpop: dpop() })
  const sign = async () => {
    const signed = await later.authorize?.({ method: 'GET', url: 'https://api.example/' })
    await server.fetch('https://api.example/', { headers: signed?.headers ?? {} })
  }
  await sign()
  expect(lastKey()).toBe(key)
  await later.getAccessToken({ rejectedToken: token })
  expect(lastKey()).toBe(key)
})

test('sources that begin at once adopt one key', async () => {
  const { options } = optionsWith(memoryStore())
  const before = server.proofs.length
  const sources = Array.from({ length: 5 }, (_, n) =>
    clientCredentials({ ...options, clientSecret: 's', dpop: dpop(), scope: `s${n}` }),
  )
  await Promise.all(sources.map((source) => source.getAccessToken()))
  const proofs = server.proofs.slice(before)
  expect(proofs).toHaveLength(5)
  expect(new Set(proofs.map(({ thumbprint }) => thumbprint)).size).toBe(1)
})

test('without the option, a bound token is never found and a bound session is not the same token', async () => {
  const { options } = optionsWith(memoryStore())
  const bound = await clientCredentials({ ...options, clientSecret: 's' }).getAccessToken()
  const plain = clientCredentials({
    ...options,
    clientSecret: 's',
    dpop: undefined,
    fetch: async (input, init) =>
      String(input).endsWith('/token')
        ? Response.json({ access_token: 'plain', token_type: 'Bearer', expires_in: 60 })
        : server.fetch(input, init),
  })
  expect(await plain.getAccessToken()).toBe('plain')
  expect(await clientCredentials({ ...options, clientSecret: 's' }).getAccessToken()).toBe(bound)
})

test('a store that keeps keys encrypted gets a private JWK, and what signs cannot be read all the same', async () => {
  const { store, records } = openStore('encrypted')
  const { options } = optionsWith(store)
  const token = await password({ ...options, ...ada }).getAccessToken()
  const key = lastKey()
  const stored = (await records()).map((record) => record.key)
  expect(stored).toEqual(Array(2).fill({ thumbprint: key, jwk: expect.objectContaining({ d: expect.any(String) }) }))
  await password({ ...options, ...ada, dpop: dpop() }).getAccessToken({ rejectedToken: token })
  expect(lastKey()).toBe(key)
})

test('a session whose key is lost ends, and says why; nothing is sent', async () => {
  const { store, change } = openStore()
  const { options } = optionsWith(store)
  const seed = { ...options, refreshToken: 'seed' }
  server.bind('seed', undefined)
  const first = refreshToken(seed)
  await first.getAccessToken()
  await change(withoutKeys)
  const before = server.requests.length
  const later = refreshToken({ ...seed, dpop: dpop() })
  expect(await rejection(later.getAccessToken())).toMatchObject({ code: 'session-ended' })
  expect(later.session).toMatchObject({ status: 'signedOut', ended: { reason: 'key-lost', origin: 'storage' } })
  expect(later.explain().at(-1)).toMatchObject({ event: 'ended', detail: 'key-lost' })
  expect(server.requests).toHaveLength(before)
  await first.getAccessToken({ rejectedToken: await first.getAccessToken() }) // it has the key in memory
  expect(first.session.status).toBe('signedIn')
})

test('a grant that can ask again does so with another key', async () => {
  const { store, change } = openStore()
  const { options } = optionsWith(store)
  await password({ ...options, ...ada }).getAccessToken()
  const lost = lastKey()
  await change(withoutKeys)
  const later = password({ ...options, ...ada, dpop: dpop() })
  await later.getAccessToken()
  expect(lastKey()).not.toBe(lost)
  expect(server.tokenRequests.at(-1)?.get('grant_type')).toBe('password')
  expect(later.explain().map(({ event }) => event)).not.toContain('ended')
  await later.getAccessToken({ rejectedToken: await later.getAccessToken() })
  expect(server.tokenRequests.at(-1)?.get('grant_type')).toBe('refresh_token')
})

test('a session that goes on with another key keeps no token of the last one', async () => {
  const { store, change } = openStore()
  const { options } = optionsWith(store)
  const first = password({ ...options, ...ada })
  await first.getAccessToken()
  await first.getAccessToken({ scope: 'other' })
  await change((record) => (record.refreshToken ? { ...record, version: record.version + 1 } : undefined))
  const later = password({ ...options, ...ada, dpop: dpop() })
  const token = await later.getAccessToken()
  server.bind(`refresh-token-${/\d+$/.exec(await later.getAccessToken({ scope: 'other' }))}`, 'nobody')
  await later.getAccessToken({ rejectedToken: token }) // the refresh token is refused, and the password asks again
  expect(server.tokenRequests.at(-1)?.get('grant_type')).toBe('password')
  const api = { url: 'https://api.example/', scope: 'other' }
  expect((await authenticatedFetch(later, { apis: api, fetch: server.fetch })(api.url)).status).toBe(200)
})

test.each(['nothing', 'another key', 'garbage'])('a key that is damaged (%s) is a lost one', async (damage) => {
  const { store, change } = openStore()
  const { options } = optionsWith(store)
  server.bind('seed', undefined)
  await refreshToken({ ...options, refreshToken: 'seed' }).getAccessToken()
  const other = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign', 'verify'])
  const pairs = { nothing: undefined, 'another key': other, garbage: { privateKey: 'x', publicKey: 7 } }
  await change(({ key, ...record }) => ({
    ...record,
    version: record.version + 1,
    ...(key && { key: { thumbprint: key.thumbprint, pair: Object(pairs)[damage] } }),
  }))
  const later = refreshToken({ ...options, refreshToken: 'seed', dpop: dpop() })
  expect(await rejection(later.getAccessToken())).toMatchObject({ code: 'session-ended' })
  expect(later.session).toMatchObject({ ended: { reason: 'key-lost' } })
})

test('where the store keeps no keys they live in memory, and that is said', async () => {
  const { store, records } = openStore(undefined)
  const { options, warnings } = optionsWith({ ...store, keys: undefined })
  server.bind('seed', undefined)
  const source = refreshToken({ ...options, refreshToken: 'seed' })
  await source.getAccessToken()
  const token = await source.getAccessToken({ rejectedToken: await source.getAccessToken() })
  expect((await records()).map(({ key }) => key)).toEqual([{ thumbprint: lastKey() }])
  expect(warnings).toEqual([expect.stringContaining('can keep no key')])
  const restarted = refreshToken({ ...options, refreshToken: 'seed', dpop: dpop() })
  expect(await rejection(restarted.getAccessToken())).toMatchObject({ code: 'session-ended' })
  expect(restarted.session).toMatchObject({ ended: { reason: 'key-lost' } })
  expect(await source.getAccessToken()).toBe(token) // whoever has the key goes on
})

test('where the store keeps no keys, grants that can ask again leave it alone', async () => {
  const { store, records } = openStore(undefined)
  const { options } = optionsWith({ ...store, keys: undefined })
  const sources = [1, 2].map(() => clientCredentials({ ...options, clientSecret: 's', dpop: dpop() }))
  const before = server.tokenRequests.length
  for (let call = 0; call < 3; call++) for (const source of sources) await source.getAccessToken()
  expect(server.tokenRequests.length - before).toBe(2)
  expect(await records()).toEqual([])
})

test('a store that fails costs no sign-in: the key lives in memory', async () => {
  const failing = () => Promise.reject(new Error('the disk is full'))
  const { options, warnings } = optionsWith({ ...memoryStore(), get: failing, replace: failing })
  const source = password({ ...options, ...ada })
  const token = await source.getAccessToken()
  await source.getAccessToken({ rejectedToken: token })
  expect(server.tokenRequests.at(-1)?.get('grant_type')).toBe('refresh_token')
  expect(warnings.length).toBeGreaterThan(0)
})

test('the authorization request names the key, pushed or not, and a page that is loaded anew redeems with it', async () => {
  for (const par of [undefined, pushedAuthorizationRequests()]) {
    const store = memoryStore()
    const app = startApp({ dpop: dpop(), par, store })
    await app.auth.login()
    const asked = par ? app.server.requests.at(-1)?.body : new URL(app.page.lastVisited).searchParams
    const jkt = asked?.get('dpop_jkt')
    expect(jkt).toMatch(/^[\w-]{43}$/)
    expect(app.server.requests.every(({ headers }) => !headers.has('dpop'))).toBe(true)
    const reloaded = startApp({ dpop: dpop(), store })
    await reloaded.auth.login()
    expect(new URL(reloaded.page.lastVisited).searchParams.get('dpop_jkt')).toBe(jkt)
  }
})

test('storage that was cleared meanwhile gets the key of the next login again', async () => {
  const { store, change } = openStore()
  const app = startApp({ dpop: dpop(), store })
  await app.auth.login()
  await change(() => undefined)
  await app.auth.login()
  const jkt = new URL(app.page.lastVisited).searchParams.get('dpop_jkt')
  const reloaded = startApp({ dpop: dpop(), store })
  await reloaded.auth.login()
  expect(new URL(reloaded.page.lastVisited).searchParams.get('dpop_jkt')).toBe(jkt)
})

test('the authorization request names no key that the login would come back without', async () => {
  const failing = () => Promise.reject(new Error('blocked'))
  const app = startApp({ dpop: dpop(), store: { ...memoryStore(), get: failing, replace: failing } })
  await app.auth.login()
  expect(new URL(app.page.lastVisited).searchParams.has('dpop_jkt')).toBe(false)
})

test.each([undefined, 'memory', 'structured', 'encrypted'] as const)(
  'where keys are kept so (%s), a login that may come back to another page names its key if that has it by then',
  async (keys) => {
    const store = { ...memoryStore(), keys }
    const elsewhere = { ...memoryTransactions(), inMemory: undefined }
    const [here, anywhere] = [memoryTransactions(), elsewhere].map((transactions) =>
      startApp({ dpop: dpop(), store, transactions }),
    )
    for (const app of [here, anywhere]) await app?.auth.login()
    const names = [here, anywhere].map((app) => new URL(`${app?.page.lastVisited}`).searchParams.has('dpop_jkt'))
    expect(names).toEqual([true, keys === 'structured' || keys === 'encrypted'])
    expect(memoryStore().keys).toBe('memory')
  },
)

test('a key that could not be made is made for the next login', async () => {
  const app = startApp({ dpop: dpop() })
  const busy = vi.spyOn(crypto.subtle, 'generateKey').mockRejectedValue(new DOMException('not now', 'OperationError'))
  expect(await rejection(app.auth.login())).toMatchObject({ name: 'OperationError' })
  busy.mockRestore()
  await app.auth.login()
  expect(app.page.visited).toHaveLength(1)
})

test('a session that has no key yet, because its first request failed, is not lost', async () => {
  const { store, records } = openStore()
  let isDown = true
  const fetch: typeof server.fetch = async (input, init) =>
    isDown && String(input).endsWith('/token') ? new Response(undefined, { status: 503 }) : server.fetch(input, init)
  const { options } = optionsWith(store, { fetch })
  server.bind('seed', undefined)
  await rejection(refreshToken({ ...options, refreshToken: 'seed' }).getAccessToken())
  expect((await records()).some(({ failures }) => failures)).toBe(true)
  isDown = false
  const later = refreshToken({ ...options, refreshToken: 'seed', dpop: dpop() })
  expect(await rejection(later.getAccessToken())).toMatchObject({ code: 'server-error', retryable: true })
  expect(later.session.status).toBe('signedIn')
})

test.each([{ version: {} }, { version: Number.NaN }, { version: 0 }])(
  'damage in the place of the key (%j) is written over, though it has no version',
  async (damage) => {
    const store = memoryStore()
    const { options, warnings } = optionsWith(store)
    const { issuer, clientId } = options
    const name = JSON.stringify([issuer, clientId, 'password', ada.username, 'DPoP'])
    await store.replace(name, undefined, damage as unknown as StoredRecord)
    await password({ ...options, ...ada }).getAccessToken()
    expect(warnings).toEqual([])
    expect(await store.get(name)).toMatchObject({ key: { thumbprint: lastKey() } })
  },
)
