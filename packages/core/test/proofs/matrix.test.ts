import { memoryStore, refreshToken, type TokenStore } from '@keyturn/core'
import { expect, test } from 'vitest'
import { CLIENT_ID, type Fault } from '../authorization-server.ts'
import { elapse, MINUTE, movedTime, SECOND, settled } from '../renewal-harness.ts'
import { LIFETIME, type Server, strictServer, TIMEOUT } from './model-log.ts'

movedTime()

/** What happens to a request: the server answers, acts or does not, and the answer can be used or not. */
interface Row {
  fault: Fault
  acts: boolean
  arrives: boolean
  /** Nothing came: the same request is sent once more at once (R11), and that one is served. */
  again?: boolean
}

const rows: Record<string, Row> = {
  'all is well': { fault: {}, acts: true, arrives: true },
  'a slow answer': { fault: { delay: TIMEOUT - SECOND }, acts: true, arrives: true },
  'a lifetime as text': {
    fault: { change: (body) => ({ ...body, expires_in: `${body.expires_in}` }) },
    acts: true,
    arrives: true,
  },
  'status 400': { fault: { status: 400, body: { error: 'invalid_request' } }, acts: false, arrives: false },
  'status 403 without a body': { fault: { status: 403 }, acts: false, arrives: false },
  'status 429': { fault: { status: 429, headers: { 'retry-after': '7' } }, acts: false, arrives: false },
  'status 500': { fault: { status: 500, body: 'oops' }, acts: false, arrives: false },
  'status 503': { fault: { status: 503 }, acts: false, arrives: false },
  'a captive portal': { fault: { status: 200, body: '<html>Welcome</html>' }, acts: false, arrives: false },
  'two megabytes': { fault: { status: 200, body: 'x'.repeat(2_000_000) }, acts: false, arrives: false },
  'a reset before': { fault: { lost: 'request' }, acts: false, arrives: false, again: true },
  'a hang before': { fault: { hang: 'request' }, acts: false, arrives: false, again: true },
  'a reset after': { fault: { lost: 'answer' }, acts: true, arrives: false },
  'a hang after': { fault: { hang: 'answer' }, acts: true, arrives: false },
  'a cut answer': { fault: { lost: 'rest' }, acts: true, arrives: false },
  'a wrong type': { fault: { change: (body) => ({ ...body, access_token: 7 }) }, acts: true, arrives: false },
  'an empty object': { fault: { change: () => ({}) }, acts: true, arrives: false },
}

/** Where the process dies: writes are numbered from the one of the journal on. */
const moments = {
  never: {},
  'before the journal is written': { before: 1 },
  'after the journal is written': { after: 1 },
  'while the server works': { atServer: true },
  'before the outcome is written': { before: 2 },
  'after the outcome is written': { after: 2 },
} as const satisfies Record<string, { before?: number; after?: number; atServer?: true }>
type Moment = keyof typeof moments

/** A process on a shared store: from its death on nothing that it does happens, and nothing that it waits for comes. */
function start(server: Server, shared: TokenStore, seed: string) {
  const state = { dead: false, writes: 0, before: 0, after: 0, faults: [] as Fault[] }
  const orDie = async (dies: boolean) => {
    state.dead ||= dies
    if (state.dead) await new Promise(() => {})
  }
  const store: TokenStore = {
    async get(key) {
      await orDie(false)
      return shared.get(key)
    },
    async replace(key, expected, next) {
      state.writes++
      await orDie(state.writes === state.before)
      const replaced = await shared.replace(key, expected, next)
      await orDie(state.writes === state.after)
      return replaced
    },
    lock: (key, critical, duration) => shared.lock(key, critical, duration),
  }
  const source = refreshToken({
    issuer: server.issuer,
    clientId: CLIENT_ID,
    refreshToken: seed,
    timeout: TIMEOUT,
    store,
    onWarning: () => {},
    async fetch(input, init) {
      await orDie(false)
      if (`${input}`.endsWith('/token')) server.next(state.faults.splice(0))
      const response = await server.fetch(input, init)
      await orDie(false)
      return response
    },
  })
  return { source, state }
}

const cases = Object.keys(rows).flatMap((row) =>
  Object.keys(moments).flatMap((moment) => [0, 5 * MINUTE].map((grace) => [row, moment as Moment, grace] as const)),
)

test.each(cases)(
  '%s, a process that dies %s, a grace of %i ms: the session lives on or ends once, typed',
  async (name, moment, grace) => {
    const { fault, acts, arrives, again } = rows[name] as Row
    const server = strictServer(grace)
    const shared = memoryStore()
    const seed = server.newRefreshToken()
    const first = start(server, shared, seed)
    await settled(first.source.getAccessToken(), TIMEOUT)

    const {
      before = 0,
      after = 0,
      atServer,
    } = { ...moments[moment] } as { before?: number; after?: number; atServer?: true }
    const meanwhile = () => {
      first.state.dead ||= atServer === true
    }
    Object.assign(first.state, { writes: 0, before, after, faults: [{ ...fault, meanwhile }] })
    await elapse(LIFETIME + 5 * TIMEOUT) // it renews by itself, behind the token that was used
    expect(first.state.dead).toBe(moment !== 'never')
    await elapse(3 * MINUTE)

    const second = start(server, shared, seed)
    const { value, error } = await settled(second.source.getAccessToken(), 5 * TIMEOUT)
    const sent = moment !== 'before the journal is written' && moment !== 'after the journal is written'
    const unwritten = moment === 'while the server works' || moment === 'before the outcome is written'
    const lost = sent && ((acts && (!arrives || unwritten)) || (again && before === 2))
    if (lost && grace === 0) {
      expect(error).toMatchObject({ name: 'LoginRequiredError', code: 'session-ended' })
      expect(second.source.session).toMatchObject({
        status: 'signedOut',
        ended: { reason: 'rotation-lost', error: 'invalid_grant' },
      })
      expect(server.reuses).toHaveLength(1)
    } else {
      expect(String(error)).toBe('undefined')
      expect(server.accepts(`${value}`)).toBe(true)
      expect(server.reuses).toEqual([])
    }
    // Whatever became of it, it is over: nothing is sent for a session that ended, nobody uses a spent refresh token.
    const requests = server.tokenRequests().length
    const third = start(server, shared, seed)
    const last = await settled(third.source.getAccessToken(), 5 * TIMEOUT)
    expect(last.value).toBe(value)
    expect(last.error?.code).toBe(error?.code)
    expect(server.tokenRequests()).toHaveLength(requests)
    await Promise.all([first, second, third].map(({ source }) => source[Symbol.asyncDispose]()))
  },
)
