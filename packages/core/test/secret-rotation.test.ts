import { clientCredentials } from '@keyturn/core'
import { expect, test } from 'vitest'
import { elapse, HOUR, MINUTE, movedTime, SECOND, START, turns } from './renewal-harness.ts'

movedTime()

/** Calls in a second. */
const CALLS = 1_000
/** Each test has a client of its own, or it would count as a new source for every call. */
let workers = 0

interface Rotation {
  /** Lifetime of the tokens, milliseconds. */
  lifetime: number
  /** What the server accepts at a time, milliseconds since the start. */
  accepts: (at: number) => string[]
  /** What whoever keeps the secret gives at a time. */
  gives: (at: number) => string
}

/** Calls once, and a thousand times a second from one time to another; tells what became of it. */
async function run({ lifetime, accepts, gives }: Rotation, from: number, until: number) {
  const since = () => Date.now() - START
  const answers: ('token' | 'invalid_client')[] = []
  const validUntil = new Map<string, number>()
  const failures: unknown[] = []
  let calls = 0
  let expired = 0
  const source = clientCredentials({
    issuer: 'https://as.example',
    clientId: `worker ${++workers}`,
    clientSecret: () => gives(since()),
    clientAuthentication: 'client_secret_post',
    discovery: false,
    metadata: { token_endpoint: 'https://as.example/token' },
    fetch: async (_, init) => {
      const secret = new URLSearchParams(String(init?.body)).get('client_secret') ?? ''
      if (!accepts(since()).includes(secret)) {
        answers.push('invalid_client')
        return Response.json({ error: 'invalid_client' }, { status: 401 })
      }
      answers.push('token')
      const token = `token ${answers.length}`
      validUntil.set(token, Date.now() + lifetime)
      return Response.json({ access_token: token, token_type: 'Bearer', expires_in: lifetime / SECOND })
    },
  })
  const call = () =>
    source.getAccessToken().then(
      (token) => {
        calls++
        if (Date.now() >= Number(validUntil.get(token))) expired++
      },
      (error) => failures.push(error),
    )
  await source.getAccessToken()
  await elapse(from, from)
  while (since() < until) {
    for (let nth = 0; nth < CALLS; nth++) void call()
    await elapse(SECOND, SECOND)
  }
  await turns(5)
  const count = (what: string) => answers.filter((answer) => answer === what).length
  return { calls, failures, expired, tokens: count('token'), refused: count('invalid_client') }
}

const at = 17 * MINUTE

test('a secret that is replaced while both are valid costs no call of a thousand a second, and no refusal', async () => {
  const rotation: Rotation = {
    lifetime: 5 * MINUTE,
    accepts: (now) => [...(now < at + MINUTE ? ['old'] : []), ...(now >= at - MINUTE ? ['new'] : [])],
    gives: (now) => (now < at ? 'old' : 'new'),
  }
  const { calls, failures, expired, tokens, refused } = await run(rotation, 10 * MINUTE, 25 * MINUTE)
  expect([failures, expired, refused]).toEqual([[], 0, 0])
  expect(calls).toBe(15 * 60 * CALLS)
  expect(tokens).toBeLessThanOrEqual(6)
})

// The server changes first, at any time of a token's life, and whoever keeps the secret follows.
test.each([0, 30, 60, 90, 120, 150, 180, 210])(
  'a secret that is swapped, and known here 20 s later, costs no call either (%i s later in the life of a token)',
  async (later) => {
    const swap = at + later * SECOND
    const rotation: Rotation = {
      lifetime: 5 * MINUTE,
      accepts: (now) => (now < swap ? ['old'] : ['new']),
      gives: (now) => (now < swap + 20 * SECOND ? 'old' : 'new'),
    }
    const { calls, failures, expired, tokens, refused } = await run(rotation, 10 * MINUTE, 25 * MINUTE)
    expect([failures, expired]).toEqual([[], 0])
    expect(calls).toBe(15 * 60 * CALLS)
    expect(refused).toBeLessThanOrEqual(1) // the same secret is not sent again
    expect(tokens).toBeLessThanOrEqual(6)
  },
)

test('a secret that is known here before the server accepts it is sent again after a minute, in time for the calls', async () => {
  const rotation: Rotation = {
    lifetime: HOUR,
    accepts: (now) => (now < 57 * MINUTE ? ['old'] : ['new']),
    gives: (now) => (now < 50 * MINUTE ? 'old' : 'new'),
  }
  const { failures, expired, tokens, refused } = await run(rotation, 50 * MINUTE, 62 * MINUTE)
  expect([failures, expired, tokens]).toEqual([[], 0, 2])
  expect(refused).toBeGreaterThan(0)
  expect(refused).toBeLessThanOrEqual(6)
})
