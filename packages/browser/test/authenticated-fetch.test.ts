import { authenticatedFetch, type TokenSource } from '@keyturn/browser'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { commands } from 'vitest/browser'
import { CountingSource } from '../../core/test/counting-source.ts'
import { candidates, isBelow } from '../../core/test/hostile-urls.ts'
import type { Recorded } from '../../core/test/recording-servers.ts'

let ports: [number, number]
let home: string
let api: string
let other: string
beforeAll(async () => {
  ports = await commands.startRecording()
  home = `api.localhost:${ports[0]}`
  api = `http://${home}/v1/`
  other = `http://127.0.0.1:${ports[1]}/v1/`
})
beforeEach(async () => void (await commands.recorded()))
afterAll(() => commands.stopRecording())

const signing: TokenSource = {
  getAccessToken: async () => 'secret',
  authorize: async () => ({ accessToken: 'secret', headers: { authorization: 'DPoP secret', dpop: 'proof' } }),
}

const STATUSES = [301, 302, 303, 307, 308]
const to = (status: number, location: string) => `${api}to/${status}?to=${encodeURIComponent(location)}`

/** In Node 10,000 of them; a browser takes a minute and a half for as many. */
const COUNT = 2000

test('of thousands of hostile URLs and redirects none gets a token to another origin, and every URL of the API has one', async () => {
  const call = authenticatedFetch(new CountingSource(), { apis: api })
  const all = candidates(COUNT, ports)
  const queue = all.values()
  const work = async () => {
    for (const { url } of queue) {
      const text = await call(url).then(
        (response) => response.text(),
        (error: unknown) => error,
      )
      if (typeof text !== 'string') expect(text, url).toBeInstanceOf(TypeError)
    }
  }
  await Promise.all(Array.from({ length: 12 }, work))
  const requests = await commands.recorded()

  const redirecting = new Set(all.flatMap(({ url }) => (url.includes('/to/') ? (/n\d+/.exec(url) ?? []) : [])))
  // Where the browser goes by itself on the same origin no script can say no.
  const isHop = ({ path }: Recorded) => !path.includes('/to/') && redirecting.has(/n\d+/.exec(path)?.[0] ?? '')
  const isHome = (request: Recorded) => request.host === home && (isHop(request) || isBelow(request.path))
  expect(requests.filter((request) => request.secrets.length > 0 && !isHome(request))).toEqual([])
  const given = new Set(requests.flatMap(({ path, secrets }) => (secrets.length > 0 ? (/n\d+/.exec(path) ?? []) : [])))
  expect(all.filter(({ url, isLegitimate }) => isLegitimate && !given.has(/n\d+/.exec(url)?.[0] ?? ''))).toEqual([])
  expect(requests.filter((request) => !isHome(request)).length).toBeGreaterThan(COUNT / 10)
}, 600_000)

test('the browser takes the token from a redirect to another origin, and all that is sent there is the caller’s own', async () => {
  const call = authenticatedFetch(new CountingSource(), { apis: [api, other] })
  for (const status of STATUSES) {
    for (const init of [{}, { method: 'POST', body: 'x' }]) {
      const response = await call(to(status, other), { ...init, headers: { 'x-own': '1' } })
      expect([response.status, response.redirected]).toEqual([200, true])
    }
  }
  const requests = await commands.recorded()
  expect(requests.map(({ host, secrets }) => `${host} ${secrets}`)).toEqual(
    Array(10)
      .fill([`${home} Bearer token-1`, `127.0.0.1:${ports[1]} `])
      .flat(),
  )
})

test('what is signed follows no redirect: the call fails as with redirect "error", and nothing leaves', async () => {
  const call = authenticatedFetch(signing, { apis: api })
  for (const status of STATUSES) {
    for (const location of [other, `${api}here`, `http://${home}/elsewhere`]) {
      await expect(call(to(status, location))).rejects.toThrow(TypeError)
      await expect(call(new Request(to(status, location), { method: 'POST', body: 'x' }))).rejects.toThrow(TypeError)
    }
  }
  const requests = await commands.recorded()
  expect(requests.filter(({ path }) => !path.includes('/to/'))).toEqual([])
  expect(requests).toHaveLength(30)
  expect((await call(to(302, other), { redirect: 'manual' })).type).toBe('opaqueredirect')
  expect(await (await call(`${api}here`)).text()).toBe('here')
})

