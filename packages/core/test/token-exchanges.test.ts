import { memoryStore, type TokenExchangesOptions, type TokenManager, tokenExchanges } from '@keyturn/core'
import { expect, test, vi } from 'vitest'
import { ISSUER, MachineServer, onPlatform } from './machine-server.ts'
import { rejection } from './sign-in-server.ts'
import { expectNone } from './visible-secrets.ts'

const put = onPlatform()

/** A service that acts for many people, and an authorization server that knows some of them. */
function service(names: string[], options: Partial<TokenExchangesOptions> = {}, server = new MachineServer()) {
  put(server)
  for (const name of names) server.subjects.set(`token-of-${name}`, name)
  const exchanges = tokenExchanges({ issuer: ISSUER, clientId: 'service', clientSecret: 'secret', ...options })
  return { server, exchanges }
}

const people = Array.from({ length: 200 }, (_, index) => `person-${index}`)

test.each([
  ['memory alone', false],
  ['a store that all share', true],
])('callers never get each other’s tokens, however they interleave, with %s', async (_, isShared) => {
  const { server, exchanges } = service(people, isShared ? { store: memoryStore() } : {})
  let pending = 0
  server.instead = async () => {
    // Answers come in another order than requests.
    await new Promise((resolve) => setTimeout(resolve, (++pending * 7) % 13))
    return undefined
  }
  const calls = Array.from({ length: 5 }, () => people)
    .flat()
    .map(async (name) => {
      const source = exchanges.of(`token-of-${name}`)
      const { audience } = server.issued.get(await source.getAccessToken({ parameters: { audience: name } })) ?? {}
      expect(audience).toEqual([name])
      expect(server.issued.get(await source.getAccessToken())?.subject).toBe(name)
    })
  await Promise.all(calls)
  expect(server.requests).toHaveLength(2 * people.length)
  expect(server.discoveries).toBe(1)
  await exchanges[Symbol.asyncDispose]()
})

test('one token has one source, and who acts for somebody makes it another', async () => {
  const { server, exchanges } = service(['ada', 'eve', 'robot', 'service'])
  const plain = exchanges.of('token-of-ada')
  expect(exchanges.of('token-of-ada')).toBe(plain)
  expect(exchanges.of({ subjectToken: 'token-of-ada', actorToken: undefined })).toBe(plain)
  const subjectToken = 'token-of-ada'
  const others = [
    exchanges.of('token-of-eve'),
    exchanges.of({ subjectToken, subjectTokenType: 'jwt' }),
    exchanges.of({ subjectToken, actorToken: 'token-of-robot' }),
    exchanges.of({ subjectToken, actorToken: 'token-of-service' }),
    exchanges.of({ subjectToken, actorToken: 'token-of-robot', actorTokenType: 'jwt' }),
  ]
  expect(new Set([plain, ...others]).size).toBe(6)
  const tokens = await Promise.all([plain, ...others].map((source) => source.getAccessToken()))
  const issued = tokens.map((token) => server.issued.get(token))
  expect(issued.map((one) => one && [one.subject, one.actor])).toEqual([
    ['ada', undefined],
    ['eve', undefined],
    ['ada', undefined],
    ['ada', 'robot'],
    ['ada', 'service'],
    ['ada', 'robot'],
  ])
})

test('an actor, types and audience that are set once hold for all, and a call says otherwise', async () => {
  const { server, exchanges } = service(['ada', 'robot', 'service'], {
    actorToken: () => 'token-of-service',
    subjectTokenType: 'id_token',
    audience: 'orders',
  })
  const subjectToken = 'token-of-ada'
  const unset = { subjectToken, subjectTokenType: undefined, actorToken: undefined }
  const usual = server.issued.get(await exchanges.of(unset).getAccessToken())
  expect(usual).toEqual({ subject: 'ada', actor: 'service', audience: ['orders'], resource: [] })
  const other = server.issued.get(await exchanges.of({ subjectToken, actorToken: 'token-of-robot' }).getAccessToken())
  expect(other).toEqual({ subject: 'ada', actor: 'robot', audience: ['orders'], resource: [] })
  expect(server.requests.map(({ body }) => body.get('subject_token_type')?.split(':').at(-1))).toEqual([
    'id_token',
    'id_token',
  ])
})

test('a token that is refused is presented once, and nobody else notices', async () => {
  const { server, exchanges } = service(['ada'])
  const errors = await Promise.all(
    Array.from({ length: 1000 }, () => rejection(exchanges.of('expired').getAccessToken())),
  )
  expect(new Set(errors.map((error) => Object(error).code))).toEqual(new Set(['credentials-refused']))
  expect(await rejection(exchanges.of('expired').getAccessToken())).toMatchObject({ error: 'invalid_request' })
  expect(server.issued.get(await exchanges.of('token-of-ada').getAccessToken())?.subject).toBe('ada')
  expect(server.requests).toHaveLength(2)
})

test('a client secret that is refused is refused for all, and sent once', async () => {
  const { server, exchanges } = service(people)
  server.instead = () => Response.json({ error: 'invalid_client' }, { status: 401 })
  for (const name of people.slice(0, 20)) {
    expect(await rejection(exchanges.of(`token-of-${name}`).getAccessToken())).toMatchObject({ code: 'client-refused' })
  }
  expect(server.requests).toHaveLength(1)
})

