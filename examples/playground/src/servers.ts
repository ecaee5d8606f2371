import { type RunningApi, startApi } from '../../api/src/api.ts'
import { type AuthorizationServer, startAuthorizationServer } from './authorization-server.ts'

export interface ServersOptions {
  /** Seconds that an access token lives. */
  accessTokenTTL: number
  /** Of the authorization server; default 127.0.0.1. */
  host?: string
  /** Of the client `web`. */
  redirectUris?: string[]
  /** Whose pages are the client `spa`. */
  spaOrigins?: string[]
  /** Whether the APIs refuse everything, to see what that looks like; default false. */
  refuse?: boolean
}

/** An authorization server and the two APIs that it issues tokens for. */
export interface Servers {
  server: AuthorizationServer
  orders: RunningApi
  invoices: RunningApi
  stop(): Promise<void>
}

/** Starts all three on ports that are free, on the loopback interface only. */
export async function startServers({ refuse = false, ...options }: ServersOptions): Promise<Servers> {
  let issuer = ''
  const startOne = () => startApi({ issuer: () => issuer, scope: 'api:read' })
  const [orders, invoices] = await Promise.all([startOne(), startOne()])
  const server = await startAuthorizationServer({ ...options, apis: [orders.audience, invoices.audience] })
  issuer = server.issuer
  if (refuse) for (const api of [orders, invoices]) api.refuseNext(Number.POSITIVE_INFINITY)
  const stop = async () => {
    await Promise.all([server, orders, invoices].map((one) => one.stop()))
  }
  return { server, orders, invoices, stop }
}
