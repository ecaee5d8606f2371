import { type Answered, authenticatedFetch } from '@keyturn/core'
import { expect, test, vi } from 'vitest'
import { CountingSource } from './counting-source.ts'
import { comeBack, startApp } from './sign-in-server.ts'

const API = 'https://api.example/'

/** A fetch that answers with these statuses, by turns, and remembers the tokens that it was sent. */
function recorder(...statuses: number[]) {
  const tokens: (string | null)[] = []
  const recording: typeof fetch = async (input, init) => {
    tokens.push(new Request(input, init).headers.get('authorization'))
    return new Response('', { status: statuses[tokens.length - 1] ?? 200 })
  }
  return { tokens, fetch: recording }
}

/** Somebody who is signed in, and somebody else who takes their place when a token is asked for the nth time. */
class ChangingSource extends CountingSource {
  readonly #nth: number
  readonly #people: (string | undefined)[]

  constructor(nth: number, ...people: (string | undefined)[]) {
    super()
    this.#nth = nth
    this.#people = people
  }

  get session() {
    const [before, after] = this.#people
    return { status: 'signedIn', claims: { sub: this.asked.length < this.#nth ? before : after } }
  }
}

test('what one person asked for is not tried again as another who has signed in meanwhile', async () => {
  const { fetch, tokens } = recorder(401)
  const api = authenticatedFetch(new ChangingSource(2, 'ada', 'bob'), { apis: API, fetch })
  expect((await api(API, { method: 'DELETE' })).status).toBe(401)
  expect(tokens).toEqual(['Bearer token-1'])
})

test('a call that waited for a token while somebody else signed in is not sent', async () => {
  const { fetch, tokens } = recorder()
  const api = authenticatedFetch(new ChangingSource(1, 'ada', 'bob'), { apis: API, fetch })
  const called = api(API, { method: 'DELETE' })
  await expect(called).rejects.toMatchObject({ name: 'LoginRequiredError', code: 'session-ended' })
  expect(tokens).toEqual([])
})

test.each([
  { nth: 1, before: undefined, after: 'ada' }, // nobody was known yet when the call began
  { nth: 2, before: 'ada', after: 'ada' },
  { nth: 2, before: undefined, after: undefined },
])('a refused call of $before, who is $after by the token $nth, is tried again', async ({ nth, before, after }) => {
  const { fetch, tokens } = recorder(401)
  const api = authenticatedFetch(new ChangingSource(nth, before, after), { apis: API, fetch })
  expect((await api(API)).status).toBe(200)
  expect(tokens).toEqual(['Bearer token-1', 'Bearer token-2'])
})

/** Somebody who is signed in at a server that says of nobody who they are, and an API that answers when it is told to. */
async function nameless(...statuses: number[]) {
  const app = startApp({ scope: 'read' })
  let issued = 0
  app.server.tokenResponse = (body) => ({ ...body, access_token: `token-${++issued}` })
  const signIn = async () => {
    await comeBack(app)
    await app.auth.handleCallback()
  }
  await signIn()
  const answer = Promise.withResolvers<void>()
  const { fetch, tokens } = recorder(...statuses)
  const answering: typeof fetch = async (...request) => {
    const response = await fetch(...request)
    await answer.promise
    return response
  }
  return { auth: app.auth, signIn, answer: answer.resolve, fetch: answering, tokens }
}

test('where no server says who somebody is, a refused call is not tried again after another login', async () => {
  const { auth, signIn, answer, fetch, tokens } = await nameless(401)
  const called = authenticatedFetch(auth, { apis: API, fetch })(API, { method: 'POST', body: 'of whoever was here' })
  await vi.waitFor(() => expect(tokens).toHaveLength(1))
  await auth.logout({ endSession: false })
  await signIn()
  answer()
  expect((await called).status).toBe(401)
  expect(tokens).toHaveLength(1)
})

test('where no server says who somebody is, a refused call is tried again within a login, and after a step-up', async () => {
  const { auth, signIn, answer, fetch, tokens } = await nameless(401, 403)
  answer()
  const stepUp = async ({ response }: Answered) => {
    if (response.status !== 403) return undefined
    await signIn()
    return {}
  }
  expect((await authenticatedFetch(auth, { apis: API, fetch, stepUp })(API)).status).toBe(200)
  expect(new Set(tokens).size).toBe(3)
})
