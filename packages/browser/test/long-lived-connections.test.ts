import { authenticatedEvents, authenticatedWebSocket, OAuthError, type TokenSource } from '@keyturn/browser'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { commands } from 'vitest/browser'
import { CountingSource } from '../../core/test/counting-source.ts'

let host: string
beforeAll(async () => {
  host = await commands.startConnections()
})
afterAll(() => commands.stopConnections())

test('a stream of events goes on where it was cut off, with another token where the last one is refused', async () => {
  const ids: string[] = []
  let opened = 0
  for await (const { data, lastEventId } of authenticatedEvents(new CountingSource(), {
    url: `http://${host}/events`,
    apis: `http://${host}/`,
    onOpen: () => void opened++,
  })) {
    expect(data).toBe('ünï')
    ids.push(lastEventId)
    if (ids.length === 2) break
  }
  expect([ids, opened]).toEqual([['1', '2'], 2])
  expect(await commands.connections()).toEqual([
    '127.0.0.1 /events Bearer token-1',
    '127.0.0.1 /events Bearer token-1 1',
    '127.0.0.1 /events Bearer token-2 1',
  ])
})

test('a stream that is redirected to another origin carries no token there', async () => {
  const apis = [`http://${host}/`, `http://localhost:${host.split(':')[1]}/`]
  for await (const { data } of authenticatedEvents(new CountingSource(), { url: `http://${host}/away`, apis })) {
    expect(data).toBe('ünï')
    break
  }
  expect(await commands.connections()).toEqual(['127.0.0.1 /away Bearer token-1', 'localhost /events'])
})

test('a WebSocket says its token in the first message, and another one where that is refused', async () => {
  const socket = authenticatedWebSocket(new CountingSource(), {
    url: `ws://${host}/live`,
    apis: `http://${host}/`,
    authenticate: (accessToken) => accessToken,
  })
  const told: unknown[] = []
  socket.addEventListener('open', () => void told.push('open'))
  socket.addEventListener('disconnect', ({ code }) => void told.push(code))
  await new Promise<void>((resolve) =>
    socket.addEventListener('message', ({ data }) => {
      told.push(data)
      resolve()
    }),
  )
  socket.addEventListener('close', ({ error }) => void told.push(error))
  socket.close()
  expect(told).toEqual(['open', 4401, 'open', 'welcome', undefined])
  expect(await commands.connections()).toEqual([
    ...['handshake /live', 'message token-1'],
    ...['handshake /live', 'message token-2'],
  ])
})

test('a WebSocket of a browser that would need headers is refused before anything is asked', async () => {
  const source = new CountingSource()
  const options = { url: `ws://${host}/live`, apis: `http://${host}/` }
  expect(() => authenticatedWebSocket(source, options)).toThrow(OAuthError)
  const bound: TokenSource = {
    getAccessToken: async () => 'bound',
    authorize: async () => ({ accessToken: 'bound', headers: { authorization: 'DPoP bound', dpop: 'proof' } }),
  }
  const socket = authenticatedWebSocket(bound, { ...options, authenticate: (accessToken) => accessToken })
  const { error } = await new Promise<{ error?: OAuthError | undefined }>((resolve) =>
    socket.addEventListener('close', resolve),
  )
  expect(error).toMatchObject({ code: 'invalid-options' })
  expect([source.asked, await commands.connections()]).toEqual([[], []])
})

test('a token that is no subprotocol ends it without showing it', async () => {
  const socket = authenticatedWebSocket(new CountingSource(), {
    url: `ws://${host}/live`,
    apis: `http://${host}/`,
    protocols: (accessToken) => [`no good ${accessToken}`],
  })
  const { error } = await new Promise<{ error?: OAuthError | undefined }>((resolve) =>
    socket.addEventListener('close', resolve),
  )
  expect(error).toMatchObject({ code: 'invalid-options', message: expect.stringContaining('SyntaxError') })
  expect(`${error?.stack}${JSON.stringify(error)}`).not.toContain('token-1')
})
