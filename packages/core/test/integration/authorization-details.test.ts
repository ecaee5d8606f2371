import { authorizationCode, authorizationDetails, clientCredentials } from '@keyturn/core'
import { expect, test } from 'vitest'
import { signInOverHttp } from '../../../../examples/playground/src/sign-in-over-http.ts'
import { FakePage } from '../sign-in-server.ts'
import { pause, REDIRECT_URI, startWorld } from './world.ts'

const payment = (amount: string) => ({ type: 'payment', actions: ['initiate'], amount })

test('a machine is granted the authorization details that it asks for, each with a token of its own', async () => {
  const { issuer } = await startWorld()
  const source = clientCredentials({
    issuer,
    clientId: 'worker',
    clientSecret: 'worker-secret',
    parameters: authorizationDetails(payment('1')),
  })
  const own = await source.getTokenSet()
  expect(own.authorizationDetails).toEqual([payment('1')])
  const other = await source.getTokenSet({ parameters: authorizationDetails(payment('2'), payment('3')) })
  expect(other.authorizationDetails).toEqual([payment('2'), payment('3')])
  expect(other.accessToken).not.toBe(own.accessToken)
  expect((await source.getTokenSet()).accessToken).toBe(own.accessToken)
  expect(source.stats().tokenRequests).toBe(2)
})

test('a person grants authorization details at the login, and they outlive a renewal', async () => {
  const { issuer, orders } = await startWorld({ accessTokenTTL: 1 })
  const page = new FakePage('http://127.0.0.1:9/')
  const auth = authorizationCode({
    issuer,
    clientId: 'web',
    clientSecret: 'web-secret',
    redirectUri: REDIRECT_URI,
    scope: 'openid api:read',
    resource: orders.url,
    userAgent: page,
  })
  await auth.login({ parameters: authorizationDetails(payment('7')) })
  page.url = await signInOverHttp(page.lastVisited, { username: 'ada', password: 'lovelace' })
  await auth.handleCallback()
  const first = await auth.getTokenSet()
  expect(first.authorizationDetails).toEqual([payment('7')])
  await pause(1050)
  const second = await auth.getTokenSet()
  expect(second.accessToken).not.toBe(first.accessToken)
  expect(second.authorizationDetails).toEqual([payment('7')])
})
