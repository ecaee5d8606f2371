import {
  InvalidCallbackError,
  memoryStore,
  memoryTransactions,
  type Transaction,
  type TransactionStore,
} from '@keyturn/core'
import { expect, test } from 'vitest'
import { type App, comeBack, FakePage, REDIRECT_URI, rejection, startApp } from './sign-in-server.ts'

// Callbacks as they really happen, each by its name.

const spent = { name: 'InvalidCallbackError', code: 'invalid-state', fix: 'Call login() again.' }

/** The same page loaded again: what it remembers of logins is there, what was in its memory is gone. */
function pages() {
  const transactions = memoryTransactions()
  const first = startApp({ transactions })
  const load = (): App => ({
    ...startApp({ transactions, userAgent: first.page, fetch: first.server.fetch }),
    page: first.page,
    server: first.server,
  })
  return { first, load }
}

test('reload: before the answer is handled nothing is lost, after it nothing is left to do', async () => {
  const { first, load } = pages()
  await comeBack(first, {}, 'deep')
  expect(await load().auth.handleCallback()).toEqual({ appState: 'deep' })
  expect(await load().auth.handleCallback()).toBeUndefined()
  expect(first.server.tokenRequests).toHaveLength(1)
})

/** A tab, in which one page comes after another, each with the same storage, and what it remembers of logins. */
function tab() {
  const underWay = memoryTransactions()
  const taken = new Map<string, Transaction & { page: object }>()
  const load = (): TransactionStore => {
    const page = {}
    return {
      ...underWay,
      inMemory: false,
      async take(state) {
        const transaction = await underWay.take(state)
        if (transaction) taken.set(state, { ...transaction, page })
        return transaction
      },
      settle: (state) => void taken.delete(state),
      interrupted(start) {
        const [state = '', found] = [...taken].find(([key, one]) => key.startsWith(start) && one.page !== page) ?? []
        taken.delete(state)
        return found
      },
    }
  }
  const store = memoryStore()
  const first = startApp({ transactions: load(), store })
  const next = (): App => ({
    ...startApp({ transactions: load(), store, userAgent: first.page, fetch: first.server.fetch }),
    page: first.page,
    server: first.server,
  })
  return { first, next, taken }
}

/** The page is left while its code is redeemed: nobody hears what the server answers. */
async function leave({ auth, server }: App): Promise<void> {
  const { idToken } = server
  const sent = server.tokenRequests.length
  server.idToken = () => new Promise<never>(() => {})
  void auth.handleCallback().catch(() => {}) // of the page that is gone
  await expect.poll(() => server.tokenRequests.length).toBe(sent + 1)
  server.idToken = idToken
}

test('reload in the middle, where the tab remembers it: the next page learns once that it is to start again, and where', async () => {
  const { first, next } = tab()
  await comeBack(first, {}, { deep: 'link' })
  await leave(first)
  const { auth } = next()
  const failed = { ...spent, appState: { deep: 'link' }, message: expect.stringContaining('its page was left') }
  expect(await rejection(auth.handleCallback())).toMatchObject(failed)
  expect(await rejection(auth.handleCallback())).toMatchObject(failed)
  expect(auth.session.status).toBe('signedOut')
  expect(await next().auth.handleCallback()).toBeUndefined()
})

test('reload at the end: who has signed in by then comes back from their login', async () => {
  const { first, next, taken } = tab()
  await comeBack(first, {}, 'deep')
  const under = [...taken]
  const returned = first.auth.handleCallback()
  await expect.poll(() => taken.size).toBe(1)
  under.push(...taken)
  await returned
  for (const [state, transaction] of under) taken.set(state, transaction)
  expect(await next().auth.handleCallback()).toEqual({ appState: 'deep' })
  expect(first.server.tokenRequests).toHaveLength(1)
})

test('reload in the middle of a second login: the session of before is not taken for its outcome', async () => {
  const { first, next } = tab()
  await comeBack(first)
  await first.auth.handleCallback()
  const second = next()
  await comeBack(second, {}, 'more')
  await leave(second)
  const third = next()
  expect(await rejection(third.auth.handleCallback())).toMatchObject({ ...spent, appState: 'more' })
  expect(third.auth.session.status).toBe('signedIn')
})

