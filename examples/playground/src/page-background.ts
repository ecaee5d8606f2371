import { type Breakage, TIMES } from './breakage.ts'
import type { Fault } from './faults.ts'
import type { PageSettings, PageState, Trouble } from './page-contract.ts'
import type { Scene } from './scene.ts'
import type { Servers } from './servers.ts'

const EVENTS = 40

const faults: Partial<Record<Trouble, [what: string, fault: Fault]>> = {
  '503': ['answers 503', { status: 503 }],
  '429': ['answers 429, Retry-After 2', { status: 429, retryAfter: 2 }],
  hang: ['hangs', { hang: true }],
}

/** The servers as the page's script is told of them; it signs people in as the clients `spa` and `spa-dpop`. */
export function settingsOf(servers: Servers, lifetime: number, timeout = 10_000): PageSettings {
  const { server, orders, invoices, payments, vault } = servers
  return {
    issuer: server.issuer,
    clientId: 'spa',
    scope: 'openid profile api:read',
    timeout,
    lifetime,
    times: TIMES,
    apis: [
      { name: 'orders', url: orders.url },
      { name: 'invoices', url: invoices.url, resource: invoices.audience },
    ],
    payments: { url: payments.url },
    vault: { url: vault.url, resource: vault.audience, clientId: 'spa-dpop' },
  }
}

/** The scene without what the page has no use for. */
export function stateOf({ trouble, reuses, actors, events }: Scene, breakage?: Breakage): PageState {
  return {
    trouble,
    away: breakage?.away ?? false,
    reuses,
    actors: actors.map(({ name, title, token, stale, retryAt, calledAt, served, refused, heldBack }) => ({
      name,
      title,
      token: token && { issuedAt: token.issuedAt, expiresAt: token.expiresAt },
      stale,
      retryAt,
      calledAt,
      served,
      refused,
      heldBack,
    })),
    events: events.slice(-EVENTS),
  }
}

/** Does to the server what the page asks for. */
export async function makeTrouble(breakage: Breakage, trouble: Trouble): Promise<void> {
  const [what, fault] = faults[trouble] ?? []
  if (what && fault) breakage.fault(what, fault)
  if (trouble === 'revoke') await breakage.press('r')
  if (trouble === 'ok') await breakage.press('o')
  if ((trouble === 'away') !== breakage.away && (trouble === 'away' || trouble === 'back')) await breakage.press('a')
}
