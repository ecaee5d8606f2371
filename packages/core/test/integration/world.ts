import { memoryStore, type StoredRecord, type TokenStore } from '@keyturn/core'
import { onTestFinished } from 'vitest'
import { type RunningApi, startApi } from '../../../../examples/api/src/api.ts'
import {
  type AuthorizationServer,
  type AuthorizationServerOptions,
  startAuthorizationServer,
} from '../../../../examples/playground/src/authorization-server.ts'

/** Nobody listens there: the stand-in user agent is only told to go. */
export const REDIRECT_URI = 'http://127.0.0.1:9/callback'

export interface World {
  server: AuthorizationServer
  issuer: string
  orders: RunningApi
  invoices: RunningApi
  /** Another refresh token every time, or none: POSTs to the token endpoint as the client `web`. */
  refreshAs(refreshToken: string, credentials?: string): Promise<Response>
}

/** A real authorization server and two real APIs on loopback, until the test is finished. */
export async function startWorld(options: AuthorizationServerOptions = {}): Promise<World> {
  let issuer = ''
  const { dpopNonce = false } = options
  const orders = await startApi({ issuer: () => issuer, scope: 'api:read', dpopNonce })
  const invoices = await startApi({ issuer: () => issuer, scope: 'api:read', dpopNonce })
  const server = await startAuthorizationServer({
    apis: [orders.url, invoices.url],
    redirectUris: [REDIRECT_URI],
    ...options,
  })
  issuer = server.issuer
  onTestFinished(async () => {
    await Promise.all([server.stop(), orders.stop(), invoices.stop()])
  })
  const refreshAs = (refreshToken: string, credentials = 'web:web-secret') =>
    fetch(`${issuer}/token`, {
      method: 'POST',
      headers: { authorization: `Basic ${btoa(credentials)}` },
      body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: refreshToken }),
    })
  return { server, issuer, orders, invoices, refreshAs }
}

/** A store that remembers every refresh token that was ever written to it, oldest first. */
export function watchedStore(): { store: TokenStore; refreshTokens: string[] } {
  const refreshTokens: string[] = []
  const store = memoryStore()
  const replace = (key: string, expected: number | undefined, next: StoredRecord | undefined) => {
    const written = next?.refreshToken
    if (written !== undefined && written !== refreshTokens.at(-1)) refreshTokens.push(written)
    return store.replace(key, expected, next)
  }
  return { store: { ...store, replace }, refreshTokens }
}

export const pause = (milliseconds: number): Promise<void> => new Promise((done) => setTimeout(done, milliseconds))
