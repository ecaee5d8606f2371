import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { getRequestListener } from '@hono/node-server'
import { backChannelLogout, type TokenStore, webSessions } from '@keyturn/node'
import { startApi } from '../../api/src/api.ts'
import { type AuthorizationServer, startAuthorizationServer } from '../../playground/src/authorization-server.ts'
import type { AppOptions } from '../src/app-options.ts'
import { expressApp } from '../src/express-app.ts'
import { honoApp } from '../src/hono-app.ts'

export type Framework = 'express' | 'hono'

const listeners: Record<Framework, (options: AppOptions) => RequestListener> = {
  express: (options) => expressApp(options),
  hono: (options) => getRequestListener(honoApp(options).fetch),
}

/** An address for the app, and the authorization server and the API that know it. */
export interface World {
  readonly origin: string
  readonly port: number
  readonly server: AuthorizationServer
  readonly api: string
  stop(): Promise<void>
}

/** None of those that the system gives to whoever asks for any: an app that starts again finds it as it left it. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000)
    const placeholder = createServer().listen(port, '127.0.0.1')
    const isFree = await once(placeholder, 'listening').then(
      () => true,
      () => false,
    )
    placeholder.close()
    if (isFree) return port
  }
}

export async function startWorld(): Promise<World> {
  const port = await freePort() // the address has to be known before there is an app at it
  const origin = `http://127.0.0.1:${port}`
  let server: AuthorizationServer
  const api = await startApi({ issuer: () => server.issuer })
  server = await startAuthorizationServer({
    host: 'localhost', // another site than the app
    apis: [api.audience],
    accessTokenTTL: 60,
    redirectUris: [`${origin}/callback`, `${origin}/`],
    backChannelLogoutUri: `${origin}/logged-out`,
  })
  const stop = async () => {
    await Promise.all([server.stop(), api.stop()])
  }
  return { origin, port, server, api: api.url, stop }
}

/** One run of the app, in this process. */
export async function startApp({ origin, port, server, api }: World, framework: Framework, store: TokenStore) {
  const client = { issuer: server.issuer, clientId: 'web', clientSecret: 'web-secret' }
  const sessions = webSessions({
    ...client,
    redirectUri: `${origin}/callback`,
    scope: 'openid profile offline_access api:read',
    store,
    cookieKey: 'k'.repeat(32),
    onWarning: (message) => {
      throw new Error(message)
    },
  })
  const loggedOut = backChannelLogout({ ...client, onLogout: (who) => sessions.end(who) })
  const app = createServer(listeners[framework]({ sessions, loggedOut, api, home: `${origin}/` })).listen(
    port,
    '127.0.0.1',
  )
  await once(app, 'listening')
  return {
    async stop() {
      const closed = once(app, 'close')
      app.close()
      app.closeAllConnections()
      await closed
      await sessions[Symbol.asyncDispose]()
    },
  }
}