test('what the server has refused is not told of twice; what failed on its way is, for so ends a page that is left, too', async () => {
  const { first, next } = tab()
  await comeBack(first, { error: 'access_denied' }, 'deep')
  expect(await rejection(first.auth.handleCallback())).toMatchObject({ error: 'access_denied', appState: 'deep' })
  const second = next()
  expect(await second.auth.handleCallback()).toBeUndefined()
  await comeBack(second, {}, 'deep')
  second.server.tokenResponse = () => Response.error()
  expect(await rejection(second.auth.handleCallback())).toMatchObject({ code: 'exchange-failed', appState: 'deep' })
  expect(await rejection(next().auth.handleCallback())).toMatchObject({ ...spent, appState: 'deep' })
  expect(await next().auth.handleCallback()).toBeUndefined()
})

test('a page that cannot remember logins is no page that was left', async () => {
  const { auth } = startApp({
    transactions: {
      ...memoryTransactions(),
      interrupted() {
        throw new Error('blocked')
      },
    },
  })
  expect(await auth.handleCallback()).toBeUndefined()
  expect(auth.session.status).toBe('signedOut')
})

test('reload in the middle, where nothing remembers it: nothing is redeemed twice and nothing hangs', async () => {
  const { first, load } = pages()
  await comeBack(first, {}, 'deep')
  void first.auth.handleCallback()
  const again = load()
  expect(await again.auth.handleCallback()).toBeUndefined()
  expect(again.auth.session.status).toBe('signedOut')
  await comeBack(again, {}, 'deep')
  expect(await again.auth.handleCallback()).toEqual({ appState: 'deep' })
})

test('back and forward: an address of before is spent, typed, cleaned, and costs no request', async () => {
  const { first, load } = pages()
  const address = await comeBack(first, {}, 'deep')
  await first.auth.handleCallback()
  first.page.url = address
  expect(await rejection(load().auth.handleCallback())).toMatchObject(spent)
  expect(first.page.url).toBe(REDIRECT_URI)
  expect(first.server.tokenRequests).toHaveLength(1)
  expect(first.auth.session.status).toBe('signedIn')
})

test('bookmark: the redirect URI without an answer is nothing, with an old answer it is spent', async () => {
  const { first, load } = pages()
  const address = await comeBack(first)
  await first.auth.handleCallback()
  first.page.url = REDIRECT_URI
  expect(await load().auth.handleCallback()).toBeUndefined()
  first.page.url = address
  expect(await rejection(load().auth.handleCallback())).toMatchObject(spent)
})

test('StrictMode: two calls by two effects give one exchange and the same result', async () => {
  const { first } = pages()
  await comeBack(first, {}, 'deep')
  const [one, other] = [first.auth.handleCallback(), first.auth.handleCallback()]
  expect([await one, await other]).toEqual([{ appState: 'deep' }, { appState: 'deep' }])
  expect(first.server.tokenRequests).toHaveLength(1)
})

test('hot reload: a new client in the same page has nothing to do, whatever the old one is doing', async () => {
  const { first, load } = pages()
  await comeBack(first, {}, 'deep')
  const old = first.auth.handleCallback()
  const renewed = load()
  expect(await renewed.auth.handleCallback()).toBeUndefined()
  expect(await old).toEqual({ appState: 'deep' })
  await first.auth[Symbol.asyncDispose]()
  expect(await renewed.auth.handleCallback()).toBeUndefined()
  expect(first.server.tokenRequests).toHaveLength(1)
})

test('another browser: an answer that was begun elsewhere is typed, and the login there is still good', async () => {
  const here = pages().first
  const address = await comeBack(here, {}, 'deep')
  const elsewhere = startApp({ userAgent: new FakePage(address), fetch: here.server.fetch })
  expect(await rejection(elsewhere.auth.handleCallback())).toMatchObject({ ...spent, appState: undefined })
  expect(here.server.tokenRequests).toEqual([])
  expect(await here.auth.handleCallback()).toEqual({ appState: 'deep' })
})

