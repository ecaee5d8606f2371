import { memoryStore, refreshToken, signOutWhenIdle, type TokenStore } from '@keyturn/browser'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { testAuthorizationServer } from '../../core/test/authorization-server.ts'

const MINUTE = 60_000
const AFTER = 15 * MINUTE
const NOTE = `keyturn active ${JSON.stringify(['https://as.example', 'client'])}`

const stops: (() => void)[] = []
beforeEach(() => {
  localStorage.clear()
  vi.useFakeTimers({ toFake: ['Date', 'performance', 'setTimeout', 'clearTimeout'], now: Date.parse('2030-01-01') })
})
afterEach(async () => {
  for (const stop of stops.splice(0)) stop()
  vi.useRealTimers()
  vi.restoreAllMocks()
})

/** Everything runs that waits for no clock. */
async function turns(count = 5): Promise<void> {
  for (let turn = 0; turn < count; turn++) {
    await new Promise<void>((resolve) => {
      const { port1, port2 } = new MessageChannel()
      port1.onmessage = () => resolve()
      port2.postMessage('')
    })
  }
}

async function elapse(milliseconds: number, step = 4000): Promise<void> {
  for (let left = milliseconds; left > 0; left -= step) {
    vi.advanceTimersByTime(Math.min(step, left))
    await turns(2)
  }
}

const press = () => dispatchEvent(new KeyboardEvent('keydown'))

/** A page with somebody signed in; `reload` makes what is there after the page was loaded anew. */
async function startPage(options: Partial<Parameters<typeof signOutWhenIdle>[1]> = {}, lifetime = 300) {
  const server = testAuthorizationServer({ lifetime, secret: undefined })
  const seed = server.newRefreshToken()
  const store: TokenStore = memoryStore()
  const load = () => {
    const auth = refreshToken({
      issuer: server.issuer,
      clientId: 'client',
      fetch: server.fetch,
      refreshToken: seed,
      store,
      onWarning: () => {},
    })
    const stop = signOutWhenIdle(auth, { after: AFTER, ...options })
    stops.push(stop, () => void auth[Symbol.asyncDispose]())
    return { auth, stop }
  }
  const first = load()
  await first.auth.getAccessToken()
  await turns()
  return { server, load, ...first }
}

const idle = { status: 'signedOut', ended: { reason: 'idle', origin: 'user' } }

test('a session ends when nobody has been there for the time, though it was renewed all the while', async () => {
  const { auth, server } = await startPage()
  await elapse(AFTER - MINUTE)
  expect(auth.session.status).toBe('signedIn')
  expect(server.tokenRequests('refresh_token').length).toBeGreaterThan(2)
  await elapse(MINUTE)
  expect(auth.session).toMatchObject(idle)
  await expect(auth.getAccessToken()).rejects.toMatchObject({ code: 'session-ended' })
  await turns()
  expect(server.requests.filter(({ endpoint }) => endpoint === 'revocation')).toHaveLength(1)
  expect(localStorage.getItem(NOTE)).toBeNull()
})

test.each(['pointerdown', 'pointermove', 'keydown', 'wheel', 'scroll', 'touchstart'])(
  '%s shows that somebody is there',
  async (event) => {
    const { auth } = await startPage()
    for (let minute = 0; minute < 60; minute += 10) {
      await elapse(10 * MINUTE)
      document.dispatchEvent(new Event(event, { bubbles: event !== 'scroll' }))
    }
    expect(auth.session.status).toBe('signedIn')
    await elapse(AFTER)
    expect(auth.session).toMatchObject(idle)
  },
)

test('somebody in another tab is somebody', async () => {
  const { auth } = await startPage()
  for (let minute = 0; minute < 60; minute += 10) {
    await elapse(10 * MINUTE)
    localStorage.setItem(NOTE, `${Date.now()}`) // what another tab does
  }
  expect(auth.session.status).toBe('signedIn')
  expect(await auth.getAccessToken()).toEqual(expect.any(String))
  await elapse(AFTER)
  expect(auth.session).toMatchObject(idle)
})

test('however much somebody moves, it is noted once in a second', async () => {
  await startPage()
  const notes = vi.spyOn(Storage.prototype, 'setItem')
  for (let count = 0; count < 1000; count++) {
    press()
    vi.advanceTimersByTime(10)
  }
  expect(notes.mock.calls.length).toBeGreaterThan(5)
  expect(notes.mock.calls.length).toBeLessThanOrEqual(10)
})

