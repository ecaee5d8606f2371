import { jwtAssertion, jwtBearer, memoryStore, tokenExchange, tokenExchanges } from '@keyturn/core'
import { exportPKCS8, generateKeyPair } from 'jose'
import { expect, test } from 'vitest'
import { rejection } from '../sign-in-server.ts'
import { JWT_BEARER, startMachineProvider, TOKEN_EXCHANGE } from './machine-provider.ts'
import { startNodeOAuthServer } from './node-oauth-server.ts'
import { REDIRECT_URI } from './world.ts'

const service = { clientId: 'service', clientSecret: 'a-secret-of-the-service' } as const

test('a service acts for many people at once: each exchange is whose it is, and for what it is', async () => {
  const { issuer, tokenOf, about, seen } = await startMachineProvider()
  const exchanges = tokenExchanges({ issuer, ...service, scope: 'read', store: memoryStore() })
  const people = Array.from({ length: 30 }, (_, index) => `person-${index}`)
  const tokens = new Map(await Promise.all(people.map(async (name) => [name, await tokenOf(name)] as const)))
  const calls = [...people, ...people].map(async (name) => {
    const source = exchanges.of(tokens.get(name) ?? '')
    expect(await about(await source.getAccessToken({ resource: 'urn:invoices', scope: 'write' }))).toEqual({
      sub: name,
      aud: 'urn:invoices',
      scope: 'write',
    })
    expect(await about(await source.getAccessToken())).toEqual({ sub: name, aud: 'urn:orders', scope: 'read' })
  })
  await Promise.all(calls)
  expect(seen).toHaveLength(2 * people.length)
  expect(new Set(seen)).toEqual(new Set([TOKEN_EXCHANGE]))
  await exchanges[Symbol.asyncDispose]()
})

test('the token says who acts, and a dead subject or actor token is refused, once', async () => {
  const { issuer, tokenOf, revoke, about, seen } = await startMachineProvider()
  const subjectToken = await tokenOf('ada')
  const actorToken = await tokenOf('robot')
  const exchanges = tokenExchanges({ issuer, ...service })
  const source = exchanges.of({ subjectToken, actorToken })
  const token = await source.getAccessToken()
  expect(await about(token)).toEqual({ sub: 'ada', act: { sub: 'robot' }, aud: 'urn:orders', scope: 'read' })
  await revoke(actorToken)
  for (let call = 0; call < 3; call++) {
    expect(await rejection(source.getAccessToken({ resource: 'urn:invoices' }))).toMatchObject({
      code: 'credentials-refused',
      error: 'invalid_request',
      errorDescription: 'subject or actor token is not good',
    })
  }
  expect(await about(await exchanges.of(subjectToken).getAccessToken())).toMatchObject({ sub: 'ada', act: undefined })
  expect(seen).toHaveLength(3)
})

test('a public client exchanges, one that may not is told so, and so is who names an API that nobody knows', async () => {
  const { issuer, tokenOf, about } = await startMachineProvider()
  const subjectToken = await tokenOf('ada')
  const tool = tokenExchange({ issuer, clientId: 'tool', subjectToken, audience: 'urn:invoices' })
  expect(await about(await tool.getAccessToken())).toMatchObject({ sub: 'ada', aud: 'urn:invoices' })
  const barred = tokenExchange({ issuer, ...service, clientId: 'barred', subjectToken })
  expect(await rejection(barred.getAccessToken())).toMatchObject({
    code: 'credentials-refused',
    error: 'invalid_request', // which is what oidc-provider says of a grant that the client may not use
    errorDescription: expect.stringContaining('grant type'),
    fix: expect.stringContaining('the client may exchange'),
  })
  const lost = tokenExchange({ issuer, ...service, subjectToken, audience: ['urn:nothing'] })
  expect(await rejection(lost.getAccessToken())).toMatchObject({ code: 'request-refused', error: 'invalid_target' })
})

test('an assertion that is signed here opens an authorization server of other people, once each', async () => {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  const { issuer, about, seen } = await startMachineProvider({ 'https://idp.example': publicKey })
  const assertion = jwtAssertion(await exportPKCS8(privateKey), { issuer: 'https://idp.example', subject: 'ada' })
  const source = jwtBearer({ issuer, ...service, assertion, scope: 'read' })
  const tokens = await Promise.all(Array.from({ length: 20 }, () => source.getAccessToken()))
  expect(new Set(tokens).size).toBe(1)
  expect(await about(tokens[0] ?? '')).toMatchObject({ sub: 'ada', scope: 'read' })
  expect(await source.getAccessToken({ rejectedToken: tokens[0] ?? '' })).not.toBe(tokens[0])
  expect(seen).toEqual([JWT_BEARER, JWT_BEARER])
  const stranger = jwtBearer({ issuer, ...service, assertion: jwtAssertion(privateKey) })
  expect(await rejection(stranger.getAccessToken())).toMatchObject({
    code: 'credentials-refused',
    error: 'invalid_grant',
  })
})

test('another authorization server takes the same assertions, of a client that only names itself', async () => {
  const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true })
  const server = await startNodeOAuthServer({ redirectUri: REDIRECT_URI, assertionKey: publicKey })
  const { issuer, metadata } = server
  const options = { issuer, metadata, discovery: false, clientAuthentication: 'none' } as const
  const source = jwtBearer({ ...options, clientId: 'robot', scope: 'orders', assertion: jwtAssertion(privateKey) })
  const token = await source.getAccessToken()
  expect(await server.accepts(token)).toBe(true)
  expect(await source.getAccessToken()).toBe(token)
  const another = await generateKeyPair('RS256')
  const wrong = jwtBearer({ ...options, clientId: 'robot', assertion: jwtAssertion(another.privateKey) })
  expect(await rejection(wrong.getAccessToken())).toMatchObject({ code: 'credentials-refused', error: 'invalid_grant' })
  expect(server.seen.map(({ grantType, status }) => [grantType, status])).toEqual([
    [JWT_BEARER, 200],
    [JWT_BEARER, 400],
  ])
})
