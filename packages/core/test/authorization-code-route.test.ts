import { InvalidCallbackError, memoryTransactions } from '@keyturn/core'
import { expect, test, vi } from 'vitest'
import { comeBack, REDIRECT_URI, rejection, startApp } from './sign-in-server.ts'

/** Another window than the page, and what it was told. */
function otherRoute() {
  const visited: string[] = []
  const userAgent = { url: '', navigate: (url: string) => void visited.push(url), replaceUrl() {} }
  return { visited, userAgent, transactions: memoryTransactions() }
}

test('a login by another route leaves the page and its transactions alone, and signs in here', async () => {
  const transactions = { ...memoryTransactions(), put: vi.fn(), take: vi.fn() }
  const app = startApp({ transactions })
  const route = otherRoute()
  await app.auth.login({ appState: 'deep' }, route)
  expect(app.page.events).toEqual([])
  const { searchParams } = new URL(route.visited[0] ?? '')
  const answer = new URL(app.server.authorize(route.visited[0] ?? ''))
  expect(answer.searchParams.get('state')).toBe(searchParams.get('state'))
  const returned = await app.auth.redeem({ response: answer.searchParams, cleanAddress: '' }, route)
  expect(returned).toEqual({ appState: 'deep' })
  expect(app.auth.session.status).toBe('signedIn')
  expect(app.page.events).toEqual([])
  expect(transactions.put).not.toHaveBeenCalled()
  expect(transactions.take).not.toHaveBeenCalled()
})

test('a response that no login here waits for is offered to other windows, and is no error where one takes it', async () => {
  for (const taken of [true, false, undefined]) {
    const app = startApp({ transactions: { ...memoryTransactions(), take: () => undefined } })
    const handOver = vi.fn(async (_state: string, _response: string) => taken)
    Object.assign(app.page, { handOver })
    const url = new URL(await comeBack(app))
    const handled = app.auth.handleCallback()
    if (taken) expect(await handled).toBeUndefined()
    else expect(await rejection(handled)).toMatchObject({ name: 'InvalidCallbackError', code: 'invalid-state' })
    expect(handOver.mock.calls).toEqual([[url.searchParams.get('state'), url.searchParams.toString()]])
    expect(app.page.url).toBe(REDIRECT_URI)
    expect(app.server.tokenRequests).toHaveLength(0)
  }
})

test('a response that a login here waits for is offered to nobody, good or bad', async () => {
  const handOver = vi.fn(async () => true)
  const app = startApp()
  Object.assign(app.page, { handOver })
  await comeBack(app, {}, 'deep')
  expect(await app.auth.handleCallback()).toEqual({ appState: 'deep' })
  await comeBack(app, { error: 'access_denied' })
  expect(await rejection(app.auth.handleCallback())).toBeInstanceOf(InvalidCallbackError)
  expect(handOver).not.toHaveBeenCalled()
})

test('a sign-out by another route leaves the page where it is', async () => {
  const app = startApp()
  app.server.metadata = { end_session_endpoint: 'https://as.example/end' }
  await comeBack(app)
  await app.auth.handleCallback()
  const before = [...app.page.events]
  const route = otherRoute()
  await app.auth.logout({}, route)
  expect(app.page.events).toEqual(before)
  expect(route.visited).toEqual([expect.stringMatching(/^https:\/\/as\.example\/end\?id_token_hint=/)])
})
