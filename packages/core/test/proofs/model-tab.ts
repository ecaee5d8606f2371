import { authorizationCode, dpop, type Lease, password, refreshToken, type TokenStore } from '@keyturn/core'
import { CLIENT_ID, type Fault, USER } from '../authorization-server.ts'
import { type Log, type Sent, type Server, type Tab, TIMEOUT } from './model-log.ts'

export type Kind = 'authorizationCode' | 'password' | 'refreshToken'

/** A read, a write, or the answer to one that was done. */
export type StoreOperation = 'get' | 'replace' | 'answer'

/** It fails at once, after a while, or is given up before it does; or it takes a while, or is given up, before it works. */
export type StoreFault = 'throws' | 'fails slowly' | 'hangs' | 'slow' | 'late'

/** It is refused, never comes, comes when nobody waits any more, or never ends. */
export type LockFault = 'refused' | 'hangs' | 'late' | 'kept'

/** What all tabs of a world share. */
export interface Surroundings {
  readonly kind: Kind
  /** Whether tokens are bound to a key (RFC 9449). */
  readonly bound?: boolean
  readonly server: Server
  readonly store: TokenStore
  readonly log: Log
  readonly random: () => number
  /** What goes wrong with the next token request. */
  readonly nextFault: () => Fault
  /** What goes wrong with the next call of the store. */
  readonly nextStore?: (operation: StoreOperation) => StoreFault | undefined
  /** What goes wrong with the next lock. */
  readonly nextLock?: () => LockFault | undefined
}

/** Milliseconds: longer than a call of the store is waited for. */
const GIVEN_UP = 6000
/** And shorter. */
const SLOW = 2500

const REDIRECT_URI = 'https://app.example/callback'

export function openTab(world: Surroundings): Tab {
  const { page, wake } = somebodysPage(world.server.issuer)
  const options = {
    issuer: world.server.issuer,
    clientId: CLIENT_ID,
    timeout: TIMEOUT,
    store: storeOf(world, () => tab),
    fetch: fetchOf(world, () => tab),
    onWarning: () => {},
    ...(world.bound && { dpop: dpop() }),
  }
  const more = { got: [], forgotten: [], crashed: false, wake }
  let tab: Tab
  if (world.kind === 'password') {
    tab = { ...more, source: password({ ...options, ...USER }), signIn: async () => {} }
  } else if (world.kind === 'refreshToken') {
    tab = { ...more, source: refreshToken({ ...options, refreshToken: world.log.seed }), signIn: async () => {} }
  } else {
    const flow = authorizationCode({ ...options, redirectUri: REDIRECT_URI, userAgent: page })
    const signIn = async () => {
      await flow.login()
      await flow.handleCallback()
    }
    tab = { ...more, source: flow, signIn }
  }
  tab.source.subscribe(() => {})
  return tab
}

/** A page whose navigation to the server comes straight back with a code. */
function somebodysPage(iss: string) {
  let listener = () => {}
  const page = {
    url: 'https://app.example/',
    replaceUrl(url: string) {
      page.url = url
    },
    navigate(url: string) {
      const state = new URL(url).searchParams.get('state') ?? ''
      page.url = `${REDIRECT_URI}?${new URLSearchParams({ code: 'a-code', state, iss })}`
    },
    watch(awake: () => void) {
      listener = awake
      return () => {}
    },
  }
  return { page, wake: () => listener() }
}

/** Takes as long as it likes, and for ever where the tab has crashed meanwhile. */
async function hop({ random }: Surroundings, gone: () => boolean): Promise<void> {
  for (let turns = Math.floor(random() * 3); turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve))
  if (gone()) await new Promise(() => {})
}

