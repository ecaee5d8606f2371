import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import express, { type RequestHandler } from 'express'
import fastify, { type onRequestAsyncHookHandler } from 'fastify'
import { Hono, type MiddlewareHandler } from 'hono'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { transformWithOxc } from 'vite'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { root } from './sources.ts'

interface Snippet {
  protect: RequestHandler
  hook: onRequestAsyncHookHandler
  guard: MiddlewareHandler
  server: Server
}

let snippet: Snippet
let issuer = ''
const { privateKey, publicKey } = await generateKeyPair('ES256')
const authorizationServer = createServer(async (request, response) => {
  const keys = { keys: [{ ...(await exportJWK(publicKey)), kid: 'k', alg: 'ES256' }] }
  response.end(JSON.stringify(request.url === '/keys' ? keys : { issuer, jwks_uri: `${issuer}/keys` }))
})

async function listening(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${Object(server.address()).port}`
}

function stop(server: Server): void {
  server.close()
  server.closeAllConnections()
}

// The README's own text, for a server that is there.
beforeAll(async () => {
  issuer = await listening(authorizationServer)
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  const [, code = ''] = /```ts\n(import \{ createServer \}(?:(?!```).)*accessTokenVerifier.*?)```/s.exec(readme) ?? []
  const text = `${code.replace('https://login.example.com', issuer)}\nexport { protect, hook, guard, server }\n`
  const folder = join(root, 'node_modules/.cache/middleware')
  mkdirSync(folder, { recursive: true })
  const file = join(folder, 'snippet.mjs')
  writeFileSync(file, (await transformWithOxc(text, 'snippet.ts', { lang: 'ts', target: 'es2024' })).code)
  snippet = await import(/* @vite-ignore */ `${pathToFileURL(file).href}?${Date.now()}`)
})

afterAll(() => stop(authorizationServer))

/** How each framework would be started with what the README shows. */
const frameworks: Record<string, () => Promise<(init: RequestInit) => Promise<Response>>> = {
  async express() {
    const app = express().use(snippet.protect)
    app.get('/orders', (_, response) => void response.send(`Hello ${response.locals.claims.sub}`))
    const server = createServer(app)
    const url = await listening(server)
    onTestFinished(() => stop(server))
    return (init) => fetch(`${url}/orders`, init)
  },
  async fastify() {
    const app = fastify().addHook('onRequest', snippet.hook)
    app.get('/orders', async () => 'Hello ada')
    const url = await app.listen({ port: 0, host: '127.0.0.1' })
    onTestFinished(async () => {
      await app.close()
    })
    return (init) => fetch(`${url}/orders`, init)
  },
  async hono() {
    const app = new Hono<{ Variables: { claims: { sub: string } } }>().use(snippet.guard)
    app.get('/orders', (context) => context.text(`Hello ${context.get('claims').sub}`))
    return async (init) => app.fetch(new Request('https://api.example.com/orders', init))
  },
  async 'plain node:http'() {
    const url = await listening(snippet.server)
    onTestFinished(() => stop(snippet.server))
    return (init) => fetch(`${url}/orders`, init)
  },
}

function accessToken(more: object = {}): Promise<string> {
  const claims = { sub: 'ada', client_id: 'app', jti: 'a', scope: 'orders:read orders:write', roles: ['clerk'] }
  return new SignJWT({ ...claims, iss: issuer, aud: 'https://api.example.com/', ...more })
    .setProtectedHeader({ alg: 'ES256', kid: 'k', typ: 'at+jwt' })
    .setIssuedAt()
    .setExpirationTime('5m')
    .sign(privateKey)
}

test.each(Object.entries(frameworks))('the README protects an API of %s', async (_, start) => {
  const call = await start()
  const sent = async (more?: object) => call({ headers: { authorization: `Bearer ${await accessToken(more)}` } })
  const good = await sent()
  expect(good.status).toBe(200)
  expect(await good.text()).toBe('Hello ada')
  const missing = await call({})
  expect(missing.status).toBe(401)
  expect(missing.headers.get('www-authenticate')).toMatch(/^Bearer scope="orders:read/)
  const bad = await sent({ aud: 'https://other.example/' })
  expect(bad.status).toBe(401)
  expect(bad.headers.get('www-authenticate')).toMatch(/^Bearer error="invalid_token"/)
  const weak = await sent({ scope: 'profile' })
  expect(weak.status).toBe(403)
  expect(weak.headers.get('www-authenticate')).toMatch(/error="insufficient_scope".*scope="orders:read/)
})