test('what the caller keeps from a Request, such as its referrer, is kept where it is signed', async () => {
  const seen: Request[] = []
  const underneath: typeof fetch = (input, init) => {
    seen.push(new Request(input, init))
    return Promise.resolve(new Response())
  }
  const call = authenticatedFetch(signing, { apis: api, fetch: underneath })
  await call(new Request(api, { referrerPolicy: 'no-referrer', referrer: '', credentials: 'omit', keepalive: true }))
  expect(
    seen.map(({ referrer, referrerPolicy, credentials, keepalive, redirect }) => [
      ...[referrer, referrerPolicy, credentials, keepalive, redirect],
    ]),
  ).toEqual([['', 'no-referrer', 'omit', true, 'error']])
})

const bytes = Uint8Array.from({ length: 70_000 }, (_, index) => index % 256)
const form = () => {
  const data = new FormData()
  data.append('text', 'ünïcödé "quoted"')
  data.append('file', new Blob([bytes], { type: 'image/png' }), 'a.png')
  return data
}

test.each<[string, () => BodyInit | undefined]>([
  ['no body', () => undefined],
  ['a string', () => 'ünïcödé \u0000'],
  ['an empty string', () => ''],
  ['a Blob', () => new Blob([bytes], { type: 'image/png' })],
  ['a File', () => new File([bytes], 'a.bin')],
  ['a form', form],
  ['URLSearchParams', () => new URLSearchParams({ a: 'ö ü', b: '&=' })],
  ['an ArrayBuffer', () => bytes.buffer],
  ['a typed array', () => bytes.subarray(7, 60_000)],
  ['a DataView', () => new DataView(bytes.buffer, 3, 1000)],
])('%s is sent again byte for byte', async (_, body) => {
  for (const [asRequest, keepalive] of [
    [false, false],
    [true, false],
    [false, true],
  ]) {
    const content = body()
    if (keepalive && content instanceof FormData) continue // more than a keepalive request may hold
    const init = { method: 'PUT', headers: { 'x-own': '1' }, ...(content !== undefined && { body: content }) }
    const url = `${api}${crypto.randomUUID()}/once`
    const small = keepalive && content instanceof Blob ? { body: content.slice(0, 1000) } : {}
    const tiny =
      keepalive && (content instanceof ArrayBuffer || ArrayBuffer.isView(content))
        ? { body: bytes.subarray(0, 999) }
        : {}
    const options = { ...init, ...small, ...tiny, ...(keepalive && { keepalive }) }
    const call = authenticatedFetch(new CountingSource(), { apis: api })
    expect((await (asRequest ? call(new Request(url, options)) : call(url, options))).status).toBe(200)
    const [first, second, ...more] = await commands.recorded()
    expect(more).toEqual([])
    expect([first?.secrets, second?.secrets]).toEqual([['Bearer token-1'], ['Bearer token-2']])
    expect([second?.body, second?.contentType, second?.method]).toEqual([first?.body, first?.contentType, 'PUT'])
    if (content instanceof FormData) continue
    const expected = new Uint8Array(await new Response(options.body ?? '').arrayBuffer())
    expect(second?.body).toBe(btoa(Array.from(expected, (byte) => String.fromCharCode(byte)).join('')))
  }
})

test('a stream is sent as fetch sends it', async () => {
  const init = () => ({ method: 'POST', body: new Blob(['once']).stream(), duplex: 'half' }) as RequestInit
  const outcome = (call: typeof fetch) =>
    call(`${api}once`, init()).then(
      ({ status }) => status,
      ({ name }) => name,
    )
  expect(await outcome(authenticatedFetch(new CountingSource(), { apis: api }))).toBe(await outcome(fetch))
})

test('a relative address is that of the page', async () => {
  const source = new CountingSource()
  const response = await authenticatedFetch(source, { apis: '/' })('tab.html')
  expect([response.status, response.url]).toEqual([200, new URL('tab.html', document.baseURI).href])
  expect(source.asked).toHaveLength(1)
})
