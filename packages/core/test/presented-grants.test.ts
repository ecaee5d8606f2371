import { type JwtBearerOptions, jwtAssertion, jwtBearer, tokenExchange } from '@keyturn/core'
import { generateKeyPair } from 'jose'
import { expect, test } from 'vitest'
import { ISSUER, JWT_BEARER, MachineServer, TOKEN_ENDPOINT } from './machine-server.ts'
import { elapse, HOUR, MINUTE, movedTime, SECOND, timersNeverFire } from './renewal-harness.ts'
import { rejection } from './sign-in-server.ts'

movedTime()

const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })

function machine(options: Partial<JwtBearerOptions> = {}) {
  const server = new MachineServer()
  const client = {
    issuer: ISSUER,
    discovery: false,
    metadata: { token_endpoint: TOKEN_ENDPOINT },
    fetch: server.fetch,
    clientId: 'robot',
  } as const
  const source = jwtBearer({ ...client, assertion: jwtAssertion(privateKey), ...options })
  return { server, client, source }
}

test('an assertion that was refused is not presented again for a minute, whoever asks', async () => {
  const { server, source } = machine({ assertion: () => 'a.refused.jwt' })
  const errors = await Promise.all(Array.from({ length: 1000 }, () => rejection(source.getAccessToken())))
  expect(new Set(errors.map((error) => Object(error).code))).toEqual(new Set(['credentials-refused']))
  for (let seconds = 0; seconds < 59; seconds++) {
    expect(await rejection(source.getAccessToken())).toMatchObject({ code: 'credentials-refused' })
    await elapse(SECOND)
  }
  expect(server.requests).toHaveLength(1)
  expect(source.stats().failures).toBe(1)
  await elapse(2 * SECOND)
  server.trusted.set('robot', publicKey) // the server is mended; the assertion is as bad as before
  await rejection(source.getAccessToken())
  expect(server.requests).toHaveLength(2)
})

test('another assertion than the refused one is presented at once', async () => {
  let jwt = 'an.expired.jwt'
  const signed = jwtAssertion(privateKey)
  const { server, source } = machine({ assertion: (request) => jwt || signed(request) })
  server.trusted.set('robot', publicKey)
  await rejection(source.getAccessToken())
  jwt = ''
  expect(server.issued.has(await source.getAccessToken())).toBe(true)
  expect(server.requests.map(({ error }) => error)).toEqual(['invalid_grant', undefined])
})

test('assertions that are signed anew, and refused each time, are presented more and more slowly, and not even signed', async () => {
  let signatures = 0
  const signer = {
    alg: 'ES256',
    sign: async () => {
      signatures++
      return new Uint8Array(64)
    },
  }
  const { server, source } = machine({ assertion: jwtAssertion(signer) })
  for (let second = 0; second < 600; second++) {
    expect(await rejection(source.getAccessToken())).toMatchObject({ code: 'credentials-refused' })
    await elapse(SECOND, SECOND)
  }
  // At once, 1, 2, 4, … 64, 120, 120 seconds apart.
  expect(server.requests.length).toBeLessThanOrEqual(12)
  expect(server.requests.length).toBeGreaterThanOrEqual(9)
  expect(signatures).toBe(server.requests.length)
})

test('a refusal for one scope does not hold up another', async () => {
  const { server, source } = machine({ assertion: () => 'a.refused.jwt' })
  await rejection(source.getAccessToken({ scope: 'a' }))
  await rejection(source.getAccessToken({ scope: 'a' }))
  await rejection(source.getAccessToken({ scope: 'b' }))
  expect(server.requests.map(({ body }) => body.get('scope'))).toEqual(['a', 'b'])
})

test('a success ends what was remembered of refusals', async () => {
  const { server, source } = machine()
  server.more = { expires_in: 10 }
  await rejection(source.getAccessToken())
  server.trusted.set('robot', publicKey)
  await source.getAccessToken()
  server.trusted.clear()
  await elapse(11 * SECOND)
  // The first one at once, the next one too, the third only later.
  for (const expected of [3, 4, 4]) {
    await rejection(source.getAccessToken())
    expect(server.requests).toHaveLength(expected)
  }
})

test('a token that is valid is handed out though what it was given for is refused by now', async () => {
  const { server, client } = machine()
  server.subjects.set('subject', 'ada')
  const source = tokenExchange({ ...client, subjectToken: () => 'subject' })
  const token = await source.getAccessToken()
  server.subjects.clear()
  await elapse(HOUR - 5 * SECOND, MINUTE)
  for (let call = 0; call < 100; call++) expect(await source.getAccessToken()).toBe(token)
  await elapse(6 * SECOND)
  expect(await rejection(source.getAccessToken())).toMatchObject({
    code: 'credentials-refused',
    error: 'invalid_request',
  })
  expect(server.requests.length).toBeLessThanOrEqual(3)
})

