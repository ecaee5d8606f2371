import { type RunningApi, startApi } from '../../api/src/api.ts'
import { type AuthorizationServer, startAuthorizationServer } from './authorization-server.ts'
import { TWO_FACTORS } from './sign-in-strength.ts'
import { startVerifiedApi, type VerifiedApi } from './verified-api.ts'

/** Seconds for which a sign-in is good enough to transfer money. */
export const LATELY = 30

export interface ServersOptions {
  /** Seconds that an access token lives. */
  accessTokenTTL: number
  /** Of the authorization server; default 127.0.0.1. */
  host?: string
  /** Of the client `web`. */
  redirectUris?: string[]
  /** Whose pages are the clients `spa` and `spa-dpop`. */
  spaOrigins?: string[]
  /** Whether the APIs refuse everything, to see what that looks like; default false. */
  refuse?: boolean
}

/** An authorization server and the APIs that it issues tokens for. */
export interface Servers {
  server: AuthorizationServer
  orders: RunningApi
  invoices: RunningApi
  /** Takes the tokens for orders, and wants more of some: `POST /transfer` two factors of late, `POST /limit` `api:write`. */
  payments: VerifiedApi
  /** Takes tokens that are bound to a key, and nothing else. */
  vault: VerifiedApi
  stop(): Promise<void>
}

/** Starts them all on ports that are free, on the loopback interface only. */
export async function startServers({ refuse = false, ...options }: ServersOptions): Promise<Servers> {
  let own = ''
  const issuer = () => own
  const startOne = () => startApi({ issuer, scope: 'api:read' })
  const [orders, invoices] = await Promise.all([startOne(), startOne()])
  const routes = {
    'POST /transfer': { acrValues: TWO_FACTORS, maxAge: LATELY },
    'POST /limit': { scope: 'api:write' },
  }
  const payments = await startVerifiedApi({ issuer, audience: orders.audience, routes, refuse })
  const vault = await startVerifiedApi({ issuer, routes: { 'GET /': {} }, bound: true, refuse })
  const apis = [orders.audience, invoices.audience, vault.audience]
  const server = await startAuthorizationServer({ ...options, apis, dpopNonce: true })
  own = server.issuer
  if (refuse) for (const api of [orders, invoices]) api.refuseNext(Number.POSITIVE_INFINITY)
  const stop = async () => {
    await Promise.all([server, orders, invoices, payments, vault].map((one) => one.stop()))
  }
  return { server, orders, invoices, payments, vault, stop }
}
