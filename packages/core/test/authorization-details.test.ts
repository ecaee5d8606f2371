import { authorizationDetails, clientCredentials, memoryStore } from '@keyturn/core'
import { expect, test } from 'vitest'

const ISSUER = 'https://as.example'

function source(answer: unknown, store = memoryStore()) {
  return clientCredentials({
    issuer: ISSUER,
    clientId: 'worker',
    clientSecret: 'secret',
    discovery: false,
    metadata: { token_endpoint: `${ISSUER}/token` },
    store,
    fetch: async () =>
      Response.json({ access_token: 'token', token_type: 'Bearer', expires_in: 300, authorization_details: answer }),
  })
}

test('authorization details become one parameter, and are typed', () => {
  const parameters = authorizationDetails({ type: 'payment', amount: 1 }, { type: 'account', actions: ['read'] })
  expect(Object.keys(parameters)).toEqual(['authorization_details'])
  expect(JSON.parse(parameters.authorization_details)).toEqual([
    { type: 'payment', amount: 1 },
    { type: 'account', actions: ['read'] },
  ])
  // @ts-expect-error a detail has a type
  expect(() => authorizationDetails({ amount: 1 })).toThrow(expect.objectContaining({ code: 'invalid-options' }))
  expect(() => authorizationDetails()).toThrow(expect.objectContaining({ fix: expect.stringContaining('type') }))
})

test('what was granted is told, also by the store to the next process', async () => {
  const store = memoryStore()
  const granted = [{ type: 'payment', amount: 1 }]
  expect((await source(granted, store).getTokenSet()).authorizationDetails).toEqual(granted)
  const next = source('not asked', store)
  expect((await next.getTokenSet()).authorizationDetails).toEqual(granted)
  expect(next.stats().tokenRequests).toBe(0)
})

test.each<[string, unknown]>([
  ['a text', 'payment'],
  ['null', null],
  ['one detail outside of a list', { type: 'payment' }],
  ['a list with something else in it', [{ type: 'payment' }, null]],
  ['details without a type', [{ amount: 1 }]],
  ['a type that is no text', [{ type: 1 }]],
])('a server that grants %s has granted no details, and its token is good', async (_, answer) => {
  const tokenSet = await source(answer).getTokenSet()
  expect(tokenSet.accessToken).toBe('token')
  expect(tokenSet.authorizationDetails).toBeUndefined()
})