/** What routers make of an address before the app sees it. */
const routers: [string, (address: string) => string][] = [
  ['decodes what needs no encoding', (address) => address.replace(/%3A/g, ':').replace(/%2F/g, '/')],
  ['encodes all that it can', (address) => address.replace(/[-_~.!*'()]/g, encoded)],
  ['encodes in small letters', (address) => address.replace(/%[0-9A-F]{2}/g, (byte) => byte.toLowerCase())],
  ['sorts the parameters', (address) => reordered(address, (pairs) => pairs.sort())],
  ['turns them round', (address) => reordered(address, (pairs) => pairs.reverse())],
  ['adds parameters of its own', (address) => reordered(address, (pairs) => ['utm=1', ...pairs, 'tab=a+b&&'])],
  ['adds a fragment', (address) => `${address}#/orders?state=theirs&code=theirs`],
  ['serialises it anew', (address) => reordered(address, (pairs) => [`${new URLSearchParams(pairs.join('&'))}`])],
]

const encoded = (char: string) => `%${char.charCodeAt(0).toString(16)}`
function reordered(address: string, change: (pairs: string[]) => string[]): string {
  const [path, query = ''] = address.split('?')
  return `${path}?${change(query.split('&')).join('&')}`
}

test.each(routers)('a router that %s loses no login', async (_, rewrite) => {
  const { first } = pages()
  const [path, query] = (await comeBack(first, {}, 'deep')).split('?')
  first.page.url = rewrite(`${path}?${query}`).replace('%2d', '-') // the path stays
  expect(await first.auth.handleCallback()).toEqual({ appState: 'deep' })
  expect(new URL(first.page.url).search).not.toMatch(/[?&](code|state|iss)=/)
})

test('an answer in the fragment is none: it was not asked for there', async () => {
  const { first } = pages()
  const address = await comeBack(first, {}, 'deep')
  first.page.url = address.replace('?', '#')
  expect(await first.auth.handleCallback()).toBeUndefined()
  expect(first.page.url).toBe(address.replace('?', '#'))
  first.page.url = address
  expect(await first.auth.handleCallback()).toEqual({ appState: 'deep' })
})

test("somebody else's ?code= and ?error= on a page of the app stay, and cost no login that is under way", async () => {
  const { first } = pages()
  const address = await comeBack(first, {}, 'deep')
  for (const foreign of ['?code=coupon', '?error=card_declined&error_description=x', '?code=a&state=b#c']) {
    first.page.url = `https://app.example/shop${foreign}`
    expect(await first.auth.handleCallback()).toBeUndefined()
    expect(first.page.url).toBe(`https://app.example/shop${foreign}`)
  }
  first.page.url = address
  expect(await first.auth.handleCallback()).toEqual({ appState: 'deep' })
})

test('several clients on one page: each takes its own answer, in whatever order they are asked', async () => {
  const page = new FakePage()
  const transactions = memoryTransactions()
  const make = (sessionKey: string) => ({ ...startApp({ userAgent: page, transactions, sessionKey }), page })
  const clients = ['mail', 'files', 'admin'].map(make)
  for (const mine of clients) {
    const appState = { of: clients.indexOf(mine) }
    await comeBack(mine, {}, appState)
    const outcomes = await Promise.all(clients.map((one) => one.auth.handleCallback()))
    expect(outcomes).toEqual(clients.map((one) => (one === mine ? { appState } : undefined)))
  }
  expect(clients.map(({ server }) => server.tokenRequests.length)).toEqual([1, 1, 1])
})

test.each([null, 0, '', false, [], { deep: ['ü', null] }, 'javascript:alert(1)', '//evil.example'])(
  'appState %j comes back as it was, after a failure too: what it is used for is for the app to check',
  async (appState) => {
    const { first } = pages()
    await comeBack(first, {}, appState)
    expect(await first.auth.handleCallback()).toEqual({ appState })
    await comeBack(first, { error: 'access_denied' }, appState)
    const error = await rejection(first.auth.handleCallback())
    expect(error).toBeInstanceOf(InvalidCallbackError)
    expect(error).toMatchObject({ appState, error: 'access_denied' })
  },
)