test('a machine that slept too long: no token, and nothing is sent but the revocation', async () => {
  const { auth, server } = await startPage({}, 3600)
  const before = server.tokenRequests().length
  vi.setSystemTime(Date.now() + AFTER) // the other clock stood still, and no timer has fired
  await expect(auth.getAccessToken()).rejects.toMatchObject({ code: 'session-ended' })
  await elapse(2 * MINUTE)
  expect(auth.session).toMatchObject(idle)
  expect(server.tokenRequests()).toHaveLength(before)
})

test.each(['getTokenSet', 'online', 'visibilitychange', 'keydown', 'the own timer'])(
  'a machine that slept too long is noticed first, whatever comes first (%s)',
  async (what) => {
    const { auth, server } = await startPage({}, 60)
    const before = server.tokenRequests().length
    vi.setSystemTime(Date.now() + AFTER)
    if (what === 'getTokenSet') await expect(auth.getTokenSet()).rejects.toMatchObject({ code: 'session-ended' })
    else if (what === 'the own timer') vi.advanceTimersByTime(60_000)
    else dispatchEvent(new Event(what))
    await turns()
    expect(auth.session).toMatchObject(idle)
    expect(server.tokenRequests()).toHaveLength(before)
  },
)

test('a page that was closed for too long ends the session at its next load, before a token is handed out', async () => {
  const { auth, server, stop, load } = await startPage({}, 3600)
  stop()
  await auth[Symbol.asyncDispose]()
  const before = server.tokenRequests().length
  vi.setSystemTime(Date.now() + AFTER)
  const next = load().auth
  await expect(next.getAccessToken()).rejects.toMatchObject({ code: 'session-ended' })
  expect(next.session).toMatchObject(idle)
  expect(server.tokenRequests()).toHaveLength(before)
})

test('a page that was closed for less goes on, and a load is nobody', async () => {
  const { auth, stop, load } = await startPage({}, 3600)
  stop()
  await auth[Symbol.asyncDispose]()
  vi.setSystemTime(Date.now() + AFTER - MINUTE)
  const next = load().auth
  expect(await next.getAccessToken()).toEqual(expect.any(String))
  await elapse(MINUTE)
  expect(next.session).toMatchObject(idle)
})

test('a clock that is set back does not make a session that never ends', async () => {
  const { auth } = await startPage({}, 3600)
  await elapse(10 * MINUTE)
  vi.setSystemTime(Date.now() - 24 * 60 * MINUTE)
  await elapse(AFTER + MINUTE)
  expect(auth.session).toMatchObject(idle)
})

test('the warning says when, and is taken back by whoever is there', async () => {
  const onWarning = vi.fn()
  const { auth } = await startPage({ warnAt: 14 * MINUTE, onWarning })
  const start = Date.now()
  await elapse(14 * MINUTE - 1000)
  expect(onWarning).not.toHaveBeenCalled()
  await elapse(2000, 1000)
  expect(onWarning.mock.calls).toEqual([[expect.any(Number)]])
  expect(Math.abs(onWarning.mock.calls[0]?.[0] - start - AFTER)).toBeLessThan(2000)
  press()
  expect(onWarning.mock.calls.slice(1)).toEqual([[undefined]])
  await elapse(14 * MINUTE + 1000)
  expect(onWarning).toHaveBeenCalledTimes(3)
  await elapse(MINUTE)
  expect(auth.session).toMatchObject(idle)
  expect(onWarning.mock.calls.slice(3)).toEqual([[undefined]])
})

test('a warning that throws is told to the page, and keeps neither tokens back nor the end', async () => {
  const told = vi.spyOn(globalThis, 'reportError').mockImplementation(() => {})
  const onWarning = () => {
    throw new Error('no dialog')
  }
  const { auth } = await startPage({ warnAt: 14 * MINUTE, onWarning })
  await elapse(14 * MINUTE + 1000)
  expect(told).toHaveBeenCalledOnce()
  expect(await auth.getAccessToken()).toBeTypeOf('string')
  await elapse(MINUTE)
  expect(auth.session).toMatchObject(idle)
})