test('five thousand sources are kept at most, and those that nobody asks for are let go after ten minutes', async () => {
  const { exchanges } = service([])
  const sources = Array.from({ length: 5000 }, (_, index) => exchanges.of(`token-${index}`))
  const [first, second, third] = sources
  expect(exchanges.of('token-0')).toBe(first) // which makes it the youngest
  expect(exchanges.of('token-1')).toBe(second)
  exchanges.of('one too many')
  expect(exchanges.of('token-0')).toBe(first)
  expect(exchanges.of('token-2')).not.toBe(third)

  const now = performance.now()
  const clock = vi.spyOn(performance, 'now')
  clock.mockReturnValue(now + 599_000)
  expect(exchanges.of('token-0')).toBe(first)
  clock.mockReturnValue(now + 601_000)
  exchanges.of('somebody else')
  expect(exchanges.of('token-0')).toBe(first) // asked for two seconds ago
  expect(exchanges.of('token-1')).not.toBe(second)
  clock.mockRestore()
})

test('nothing that is logged shows a token', async () => {
  const { exchanges } = service(['ada'])
  const source = exchanges.of({ subjectToken: 'token-of-ada', actorToken: 'token-of-ada' })
  const token = await source.getAccessToken()
  for (const shown of [exchanges, source, source.explain()]) expectNone(shown, ['token-of-ada', token])
})

test('nothing but tokens is taken from what comes with a request', async () => {
  const { server, exchanges } = service(['ada'])
  const more = { subjectToken: 'token-of-ada', audience: 'x', scope: 'admin', clientId: 'y', sessionKey: 'z' }
  const source = exchanges.of(more)
  expect(exchanges.of('token-of-ada')).toBe(source)
  expect(server.issued.get(await source.getAccessToken())).toEqual({ subject: 'ada', audience: [], resource: [] })
  expect(server.requests[0]?.authorization).toBe(`Basic ${btoa('service:secret')}`)
})

test('a store that cannot stop watching is told of, and breaks nothing', async () => {
  const warnings: string[] = []
  const watch = () => () => {
    throw new Error('no such listener')
  }
  const store = { ...memoryStore(), watch }
  const { exchanges } = service(['ada', 'eve'], { store, onWarning: (message) => warnings.push(message) })
  const now = performance.now()
  await exchanges.of('token-of-ada').getAccessToken()
  const clock = vi.spyOn(performance, 'now').mockReturnValue(now + 3_600_000)
  exchanges.of('token-of-eve')
  clock.mockRestore()
  await vi.waitFor(() => expect(warnings).toEqual(['A source is not disposed of: no such listener']))
})

test('who still has a source that was let go gets tokens from it', async () => {
  const { server, exchanges } = service(['ada'])
  const source = exchanges.of('token-of-ada')
  await exchanges[Symbol.asyncDispose]()
  expect(server.issued.get(await source.getAccessToken())?.subject).toBe('ada')
  expect(exchanges.of('token-of-ada')).not.toBe(source)
})

test('what is to be known is told once, not once for everybody', async () => {
  const warnings: string[] = []
  const store = {
    ...memoryStore(),
    get: () => Promise.reject(new Error('the disk is full')),
    lock: () => Promise.reject(new Error('the disk is full')),
  }
  const { exchanges } = service(people, { store, onWarning: (message) => warnings.push(message) })
  const tokens = await Promise.all(people.map((name) => exchanges.of(`token-of-${name}`).getAccessToken()))
  expect(new Set(tokens).size).toBe(people.length)
  expect(warnings.length).toBeGreaterThan(0)
  expect(warnings.length).toBe(new Set(warnings).size)
})

test.each<[string, unknown]>([
  ['nothing', undefined],
  ['an empty text', ''],
  ['an object without a token', {}],
  ['a function', { subjectToken: () => 'token-of-ada' }],
  ['an empty actor', { subjectToken: 'token-of-ada', actorToken: '' }],
])('%s is no token: that is refused at once', (_, subject) => {
  const { exchanges } = service(['ada'])
  expect(() => exchanges.of(subject as string)).toThrow(expect.objectContaining({ code: 'invalid-options' }))
})

test('options that cannot work are refused at once', () => {
  for (const options of [
    { dpop: () => ({}) },
    { clientId: '' },
    { store: {} },
    { flow: 'on_behalf_of', audience: 'x' },
  ]) {
    expect(() => service([], options as never)).toThrow(expect.objectContaining({ code: 'invalid-options' }))
  }
})

test('dpop that is given as undefined is none', async () => {
  const { exchanges } = service(['ada'], { dpop: undefined } as never)
  expect(await exchanges.of('token-of-ada').getAccessToken()).toBeTypeOf('string')
})

test('a source is a token manager: it can be revoked, and another exchange begins anew', async () => {
  const { server, exchanges } = service(['ada'])
  const source: TokenManager = exchanges.of('token-of-ada')
  const token = await source.getAccessToken()
  await source.revoke()
  expect(await source.getAccessToken()).not.toBe(token)
  expect(server.requests).toHaveLength(2)
})
