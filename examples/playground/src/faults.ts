import { createHash } from 'node:crypto'
import { text } from 'node:stream/consumers'
import { setTimeout as wait } from 'node:timers/promises'
import type Provider from 'oidc-provider'

/** How the token endpoint misbehaves, for so many requests or until told otherwise. */
export type Fault = (Refuse | CaptivePortal | Hang | Reset | Delay) & {
  times?: number
  /** Whether the faulty answer has CORS headers, without which a page cannot read it; default true. */
  cors?: boolean
}

/** Answers with this status and does nothing. */
interface Refuse {
  status: number
  /** Seconds. */
  retryAfter?: number
  /** Default: the body is not JSON. */
  error?: string
}

/** Answers 200 with a web page. */
interface CaptivePortal {
  html: true
}

/** Does nothing and never answers. */
interface Hang {
  hang: true
}

/** Cuts the connection before the request has an effect, or after it, when the answer gets lost. */
interface Reset {
  reset: 'before' | 'after'
}

/** Waits so many milliseconds before it looks at the request. */
interface Delay {
  delay: number
}

/** One request to the authorization server; what comes after `path` is told of token requests only. */
export interface RequestEntry {
  at: number
  method: string
  path: string
  /** The names of those that came with it. */
  cookies: string[]
  grantType?: string
  clientId?: string
  /** Several are separated by a space. */
  resource?: string
  scope?: string
  /** The first 16 hexadecimal digits of its SHA-256. */
  refreshToken?: string
  /** Missing as long as there is no answer. */
  status?: number
  error?: string
  fault?: Fault
}

/** How a refresh token is written in the log. */
export function fingerprint(refreshToken: string): string {
  return createHash('sha256').update(refreshToken).digest('hex').slice(0, 16)
}

/** Records every request to the provider and makes its token endpoint fail when asked. */
export class Faults {
  readonly log: RequestEntry[] = []
  #fault: Fault | undefined
  #left = 0

  constructor(provider: Provider) {
    provider.use(async (ctx, next) => {
      const cookies = [...ctx.get('cookie').matchAll(/([^=; ]+)=/g)].map(([, name = '']) => name)
      const entry: RequestEntry = { at: Date.now(), method: ctx.method, path: ctx.path, cookies }
      this.log.push(entry)
      if (!isTokenRequest(entry)) {
        await next()
        entry.status = ctx.status
        return
      }
      const fault = this.#take()
      if (fault) entry.fault = fault
      await misbehave(ctx, next, entry, fault)
    })
  }

  /** From now on the token endpoint does this; nothing makes it well again. */
  set(fault: Fault | undefined): void {
    this.#fault = fault
    this.#left = fault?.times ?? Number.POSITIVE_INFINITY
  }

  /** How many token requests came that are as the filter says. */
  tokenRequests(filter: Partial<RequestEntry> = {}): number {
    const wanted = Object.entries(filter)
    return this.log.filter(
      (entry) => isTokenRequest(entry) && wanted.every(([key, value]) => Reflect.get(entry, key) === value),
    ).length
  }

  #take(): Fault | undefined {
    if (this.#left <= 0) return undefined
    this.#left -= 1
    return this.#fault
  }
}

type Context = Parameters<Parameters<Provider['use']>[0]>[0]

const isTokenRequest = ({ method, path }: RequestEntry): boolean => method === 'POST' && path === '/token'

async function misbehave(
  ctx: Context,
  next: () => Promise<void>,
  entry: RequestEntry,
  fault: Fault | undefined,
): Promise<void> {
  if (fault && 'delay' in fault) await wait(fault.delay, undefined, { ref: false })

  if (!fault || 'delay' in fault || ('reset' in fault && fault.reset === 'after')) {
    await next()
    describe(entry, ctx.oidc?.body ?? {}, ctx.get('authorization'))
    if (fault && 'reset' in fault) return cut(ctx)
    entry.status = ctx.status
    const error = Object(ctx.body).error
    if (typeof error === 'string') entry.error = error
    return
  }

  describe(entry, Object.fromEntries(severalAsList(new URLSearchParams(await text(ctx.req)))), ctx.get('authorization'))
  if ('reset' in fault) return cut(ctx)
  if ('hang' in fault) {
    ctx.respond = false
    return
  }
  if (fault.cors !== false) ctx.set('access-control-allow-origin', '*')
  if ('html' in fault) {
    ctx.status = 200
    ctx.body = '<!doctype html><title>Wi-Fi</title><p>Welcome! Accept our terms to go online.'
  } else {
    ctx.status = fault.status
    if (fault.retryAfter !== undefined) ctx.set('retry-after', String(fault.retryAfter))
    ctx.body = fault.error ? { error: fault.error } : 'out of order'
    if (fault.error) entry.error = fault.error
  }
  entry.status = ctx.status
}

function cut(ctx: Context): void {
  ctx.respond = false
  ctx.req.socket.resetAndDestroy()
}

function severalAsList(parameters: URLSearchParams): [string, string][] {
  return [...new Set(parameters.keys())].map((name) => [name, parameters.getAll(name).join(' ')])
}

function describe(entry: RequestEntry, parameters: Record<string, unknown>, authorization: string): void {
  const [scheme = '', credentials = ''] = authorization.split(' ')
  const [basic = ''] = scheme.toLowerCase() === 'basic' ? Buffer.from(credentials, 'base64').toString().split(':') : []
  const told = {
    grantType: parameters.grant_type,
    clientId: parameters.client_id ?? new URLSearchParams(`id=${basic}`).get('id'), // RFC 6749 section 2.3.1
    resource: [parameters.resource ?? ''].flat().join(' '),
    scope: parameters.scope,
    refreshToken: typeof parameters.refresh_token === 'string' ? fingerprint(parameters.refresh_token) : '',
  }
  Object.assign(entry, Object.fromEntries(Object.entries(told).filter(([, value]) => value)))
}