test.each([3 * HOUR, -3 * HOUR])(
  'a clock that is wrong by %d ms costs one request, and no caller notices',
  async (wrong) => {
    timersNeverFire()
    const { server, source } = machine()
    server.trusted.set('robot', publicKey)
    server.ahead = wrong
    expect(server.issued.get(await source.getAccessToken())?.subject).toBe('robot')
    expect(server.requests.map(({ error }) => error)).toEqual(['invalid_grant', undefined])
    await elapse(HOUR, MINUTE)
    await source.getAccessToken()
    expect(server.requests).toHaveLength(3)
  },
)

test('a server that tells a wrong time is believed only where nothing else explains a refusal, and then for one request', async () => {
  timersNeverFire()
  const { server, source } = machine()
  server.trusted.set('robot', publicKey)
  server.lies = 3 * HOUR
  for (let hour = 0; hour < 2; hour++) {
    await source.getAccessToken()
    await elapse(HOUR, MINUTE)
  }
  expect(server.requests).toHaveLength(2)
  server.trusted.clear()
  await rejection(source.getAccessToken())
  expect(server.requests).toHaveLength(4)
  server.trusted.set('robot', publicKey)
  await source.getAccessToken()
  expect(server.requests.map(({ error }) => error)).toEqual([
    undefined,
    undefined,
    'invalid_grant',
    'invalid_grant',
    undefined,
  ])
})

test('a signer elsewhere is told the time of the server, too; what others have issued is not sent twice', async () => {
  timersNeverFire()
  const { subtle } = crypto
  const sign = (input: Uint8Array<ArrayBuffer>) => subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, privateKey, input)
  const { server, source } = machine({ assertion: jwtAssertion({ alg: 'ES256', sign }) })
  server.trusted.set('robot', publicKey)
  server.ahead = 3 * HOUR
  expect(server.issued.get(await source.getAccessToken())?.subject).toBe('robot')
  const other = machine({ assertion: () => 'a.refused.jwt' })
  other.server.ahead = 3 * HOUR
  await rejection(other.source.getAccessToken())
  expect(other.server.requests).toHaveLength(1)
})

test('an outage is no refusal: it is backed off from, and the same token is presented again', async () => {
  const { server, client } = machine()
  server.subjects.set('subject', 'ada')
  server.instead = () => new Response(null, { status: 503 })
  const source = tokenExchange({ ...client, subjectToken: 'subject' })
  expect(await rejection(source.getAccessToken())).toMatchObject({ code: 'server-error', retryable: true })
  await rejection(source.getAccessToken())
  expect(server.requests).toHaveLength(1)
  server.instead = () => undefined
  await elapse(2 * SECOND)
  expect(server.issued.get(await source.getAccessToken())?.subject).toBe('ada')
})

test('a refresh token that comes with a token for an assertion is used, with the client named; when it is dead the assertion serves', async () => {
  timersNeverFire() // keys sign at a pace that a moved clock does not know
  const { server, source } = machine()
  server.trusted.set('robot', publicKey)
  server.refreshable = true
  await source.getAccessToken()
  await elapse(HOUR, MINUTE)
  await source.getAccessToken()
  expect(server.requests.map(({ grantType }) => grantType)).toEqual([JWT_BEARER, 'refresh_token'])
  expect(server.requests[1]?.body.get('client_id')).toBe('robot')
  server.forgetRefreshTokens()
  await elapse(HOUR, MINUTE)
  expect(server.issued.get(await source.getAccessToken())).toMatchObject({ subject: 'robot' })
  expect(server.asked(JWT_BEARER)).toHaveLength(2)
})

test('a refresh token that comes with an exchange outlives the subject token, and ends with a refusal of both', async () => {
  const { server, client } = machine()
  server.subjects.set('subject', 'ada')
  server.refreshable = true
  const source = tokenExchange({ ...client, subjectToken: 'subject' })
  await source.getAccessToken()
  server.subjects.clear()
  await elapse(HOUR, MINUTE)
  expect(server.issued.get(await source.getAccessToken())?.subject).toBe('ada')
  expect(server.requests.at(-1)?.grantType).toBe('refresh_token')
  server.forgetRefreshTokens()
  await elapse(HOUR, MINUTE)
  const refused = { code: 'credentials-refused', error: 'invalid_request' }
  expect(await rejection(source.getAccessToken())).toMatchObject(refused)
  const before = server.requests.length
  for (let call = 0; call < 3; call++) expect(await rejection(source.getAccessToken())).toMatchObject(refused)
  expect(server.requests).toHaveLength(before)
  expect(server.asked('refresh_token')).toHaveLength(2) // the second one is refused, and not presented again
})