function storeOf(world: Surroundings, self: () => Tab): TokenStore {
  const { store, log } = world
  const gone = () => self().crashed
  const around = async <T>(call: () => Promise<T>): Promise<T> => {
    await hop(world, gone)
    try {
      return await call()
    } finally {
      await hop(world, gone)
    }
  }
  const trouble = async (operation: StoreOperation, note: () => void) => {
    const fault = world.nextStore?.(operation)
    if (fault && fault !== 'slow') note()
    const delay = fault === 'hangs' || fault === 'late' ? GIVEN_UP : fault === 'throws' ? 0 : SLOW
    if (fault && delay) await new Promise((resolve) => setTimeout(resolve, delay))
    if (fault === 'hangs' || fault === 'throws' || fault === 'fails slowly')
      throw new Error(`the disk is full (${operation})`)
  }
  return {
    keys: store.keys,
    get: (key) =>
      around(async () => {
        await trouble('get', () => log.unread.push({ tab: self(), at: performance.now() }))
        return store.get(key)
      }),
    replace: (key, expected, next) =>
      around(async () => {
        const { refreshToken } = next ?? {}
        const now = () => ({ tab: self(), turn: log.turn, at: performance.now(), refreshToken })
        await trouble('replace', () => log.unwritten.push(now()))
        const replaced = await store.replace(key, expected, next)
        // Neither what waits to be revoked nor the key for the next session is one.
        if (replaced && !key.includes('revocations') && !key.endsWith('"DPoP"]'))
          log.stored.push({ ...now(), record: next && structuredClone(next) })
        await trouble('answer', () => log.unwritten.push(now()))
        return replaced
      }),
    lock: (key, critical, duration) =>
      around(async () => {
        const fault = world.nextLock?.()
        if (fault === 'refused') throw new Error('no lock is to be had')
        if (fault === 'hangs') await new Promise(() => {})
        if (fault === 'late') await new Promise((resolve) => setTimeout(resolve, 4 * TIMEOUT + 1))
        const enter = async (lease: Lease) => {
          if (gone()) throw new Error('Whoever is gone waits for no lock')
          return around(() => critical(lease))
        }
        const outcome = await store.lock(key, enter, duration)
        if (fault === 'kept') await new Promise(() => {})
        return outcome
      }),
    watch: (key, listener) => store.watch?.(key, listener) ?? (() => {}),
  }
}

function fetchOf(world: Surroundings, self: () => Tab): typeof fetch {
  const { server, log, kind, nextFault } = world
  const gone = () => self().crashed
  return async (input, init) => {
    const request = new Request(input, init)
    const { url, method, headers, signal } = request
    const asked = { tab: self(), at: performance.now(), wall: Date.now(), turn: log.turn }
    await hop(world, gone)
    if (!url.endsWith('/token')) return server.fetch(request)
    const body = new URLSearchParams(await request.text())
    const refreshToken = body.get('refresh_token')
    const sent: Sent | undefined = refreshToken === null ? undefined : { ...asked, refreshToken }
    if (sent) log.sent.push(sent)
    else if (kind === 'authorizationCode') exchangeAsPassword(body)
    const fault = nextFault()
    const change = (answer: Record<string, unknown>) => ({ ...answer, token_type: 'DPoP' })
    server.next([world.bound ? { change, ...fault } : fault])
    const key = world.bound ? keyIn(headers) : undefined
    if (sent) log.proved(sent, key)
    try {
      const response = await server.fetch(url, { method, headers, signal, body })
      if (sent) sent.status = response.status
      void response
        .clone()
        .text()
        .then(
          (text) => log.answered(text, sent, { ...asked, key }),
          () => {},
        )
      return response
    } finally {
      if (sent) sent.endedAt = performance.now()
      await hop(world, gone)
    }
  }
}

/** The server knows no codes: to it one is worth what a password is. */
function exchangeAsPassword(body: URLSearchParams): void {
  for (const name of ['code', 'redirect_uri', 'code_verifier']) body.delete(name)
  for (const [name, value] of Object.entries({ grant_type: 'password', ...USER })) body.set(name, value)
}

/** Whose proof it is (RFC 9449 section 4.2). */
function keyIn(headers: Headers): string {
  const [header = ''] = (headers.get('dpop') ?? '').split('.')
  return JSON.parse(Buffer.from(header, 'base64url').toString()).jwk.x
}