test('where nobody is signed in there is nothing to end, and nothing to note', async () => {
  const server = testAuthorizationServer()
  const auth = refreshToken({
    issuer: server.issuer,
    clientId: 'client',
    fetch: server.fetch,
    refreshToken: 'unknown',
    store: memoryStore(),
  })
  await auth.revoke()
  stops.push(signOutWhenIdle(auth, { after: AFTER }))
  await turns()
  press()
  await elapse(AFTER)
  expect(localStorage.length).toBe(0)
  expect(auth.session).toMatchObject({ ended: { reason: 'signed-out' } })
})

test('whoever stops it stays signed in', async () => {
  const { auth, stop } = await startPage()
  stop()
  stop()
  await elapse(2 * AFTER)
  expect(auth.session.status).toBe('signedIn')
  expect(await auth.getAccessToken()).toEqual(expect.any(String))
})

test('with storage that is blocked it works for its page', async () => {
  vi.spyOn(Storage.prototype, 'getItem').mockImplementation(() => {
    throw new DOMException('blocked', 'SecurityError')
  })
  vi.spyOn(Storage.prototype, 'setItem').mockImplementation(() => {
    throw new DOMException('blocked', 'SecurityError')
  })
  const { auth } = await startPage()
  await elapse(10 * MINUTE)
  press()
  await elapse(10 * MINUTE)
  expect(auth.session.status).toBe('signedIn')
  await elapse(5 * MINUTE)
  expect(auth.session).toMatchObject(idle)
})

test.each([0, -1, Number.NaN])('after %d is refused', async (after) => {
  const { auth } = await startPage()
  expect(() => signOutWhenIdle(auth, { after })).toThrow(expect.objectContaining({ code: 'invalid-options' }))
})

test('of two rules for one session the stricter holds, also when it came first', async () => {
  const { auth } = await startPage({ after: 5 * MINUTE }, 3600)
  stops.push(signOutWhenIdle(auth, { after: AFTER }))
  vi.setSystemTime(Date.now() + 5 * MINUTE)
  await expect(auth.getAccessToken()).rejects.toMatchObject({ code: 'session-ended' })
})

test('a note from the future, before the clock was set back, is not believed for longer than one load', async () => {
  localStorage.setItem(NOTE, `${Date.now() + 24 * 60 * MINUTE}`)
  const { auth, stop, load } = await startPage({}, 3600)
  expect(Number(localStorage.getItem(NOTE))).toBeLessThanOrEqual(Date.now())
  stop()
  await auth[Symbol.asyncDispose]()
  vi.setSystemTime(Date.now() + AFTER)
  await expect(load().auth.getAccessToken()).rejects.toMatchObject({ code: 'session-ended' })
})

test('with storage that is full it works for its page', async () => {
  vi.spyOn(Storage.prototype, 'setItem').mockImplementation(() => {
    throw new DOMException('full', 'QuotaExceededError')
  })
  const { auth } = await startPage()
  await elapse(10 * MINUTE)
  press()
  await elapse(10 * MINUTE)
  expect(auth.session.status).toBe('signedIn')
  await elapse(5 * MINUTE)
  expect(auth.session).toMatchObject(idle)
})

test('of two rules the one that is stopped holds no more, though it came first', async () => {
  const { auth, stop } = await startPage({ after: 5 * MINUTE }, 3600)
  stops.push(signOutWhenIdle(auth, { after: AFTER }))
  stop()
  vi.setSystemTime(Date.now() + 5 * MINUTE)
  expect(await auth.getAccessToken()).toEqual(expect.any(String))
  vi.setSystemTime(Date.now() + 10 * MINUTE)
  await expect(auth.getAccessToken()).rejects.toMatchObject({ code: 'session-ended' })
})

test('a network that comes and goes is nobody', async () => {
  const { auth } = await startPage()
  for (let minute = 0; minute < 15; minute += 5) {
    await elapse(5 * MINUTE)
    dispatchEvent(new Event('online'))
  }
  expect(auth.session).toMatchObject(idle)
})

test('another tab that ends its session first does not give this one more time', async () => {
  const { auth } = await startPage({}, 3600)
  vi.setSystemTime(Date.now() + AFTER)
  localStorage.removeItem(NOTE)
  dispatchEvent(new StorageEvent('storage', { key: NOTE }))
  await turns()
  expect(auth.session).toMatchObject(idle)
})
