import { clientCredentials, type Issued, type SourceOptions, TokenManager } from '@keyturn/core'
import { expect, test } from 'vitest'
import { testAuthorizationServer } from './authorization-server.ts'
import { elapse, HOUR, movedTime, outcome, SECOND, sourceAt, turns } from './renewal-harness.ts'

movedTime()

/** Somebody who can sign in at any time. */
class Person extends TokenManager {
  constructor(options: SourceOptions) {
    const kind = { name: 'person', oneSession: true, asksAgain: false }
    super(() => Promise.reject(new Error('only by sign-in')), options, kind)
  }
  signIn(accessToken: string, refreshToken: string): Promise<void> {
    const issuedAt = Date.now()
    const tokens: Issued = { accessToken, refreshToken, tokenType: 'Bearer', issuedAt, expiresAt: issuedAt + HOUR }
    return this.begin(tokens)
  }
}

/** A server whose answers to refreshes are on their way until they are let go. */
function slowAnswers() {
  const server = testAuthorizationServer()
  const { promise: held, resolve: release } = Promise.withResolvers<void>()
  const revoked: (string | null)[] = []
  const fetch: typeof server.fetch = async (input, init) => {
    const parameters = new URLSearchParams(`${init?.body}`)
    const response = await server.fetch(input, init)
    if (`${input}`.endsWith('/revoke')) revoked.push(parameters.get('token'))
    if (parameters.get('grant_type') === 'refresh_token') await held
    return response
  }
  return { server, release, revoked, ...sourceAt(server, { fetch }) }
}

test('what a refresh brings after a sign-out and the next sign-in is revoked, and the new session goes on', async () => {
  const { server, release, revoked, options } = slowAnswers()
  const source = new Person(options)
  await source.signIn('of before', server.newRefreshToken())
  const late = outcome(source.getAccessToken({ rejectedToken: 'of before' }))
  await elapse(SECOND)
  void source.revoke()
  await elapse(SECOND)
  await source.signIn('of now', 'refresh token of now')
  release()
  await elapse(SECOND)
  expect((await late).value).toBe('of now')
  expect(revoked).toEqual(['refresh-token-1', 'refresh-token-2'])
  expect(await source.getAccessToken()).toBe('of now')
})

test('an access token without a refresh token that comes after the sign-out is revoked too', async () => {
  const server = testAuthorizationServer()
  const { options } = sourceAt(server)
  const source = clientCredentials(options)
  server.next([{ delay: SECOND }])
  const late = outcome(source.getAccessToken())
  await turns(5)
  await source.revoke()
  await elapse(2 * SECOND)
  expect((await late).error).toMatchObject({ code: 'session-ended' })
  expect(server.accepts('access-token-1')).toBe(false)
})
