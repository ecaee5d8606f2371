import { once } from 'node:events'
import { createServer, type IncomingMessage, request } from 'node:http'
import { text } from 'node:stream/consumers'
import {
  type AccessTokenVerifierOptions,
  accessTokenVerifier,
  authenticatedFetch,
  clientCredentials,
  dpop,
  VerificationError,
} from '@keyturn/node'
import express from 'express'
import { Hono } from 'hono'
import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import {
  type AuthorizationServerOptions,
  startAuthorizationServer,
} from '../../../../examples/playground/src/authorization-server.ts'

const AUDIENCE = 'urn:orders'

afterEach(() => {
  vi.useRealTimers()
})

/** The real authorization server, a client of it, and an API over plain `node:http`. */
async function start(options: Partial<AccessTokenVerifierOptions> = {}, more: AuthorizationServerOptions = {}) {
  const server = await startAuthorizationServer({ apis: [AUDIENCE], accessTokenTTL: 600, ...more })
  const { issuer } = server
  const verifier = accessTokenVerifier({ issuer, audience: AUDIENCE, ...options })
  const seen: { error?: unknown; claims?: unknown } = {}
  const url = await listening(
    createServer(async (incoming, response) => {
      try {
        seen.claims = await verifier.verify(incoming)
        response.end('served')
      } catch (error) {
        seen.error = error
        if (!(error instanceof VerificationError)) throw error
        response.writeHead(error.status, error.headers).end()
      }
    }),
  )
  onTestFinished(() => server.stop())
  const client = { issuer, clientId: 'worker', clientSecret: 'worker-secret', scope: 'api:read', resource: AUDIENCE }
  return { server, issuer, verifier, url, seen, client }
}

async function listening(server: ReturnType<typeof createServer>): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  return `http://127.0.0.1:${Object(server.address()).port}/orders`
}

/** What is answered to headers that fetch would not send. */
async function raw(url: string, headers: string[], path = '/orders'): Promise<IncomingMessage> {
  const { hostname, port } = new URL(url)
  const sent = request({ hostname, port, path, headers: ['Host', `${hostname}:${port}`, ...headers] })
  sent.end()
  const [answer] = await once(sent, 'response')
  await text(answer)
  return answer
}

test('a JWT of a real server opens an API over node:http, for the scope that it has', async () => {
  const { url, seen, client, verifier } = await start({ scope: 'api:read' })
  const source = clientCredentials(client)
  const api = authenticatedFetch(source, { apis: url })
  expect(await (await api(url)).text()).toBe('served')
  expect(seen.claims).toMatchObject({ aud: AUDIENCE, client_id: 'worker', scope: 'api:read' })
  const headers = { authorization: `Bearer ${await source.getAccessToken()}` }
  const standard = new Request(url, { headers })
  expect(await verifier.verify(standard)).toEqual(seen.claims)
  await expect(verifier.verify(standard, { scope: 'api:write' })).rejects.toMatchObject({ status: 403 })
})

test('a caller without a token is told how to bring one', async () => {
  const { url } = await start({ scope: 'api:read' })
  const { status, headers } = await fetch(url)
  expect(status).toBe(401)
  expect(headers.get('www-authenticate')).toMatch(/^Bearer scope="api:read", DPoP scope="api:read", algs=/)
})

test('several Authorization headers are refused, though Node shows the first of them', async () => {
  const { url, client, seen } = await start()
  const token = `Bearer ${await clientCredentials(client).getAccessToken()}`
  expect((await raw(url, ['Authorization', token])).statusCode).toBe(200)
  const { statusCode, headers } = await raw(url, ['Authorization', token, 'authorization', token])
  expect(statusCode).toBe(400)
  expect(headers['www-authenticate']).toMatch(/^Bearer error="invalid_request"/)
  expect(String(seen.error)).not.toContain(token)
})

test('a token in the address is refused', async () => {
  const { url, client } = await start()
  const token = await clientCredentials(client).getAccessToken()
  expect((await raw(url, [], `/orders?access_token=${token}`)).statusCode).toBe(400)
})

