import { type ClientCredentialsOptions, clientCredentials, memoryStore, OAuthError } from '@keyturn/core'
import { expect, test, vi } from 'vitest'
import { elapse, HOUR, MINUTE, movedTime, SECOND } from './renewal-harness.ts'

movedTime()

let issued = 0
let clients = 0
/** A client that no other test has bought for. */
const newClient = () => `client ${++clients}`

function source(options: Partial<ClientCredentialsOptions> & { clientId: string }) {
  return clientCredentials({
    issuer: 'https://as.example',
    discovery: false,
    metadata: { token_endpoint: 'https://as.example/token' },
    fetch: async () =>
      Response.json({ access_token: `token ${++issued}`, token_type: 'Bearer', expires_in: HOUR / SECOND }),
    ...options,
  })
}

test('a new source for every call is told, once, with what to do instead', async () => {
  const onWarning = vi.fn()
  const clientId = newClient()
  for (let call = 0; call < 9; call++) await source({ clientId, onWarning }).getAccessToken()
  expect(onWarning).not.toHaveBeenCalled()
  for (let call = 0; call < 91; call++) await source({ clientId, onWarning }).getAccessToken()
  expect(onWarning.mock.calls).toEqual([
    [expect.stringMatching(/^10 sources of client .* Make one source, and keep it/)],
  ])
})

test('one source that is kept, sources of other tokens, other sessions or other clients, and sources that share a store, are no waste', async () => {
  const onWarning = vi.fn()
  const clientId = newClient()
  const kept = source({ clientId, onWarning })
  for (let call = 0; call < 30; call++) await kept.getAccessToken({ scope: `scope:${call}` })
  const other = newClient()
  for (let call = 0; call < 30; call++) {
    await source({ clientId: other, onWarning, scope: `scope:${call}` }).getAccessToken()
    await source({ clientId: other, onWarning, parameters: { audience: `${call}` } }).getAccessToken()
    await source({ clientId: other, onWarning, sessionKey: `tenant ${call}` }).getAccessToken()
    await source({ clientId: newClient(), onWarning }).getAccessToken()
  }
  const store = memoryStore()
  for (let call = 0; call < 30; call++) await source({ clientId: newClient(), store, onWarning }).getAccessToken()
  const shared = newClient()
  for (let call = 0; call < 30; call++) await source({ clientId: shared, store, onWarning }).getAccessToken()
  expect(onWarning).not.toHaveBeenCalled()
})

test('a source that renews its token ahead of its end, as it should, is no waste', async () => {
  const onWarning = vi.fn()
  const clientId = newClient()
  const kept = source({ clientId, onWarning })
  const other = source({ clientId, onWarning })
  for (let minute = 0; minute < 15 * 60; minute++) {
    await Promise.all([kept.getAccessToken(), other.getAccessToken()])
    await elapse(MINUTE, MINUTE)
  }
  expect(kept.stats().tokensBought).toBeGreaterThanOrEqual(15)
  expect(onWarning).not.toHaveBeenCalled()
})

test('a source that is made anew when the token of the last one has ended is no waste', async () => {
  const onWarning = vi.fn()
  const clientId = newClient()
  for (let start = 0; start < 30; start++) {
    await source({ clientId, onWarning }).getAccessToken()
    await elapse(HOUR + SECOND, HOUR)
  }
  expect(onWarning).not.toHaveBeenCalled()
})

test('a budget that is passed is told once in its time, whichever sources of the client have bought', async () => {
  const onWarning = vi.fn()
  const clientId = newClient()
  const budget = { tokens: 3, per: MINUTE }
  const buy = async (times: number) => {
    for (let nth = 0; nth < times; nth++) {
      await source({ clientId, onWarning, budget, scope: `scope:${++issued}` }).getAccessToken()
    }
  }
  await buy(3)
  expect(onWarning).not.toHaveBeenCalled()
  await buy(1)
  expect(onWarning.mock.calls).toEqual([
    [`Client ${clientId} has bought more than 3 tokens within 60000 ms: its budget is passed`],
  ])
  await buy(5)
  expect(onWarning).toHaveBeenCalledTimes(1)
  await elapse(MINUTE, MINUTE)
  await buy(3)
  expect(onWarning).toHaveBeenCalledTimes(1)
  await buy(1)
  expect(onWarning).toHaveBeenCalledTimes(2)
})

test('what a source buys again counts for its budget; what it serves from memory and what fails does not', async () => {
  const onWarning = vi.fn()
  const clientId = newClient()
  let fails = true
  const kept = source({
    clientId,
    onWarning,
    budget: { tokens: 2, per: 10 * HOUR },
    fetch: async () => {
      if (fails) return Response.json({ error: 'invalid_scope' }, { status: 400 })
      return Response.json({ access_token: `token ${++issued}`, token_type: 'Bearer', expires_in: HOUR / SECOND })
    },
  })
  for (let call = 0; call < 5; call++) await kept.getAccessToken({ scope: `${call}` }).catch(() => {})
  fails = false
  for (let hour = 0; hour < 3; hour++) {
    for (let call = 0; call < 100; call++) await kept.getAccessToken()
    expect(onWarning).toHaveBeenCalledTimes(hour === 2 ? 1 : 0)
    await elapse(HOUR + SECOND, HOUR)
  }
})

test('a listener for warnings that throws costs no token', async () => {
  vi.spyOn(console, 'warn').mockImplementation(() => {})
  const clientId = newClient()
  const onWarning = () => {
    throw new Error('the log is full')
  }
  const budget = { tokens: 1, per: MINUTE }
  for (let call = 0; call < 12; call++) {
    expect(await source({ clientId, onWarning, budget }).getAccessToken()).toMatch(/^token/)
  }
})

test('a budget that is none is refused at once', () => {
  for (const budget of [
    { tokens: 0, per: MINUTE },
    { tokens: 5, per: -1 },
    { tokens: Number.NaN, per: MINUTE },
  ]) {
    expect(() => source({ clientId: newClient(), budget })).toThrow(OAuthError)
  }
})

test('who is served what others bought has bought nothing, and no token of its own served a call', async () => {
  const clientId = newClient()
  const store = memoryStore()
  await source({ clientId, store }).getAccessToken()
  const served = source({ clientId, store })
  await served.getAccessToken()
  expect(served.stats()).toMatchObject({ tokensBought: 0, tokensServedFromMemory: 1, callsPerToken: 0 })
})

test('stats tell what was bought, and how many calls each token served', async () => {
  const kept = source({ clientId: newClient() })
  expect(kept.stats()).toMatchObject({ tokensBought: 0, callsPerToken: 0 })
  for (let hour = 0; hour < 2; hour++) {
    for (let call = 0; call < 100; call++) await kept.getAccessToken()
    await elapse(HOUR + SECOND, HOUR)
  }
  // The first call of each has waited for it.
  expect(kept.stats()).toMatchObject({ tokensBought: 2, tokensServedFromMemory: 198, callsPerToken: 99 })
})

test('who has bought no token, for the store had one, has no calls per token', async () => {
  const options = { clientId: newClient(), store: memoryStore() }
  await source(options).getAccessToken()
  const next = source(options)
  await next.getAccessToken()
  expect(next.stats()).toMatchObject({ tokensBought: 0, tokensServedFromMemory: 1, callsPerToken: 0 })
})
