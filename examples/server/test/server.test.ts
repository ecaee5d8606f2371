import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileStore } from '@keyturn/node'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { Visitor } from './visitor.ts'
import { startApp, startWorld, type World } from './world.ts'

describe.each(['express', 'hono'] as const)('in %s', (framework) => {
  let world: World
  let folder = ''
  const key = new Uint8Array(32).fill(7)
  let app: Awaited<ReturnType<typeof startApp>>
  const start = () => startApp(world, framework, fileStore(join(folder, 'sessions.json'), { key }))

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'keyturn-'))
    world = await startWorld()
    app = await start()
  })

  afterEach(async () => {
    vi.useRealTimers()
    await app.stop()
    await world.stop()
    rmSync(folder, { recursive: true })
  })

  test('a person signs in, asks the API with a token of their own, and signs out', async () => {
    const visitor = new Visitor(world.origin)
    expect(await (await visitor.fetch('/')).text()).toContain('Sign in')
    expect(await visitor.signIn('ada', '/me')).toBe('/me')
    expect(await visitor.me()).toMatchObject({ sub: 'ada', client_id: 'web' })
    const home = await visitor.fetch('/')
    expect(await home.text()).toContain('Signed in as <strong>Ada</strong>')
    expect(home.headers.get('cache-control')).toBe('no-store')

    const old = visitor.copy()
    const answer = await visitor.fetch('/logout', { method: 'POST', headers: { 'sec-fetch-site': 'same-origin' } })
    const end = new URL(answer.headers.get('location') ?? '')
    expect([answer.status, end.origin, end.pathname]).toEqual([303, world.server.issuer, '/session/end'])
    expect([visitor.cookies.size, await old.me()]).toEqual([0, 303])
    expect(world.server.log.filter(({ path }) => path === '/token/revocation')).toHaveLength(1)
  })

  test('who signs out at the authorization server is signed out of the app, and nobody else is', async () => {
    const [visitor, other] = [new Visitor(world.origin), new Visitor(world.origin)]
    await visitor.signIn('ada')
    await other.signIn('ada')
    await visitor.signOutThere(world.server.issuer)
    await expect.poll(() => visitor.me()).toBe(303)
    expect(await other.me()).toMatchObject({ sub: 'ada' })
  })

  test('two people who sign in at once are never mixed up', async () => {
    const people = ['ada', 'alan', 'ada', 'alan'].map((username) => ({ username, visitor: new Visitor(world.origin) }))
    await Promise.all(people.map(({ visitor, username }) => visitor.signIn(username)))
    const answers = await Promise.all(people.map(({ visitor }) => visitor.me()))
    expect(answers.map((answer) => Object(answer).sub)).toEqual(['ada', 'alan', 'ada', 'alan'])
  })

  test('a response that comes by another browser, or again, is refused in words', async () => {
    const [visitor, victim] = [new Visitor(world.origin), new Visitor(world.origin)]
    const address = await visitor.comeBack('ada')
    const refused = await victim.fetch(address)
    expect([refused.status, await refused.text()]).toEqual([400, expect.stringContaining('Sign in again')])
    expect(await victim.me()).toBe(303)
    expect((await visitor.fetch(address)).status).toBe(303)
    expect((await visitor.fetch(address)).status).toBe(400)
    expect(await visitor.me()).toMatchObject({ sub: 'ada' })
  })

  test('a page of another site signs nobody out, nor does a link', async () => {
    const visitor = new Visitor(world.origin)
    await visitor.signIn('ada')
    const headers = { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' }
    expect((await visitor.fetch('/logout', { method: 'POST', headers })).status).toBe(403)
    expect([404, 405]).toContain((await visitor.fetch('/logout')).status)
    expect(await visitor.me()).toMatchObject({ sub: 'ada' })
  })

  test('fifty requests at once renew an expired token once', async () => {
    vi.useFakeTimers({ toFake: ['Date', 'performance'] })
    const visitor = new Visitor(world.origin)
    await visitor.signIn('ada')
    const renewals = () => world.server.tokenRequests({ grantType: 'refresh_token' })
    vi.advanceTimersByTime(60_000)
    const before = renewals()
    const answers = await Promise.all([...Array(50)].map(() => visitor.me()))
    expect(answers.map((answer) => Object(answer).sub)).toEqual(Array(50).fill('ada'))
    expect([renewals() - before, world.server.reuses]).toEqual([1, 0])
  })

  test('a restart signs nobody out, and a login that is under way goes on', async () => {
    const [visitor, other] = [new Visitor(world.origin), new Visitor(world.origin)]
    await visitor.signIn('ada')
    const address = await other.comeBack('alan')
    await app.stop()
    app = await start()
    expect(await visitor.me()).toMatchObject({ sub: 'ada' })
    await other.fetch(address)
    expect(await other.me()).toMatchObject({ sub: 'alan' })
  })

  test('the authorization server is away: whoever is signed in stays so, and others are told', async () => {
    const [visitor, other] = [new Visitor(world.origin), new Visitor(world.origin)]
    await visitor.signIn('ada')
    await world.server.away()
    expect(await (await visitor.fetch('/')).text()).toContain('Signed in as')
    await app.stop()
    app = await start()
    expect(await (await visitor.fetch('/')).text()).toContain('Signed in as')
    expect((await other.fetch('/login')).status).toBe(503)
    await world.server.back()
    expect((await other.fetch('/login')).status).toBe(303)
  })
})
