import { inspect } from 'node:util'
import { authenticatedFetch, authorizationCode, clientCredentials, password, refreshToken } from '@keyturn/core'
import { expect, test } from 'vitest'
import { startApi } from '../../../examples/api/src/api.ts'
import { startAuthorizationServer } from '../../../examples/playground/src/authorization-server.ts'
import { signInOverHttp } from '../../../examples/playground/src/sign-in-over-http.ts'

test('smoke', async () => {
  let issuer = ''
  const orders = await startApi({ issuer: () => issuer, scope: 'api:read' })
  const invoices = await startApi({ issuer: () => issuer, scope: 'api:read' })
  const as = await startAuthorizationServer({
    apis: [orders.url, invoices.url],
    accessTokenTTL: 2,
    redirectUris: ['http://127.0.0.1:9/callback'],
  })
  issuer = as.issuer
  const worker = clientCredentials({
    issuer,
    clientId: 'worker',
    clientSecret: 'worker-secret',
    scope: 'api:read',
    resource: orders.url,
  })
  const tokens = await Promise.all(Array.from({ length: 1000 }, () => worker.getAccessToken()))
  expect(new Set(tokens).size).toBe(1)
  expect(as.tokenRequests()).toBe(1)
  console.log(worker.stats(), worker.session, inspect(worker))
  const api = authenticatedFetch(worker, { apis: [orders.url, { url: invoices.url, resource: invoices.url }] })
  expect((await api(orders.url)).status).toBe(200)
  expect((await api(invoices.url)).status).toBe(200)
  const cli = password({
    issuer,
    clientId: 'cli',
    username: 'ada',
    password: 'lovelace',
    scope: 'openid api:read offline_access',
  })
  console.log(await cli.getTokenSet(), cli.session)
  await new Promise((r) => setTimeout(r, 2100))
  await cli.getTokenSet()
  console.log(
    as.log.map((e) => [e.path, e.grantType, e.status, e.error].join(' ')),
    as.reuses,
  )
  const agent = {
    url: 'http://127.0.0.1:9/',
    navigate(u: string) {
      this.next = u
    },
    replaceUrl(u: string) {
      this.url = u
    },
    next: '',
  }
  const web = authorizationCode({
    issuer,
    clientId: 'web',
    clientSecret: 'web-secret',
    redirectUri: 'http://127.0.0.1:9/callback',
    scope: 'openid api:read',
    userAgent: agent,
  })
  await expect(web.getAccessToken()).rejects.toMatchObject({ name: 'LoginRequiredError' })
  await web.login({ appState: { deep: 1 } })
  agent.url = await signInOverHttp(agent.next, { username: 'ada', password: 'lovelace' })
  console.log(await Promise.all([web.handleCallback(), web.handleCallback()]), agent.url, web.session)
  console.log(web.explain(), await web.getTokenSet())
  await web.logout({ endSession: false })
  console.log(web.session)
  await as.stop()
  await orders.stop()
  await invoices.stop()
})
