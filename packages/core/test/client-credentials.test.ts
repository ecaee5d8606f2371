import { authenticatedFetch, clientCredentials, memoryStore } from '@keyturn/core'
import { expect, test } from 'vitest'
import { testAuthorizationServer } from './authorization-server.ts'
import { elapse, movedTime, SECOND, sourceAt } from './renewal-harness.ts'
import { rejection } from './sign-in-server.ts'

movedTime()

const audiences = ['urn:a', 'urn:b']
const resources = ['https://a.example/', 'https://b.example/']
const scopes = ['read', 'write', 'read write']
const wishes = audiences.flatMap((audience) =>
  resources.flatMap((resource) => scopes.map((scope) => ({ parameters: { audience }, resource, scope }))),
)

test('each audience, resource and scope has one token, for all who share a store', async () => {
  const server = testAuthorizationServer()
  const { options } = sourceAt(server, { store: memoryStore() })
  const workers = Array.from({ length: 3 }, () => clientCredentials(options))
  const callers = Array.from({ length: 10 }, () => workers).flat()
  const tokens = await Promise.all(
    callers.map((worker) => Promise.all(wishes.map((wish) => worker.getAccessToken(wish)))),
  )
  expect(new Set(tokens.flat()).size).toBe(wishes.length)
  for (const own of tokens) expect(own).toEqual(tokens[0])
  expect(server.tokenRequests()).toHaveLength(wishes.length)
  const asked = server.tokenRequests().map(({ parameters }) => ({
    parameters: { audience: parameters.get('audience') },
    resource: parameters.get('resource'),
    scope: parameters.get('scope'),
  }))
  expect(asked).toEqual(expect.arrayContaining(wishes))
})

test('one API that is refused, or one token that an API refuses, holds up no other', async () => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server).options)
  const [first, second] = await Promise.all(
    audiences.map((audience) => source.getAccessToken({ parameters: { audience } })),
  )
  server.next([{ status: 400, body: { error: 'invalid_target' } }])
  expect(await rejection(source.getAccessToken({ parameters: { audience: 'urn:nothing' } }))).toMatchObject({
    code: 'request-refused',
    error: 'invalid_target',
  })
  const parameters = { audience: 'urn:a' }
  expect(await source.getAccessToken({ parameters, rejectedToken: first ?? '' })).not.toBe(first)
  expect(await source.getAccessToken({ parameters: { audience: 'urn:b' } })).toBe(second)
  expect(server.tokenRequests()).toHaveLength(4)
  await rejection(source.getAccessToken({ parameters: { audience: 'urn:nothing' } }))
  expect(server.tokenRequests()).toHaveLength(4) // not asked again at once
  await elapse(2 * SECOND)
  expect(await source.getAccessToken({ parameters: { audience: 'urn:nothing' } })).toBeTypeOf('string')
})

test('the address decides which audience, resource and scope a call goes with', async () => {
  const server = testAuthorizationServer()
  const source = clientCredentials(sourceAt(server, { scope: 'read' }).options)
  const sent: (string | null)[] = []
  const api = authenticatedFetch(source, {
    apis: [
      { url: 'https://a.example/', parameters: { audience: 'urn:a' } },
      { url: 'https://b.example/v1', resource: 'https://b.example/', scope: 'write' },
      'https://c.example/',
    ],
    fetch: async (input, init) => {
      sent.push(new Request(input, init).headers.get('authorization'))
      return new Response('')
    },
  })
  for (const url of ['https://a.example/1', 'https://b.example/v1/2', 'https://c.example/3', 'https://a.example/4']) {
    await api(url)
  }
  expect(sent[0]).toBe(sent[3])
  expect(new Set(sent).size).toBe(3)
  const asked = server
    .tokenRequests()
    .map(({ parameters: wish }) => [wish.get('audience'), wish.get('resource'), wish.get('scope')])
  expect(asked).toEqual([
    ['urn:a', null, 'read'],
    [null, 'https://b.example/', 'write'],
    [null, null, 'read'],
  ])
})
