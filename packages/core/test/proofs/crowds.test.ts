import { authenticatedFetch, clientCredentials, memoryStore, refreshToken } from '@keyturn/core'
import { expect, test, vi } from 'vitest'
import { type Fault, testAuthorizationServer } from '../authorization-server.ts'
import { elapse, MINUTE, movedTime, outcome, SECOND, settled, sourceAt } from '../renewal-harness.ts'

movedTime()

const CALLERS = 1000
const MANAGERS = 4
const kinds = ['clientCredentials', 'refreshToken'] as const
const moments = ['cold', 'at expiry', 'with 30 s left'] as const

interface Trouble {
  name: string
  faults: Fault[]
  /** What those without a valid token get, and after how many requests. */
  code: { [kind in (typeof kinds)[number]]: string | undefined }
  requests: { [kind in (typeof kinds)[number]]: number }
}

const always = <T>(value: T) => ({ clientCredentials: value, refreshToken: value })
const throttled = { status: 429, headers: { 'retry-after': '20' } }
const troubles: Trouble[] = [
  { name: 'nothing', faults: [], code: always(undefined), requests: always(1) },
  {
    name: '503 × 3',
    faults: [{ status: 503 }, { status: 503 }, { status: 503 }],
    code: always('server-error'),
    requests: always(1),
  },
  { name: '429 + Retry-After', faults: [throttled], code: always('throttled'), requests: always(1) },
  // R11: a refresh token is sent once more when its answer was lost, and that works.
  {
    name: 'a hang',
    faults: [{ hang: 'request' }],
    code: { clientCredentials: 'timeout', refreshToken: undefined },
    requests: { clientCredentials: 1, refreshToken: 2 },
  },
  {
    name: 'no network',
    faults: [{ lost: 'request' }],
    code: { clientCredentials: 'network', refreshToken: undefined },
    requests: { clientCredentials: 1, refreshToken: 2 },
  },
]

const cases = kinds.flatMap((kind) =>
  moments.flatMap((moment) => troubles.map((trouble) => [kind, moment, trouble.name, trouble] as const)),
)

test.each(cases)(
  'a thousand callers of four managers (%s), %s, and %s: as few requests as there can be, and one outcome for all',
  async (kind, moment, _, { faults, code, requests }) => {
    const server = testAuthorizationServer()
    const { options } = sourceAt(server, { store: memoryStore() })
    const seed = server.newRefreshToken()
    const sources = Array.from({ length: MANAGERS }, () =>
      kind === 'clientCredentials' ? clientCredentials(options) : refreshToken({ ...options, refreshToken: seed }),
    )
    const firsts = moment === 'cold' ? [] : await Promise.all(sources.map((source) => source.getAccessToken()))
    if (moment !== 'cold') vi.setSystemTime(Date.now() + (moment === 'at expiry' ? 3601 : 3570) * SECOND)
    const before = server.tokenRequests().length
    server.next(faults)
    const calls = Array.from({ length: CALLERS }, (__, n) =>
      outcome(sources[n % MANAGERS]?.getAccessToken() as Promise<string>),
    )
    const { value: results = [] } = await settled(Promise.all(calls), 50 * SECOND)
    const valid = moment === 'with 30 s left'
    expect([...new Set(results.map(({ error }) => error?.code))]).toEqual([valid ? undefined : code[kind]])
    if (valid) {
      expect([...new Set(results.map(({ value }) => value))]).toEqual([firsts[0]])
      expect(Math.max(...results.map(({ after }) => after))).toBe(0)
      await elapse(12 * SECOND, 100)
    } else if (code[kind] === undefined) {
      const tokens = new Set(results.map(({ value }) => value ?? ''))
      expect(tokens.size).toBe(1)
      for (const token of tokens) expect(server.accepts(token)).toBe(true)
    }
    const spent = server.tokenRequests().length - before
    if (valid) expect(spent).toBeLessThanOrEqual(requests[kind] + faults.length)
    else expect(spent).toBe(requests[kind])
    expect(server.reuses).toEqual([])
  },
)

test.each(kinds)(
  'a thousand calls in flight whose 401s come late, over a minute: one renewal, and none fails (%s)',
  async (kind) => {
    const server = testAuthorizationServer()
    const { options } = sourceAt(server)
    const source =
      kind === 'clientCredentials'
        ? clientCredentials(options)
        : refreshToken({ ...options, refreshToken: server.newRefreshToken() })
    const refused = await source.getAccessToken()
    let calls = 0
    const underneath: typeof fetch = async (input, init) => {
      const request = new Request(input, init)
      const body = await request.text()
      const isRefused = request.headers.get('authorization') === `Bearer ${refused}`
      // The API takes its time, a different one for every call, and has forgotten the token by then.
      if (isRefused) await new Promise((resolve) => setTimeout(resolve, (calls++ * 60 * SECOND) / CALLERS))
      return new Response(body, { status: isRefused ? 401 : 200 })
    }
    const api = authenticatedFetch(source, { apis: 'https://api.example', fetch: underneath })
    const answers = Array.from({ length: CALLERS }, async (_, n) => {
      const response = await api('https://api.example/orders', { method: 'POST', body: `order ${n}` })
      return [response.status, await response.text()] as const
    })
    const { value = [] } = await settled(Promise.all(answers), 2 * MINUTE)
    expect(value.filter(([status]) => status !== 200)).toEqual([])
    expect(value.map(([, body]) => body)).toEqual(answers.map((_, n) => `order ${n}`))
    expect(calls).toBe(CALLERS)
    expect(server.tokenRequests()).toHaveLength(2)
    expect(source.stats()).toMatchObject({ renewals: 1, failures: 0 })
  },
)