test('tokens that are bound to a key are proven to the API, once each', async () => {
  const { url, client, seen } = await start({ dpop: 'required' })
  const source = clientCredentials({ ...client, dpop: dpop() })
  const api = authenticatedFetch(source, { apis: url })
  expect((await api(url)).status).toBe(200)
  expect((await api(`${url}?page=2`)).status).toBe(200)
  expect(seen.claims).toMatchObject({ cnf: { jkt: expect.any(String) } })
  const { headers = {} } = (await source.authorize?.({ method: 'GET', url })) ?? {}
  expect((await fetch(url, { headers })).status).toBe(200)
  const replayed = await fetch(url, { headers })
  expect(replayed.status).toBe(401)
  expect(replayed.headers.get('www-authenticate')).toMatch(/^DPoP error="invalid_dpop_proof"/)
  const asBearer = await fetch(url, {
    headers: { authorization: `${headers.authorization}`.replace('DPoP', 'Bearer') },
  })
  expect(asBearer.headers.get('www-authenticate')).toMatch(/^DPoP error="invalid_token"/)
})

test('an address that names a host cannot stand in for the host that was asked', async () => {
  const { url, client } = await start()
  const source = clientCredentials({ ...client, dpop: dpop() })
  const { headers = {} } = (await source.authorize?.({ method: 'GET', url: 'http://127.0.0.2/orders' })) ?? {}
  const sent = Object.entries(headers).flat()
  for (const path of ['//127.0.0.2/orders', 'http://127.0.0.2/orders', '/orders']) {
    expect((await raw(url, sent, path)).statusCode, path).toBe(401)
  }
})

test('express gives the address as it came, behind its routers, too', async () => {
  const { issuer, client } = await start()
  const verifier = accessTokenVerifier({ issuer, audience: AUDIENCE })
  const router = express.Router().get('/list', async (incoming, response) => {
    await verifier.verify(incoming)
    response.json(await verifier.verify(incoming, { scope: 'api:read' }))
  })
  const url = `${await listening(createServer(express().use('/orders', router)))}/list`
  const api = authenticatedFetch(clientCredentials({ ...client, dpop: dpop() }), { apis: url })
  expect(await (await api(url)).json()).toMatchObject({ aud: AUDIENCE })
})

test('hono gives a standard request', async () => {
  const { issuer, client } = await start()
  const verifier = accessTokenVerifier({ issuer, audience: AUDIENCE })
  const app = new Hono().get('/orders', async (context) => context.json(await verifier.verify(context.req.raw)))
  const url = 'https://api.example/orders'
  const fetch = async (input: string | URL | Request, init?: RequestInit) => app.fetch(new Request(input, init))
  const api = authenticatedFetch(clientCredentials({ ...client, dpop: dpop() }), { apis: url, fetch })
  expect(await (await api(url)).json()).toMatchObject({ aud: AUDIENCE })
})

test('a server that is away for ten minutes changes nothing for keys that are known', async () => {
  const { server, url, client, seen } = await start({}, { accessTokenTTL: 3600 })
  const headers = { authorization: `Bearer ${await clientCredentials(client).getAccessToken()}` }
  expect((await fetch(url, { headers })).status).toBe(200)
  await server.away()
  for (let minute = 0; minute < 10; minute++) {
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 61_000 })
    expect((await fetch(url, { headers })).status, `after ${minute + 1} minutes: ${seen.error}`).toBe(200)
  }
})

test('a token that is no JWT opens the API until it is revoked', async () => {
  const { url, client, seen } = await start(
    {
      clientId: 'worker-post',
      clientSecret: 'worker-secret',
      clientAuthentication: 'client_secret_post',
      introspectionLifetime: 0,
    },
    { apis: [{ resource: AUDIENCE, scopes: ['api:read'], accessTokenFormat: 'opaque' }] },
  )
  const source = clientCredentials(client)
  const api = authenticatedFetch(source, { apis: url })
  expect((await source.getAccessToken()).split('.')).toHaveLength(1)
  expect((await api(url)).status).toBe(200)
  expect(seen.claims).toMatchObject({ aud: AUDIENCE, client_id: 'worker', scope: 'api:read' })
  const headers = { authorization: `Bearer ${await source.getAccessToken()}` }
  await source.revoke()
  const refused = await fetch(url, { headers })
  expect(refused.status).toBe(401)
  expect(refused.headers.get('www-authenticate')).toMatch(/^Bearer error="invalid_token"/)
})
