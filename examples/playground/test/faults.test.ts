import { afterEach, beforeEach, expect, test } from 'vitest'
import { type AuthorizationServer, startAuthorizationServer } from '../src/authorization-server.ts'

let server: AuthorizationServer

beforeEach(async () => {
  server = await startAuthorizationServer({ apis: ['https://orders.example'] })
})

afterEach(() => server.stop())

const post = (parameters: Record<string, string>, init: RequestInit = {}) =>
  fetch(`${server.issuer}/token`, { method: 'POST', body: new URLSearchParams(parameters), ...init })

const worker = { grant_type: 'client_credentials', client_id: 'worker-post', client_secret: 'worker-secret' }

async function refreshTokenOf(response: Promise<Response>) {
  const { refresh_token } = (await (await response).json()) as { refresh_token: string }
  return refresh_token
}

const signIn = () =>
  refreshTokenOf(post({ grant_type: 'password', client_id: 'cli', username: 'ada', password: 'lovelace' }))

const refresh = (refresh_token: string) => post({ grant_type: 'refresh_token', client_id: 'cli', refresh_token })

test('a failing token endpoint answers as told, for as many requests as told', async () => {
  server.fault({ status: 429, retryAfter: 3, times: 1 })
  const busy = await post(worker)
  expect([busy.status, busy.headers.get('retry-after')]).toEqual([429, '3'])
  expect((await post(worker)).status).toBe(200)

  server.fault({ status: 503 })
  expect((await post(worker)).status).toBe(503)
  expect((await post(worker)).status).toBe(503)
  expect(server.tokenRequests({ status: 503, clientId: 'worker-post' })).toBe(2)

  server.fault({ status: 400, error: 'invalid_grant' })
  expect(await (await post(worker)).json()).toEqual({ error: 'invalid_grant' })

  server.fault()
  expect((await post(worker)).status).toBe(200)
})

test('a captive portal answers 200 with a page', async () => {
  server.fault({ html: true })
  const portal = await post(worker)
  expect([portal.status, portal.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8'])
})

test('a faulty answer can be read by a page unless it is told not to', async () => {
  server.fault({ status: 503, times: 1 })
  expect((await post(worker)).headers.get('access-control-allow-origin')).toBe('*')
  server.fault({ status: 503, cors: false })
  expect((await post(worker)).headers.get('access-control-allow-origin')).toBeNull()
})

test('a delayed request is served late', async () => {
  server.fault({ delay: 200, times: 1 })
  const sent = performance.now()
  expect((await post(worker)).status).toBe(200)
  expect(performance.now() - sent).toBeGreaterThan(190)
})

test('a token endpoint that hangs gives no answer until the server stops', async () => {
  server.fault({ hang: true })
  await expect(post(worker, { signal: AbortSignal.timeout(1000) })).rejects.toThrow(/timeout/)
  const hanging = post(worker)
  await expect.poll(() => server.tokenRequests({ clientId: 'worker-post' })).toBe(2)
  await Promise.all([server.stop(), expect(hanging).rejects.toThrow('fetch failed')])
  expect(server.log.at(-1)).not.toHaveProperty('status')
})

test('a connection cut before the request leaves the refresh token good, one cut after it has rotated it', async () => {
  const first = await signIn()
  server.fault({ reset: 'before', times: 1 })
  await expect(refresh(first)).rejects.toThrow('fetch failed')
  const second = await refreshTokenOf(refresh(first))

  server.fault({ reset: 'after', times: 1 })
  await expect(refresh(second)).rejects.toThrow('fetch failed')
  expect((await refresh(second)).status).toBe(400)
  expect(server.reuses).toBe(1)
})

test('a server that is away refuses connections and knows its sessions when it is back', async () => {
  const refreshToken = await signIn()
  await server.away()
  await expect(refresh(refreshToken)).rejects.toMatchObject({ cause: { code: 'ECONNREFUSED' } })
  await server.back()
  expect((await refresh(refreshToken)).status).toBe(200)
})
