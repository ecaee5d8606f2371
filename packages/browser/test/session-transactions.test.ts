import { sessionTransactions, type Transaction } from '@keyturn/browser'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'

const forget = () => sessionStorage.clear()
beforeEach(forget)
afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
  forget()
})

const HOUR = 3_600_000

const transaction = (more: Partial<Transaction> = {}): Transaction => ({
  codeVerifier: 'verifier',
  nonce: 'nonce',
  issuer: 'https://as.example',
  redirectUri: 'https://app.example/',
  createdAt: Date.now(),
  appState: { deep: ['link', 1, null] },
  ...more,
})

/** Where the login of `state` is kept. */
const keyOf = (state: string) => Object.keys(sessionStorage).find((key) => key.endsWith(state)) ?? ''

test('a login is remembered as it was, and taken once', () => {
  const [transactions, given] = [sessionTransactions(), transaction()]
  void transactions.put('state', given)
  expect(transactions.take('state')).toEqual(given)
  expect(transactions.take('state')).toBeUndefined()
  expect(transactions.pending()).toBe(false)
  transactions.settle?.('state')
  expect(sessionStorage.length).toBe(0)
})

test('what was taken is told to the next page of the tab, once, without its verifier; nothing is to the page that took it', () => {
  const transactions = sessionTransactions()
  const given = transaction()
  for (const state of ['mine-1', 'other-1']) void transactions.put(state, given)
  for (const state of ['mine-1', 'other-1']) void transactions.take(state)
  expect(JSON.stringify(sessionStorage)).not.toContain(given.codeVerifier)
  expect([transactions.interrupted?.('mine-'), sessionTransactions().interrupted?.('mine-')]).toEqual([
    undefined,
    undefined,
  ])
  vi.spyOn(performance, 'timeOrigin', 'get').mockReturnValue(performance.timeOrigin + 1)
  const next = sessionTransactions()
  expect(next.take('mine-1')).toBeUndefined()
  expect(next.interrupted?.('mine-')).toMatchObject({ appState: given.appState, createdAt: given.createdAt })
  expect(next.interrupted?.('mine-')).toBeUndefined()
  expect(sessionStorage.length).toBe(1)
})

test('of what was taken nothing is told after the next login has begun', () => {
  const transactions = sessionTransactions()
  void transactions.put('first', transaction())
  void transactions.take('first')
  void transactions.put('second', transaction())
  vi.spyOn(performance, 'timeOrigin', 'get').mockReturnValue(performance.timeOrigin + 1)
  expect(sessionTransactions().interrupted?.('')).toBeUndefined()
  expect(sessionTransactions().take('second')).toMatchObject({ codeVerifier: 'verifier' })
})

test('of what was taken nothing is told when it has settled, is damaged, or is older than a login may be', () => {
  const [transactions, ages] = [sessionTransactions(), 24 * HOUR]
  void transactions.put('settled', transaction())
  void transactions.take('settled')
  transactions.settle?.('settled')
  for (const state of ['damaged', 'old']) void transactions.put(state, transaction())
  for (const state of ['damaged', 'old']) void transactions.take(state)
  sessionStorage.setItem(keyOf('damaged'), '{"codeVerifier":')
  sessionStorage.setItem(keyOf('old'), JSON.stringify({ ...transaction(), createdAt: Date.now() - ages }))
  vi.spyOn(performance, 'timeOrigin', 'get').mockReturnValue(performance.timeOrigin + 1)
  expect(sessionTransactions().interrupted?.('')).toBeUndefined()
  expect(sessionStorage.length).toBe(0)
})

test('a login is remembered across a reload, which is another object over the same storage', () => {
  void sessionTransactions().put('state', transaction())
  expect(sessionTransactions().take('state')).toEqual(transaction({ createdAt: expect.any(Number) }))
})

test('logins under way do not disturb each other', () => {
  const transactions = sessionTransactions()
  for (const state of ['a', 'b', '__proto__', '']) void transactions.put(state, transaction({ nonce: state }))
  expect(transactions.take('a')).toMatchObject({ nonce: 'a' })
  expect(transactions.take('__proto__')).toMatchObject({ nonce: '__proto__' })
  expect(transactions.take('')).toMatchObject({ nonce: '' })
  expect(transactions.take('b')).toMatchObject({ nonce: 'b' })
})

test('a login is pending from its start until it is taken', () => {
  const transactions = sessionTransactions()
  expect(transactions.pending()).toBe(false)
  void transactions.put('state', transaction())
  expect(transactions.pending()).toBe(true)
  expect(transactions.take('other')).toBeUndefined()
  expect(transactions.pending()).toBe(true)
  void transactions.take('state')
  expect(transactions.pending()).toBe(false)
})

test('a login is forgotten after two hours', () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const transactions = sessionTransactions()
  void transactions.put('state', transaction())
  vi.setSystemTime(Date.now() + 2 * HOUR - 1)
  expect(transactions.pending()).toBe(true)
  vi.setSystemTime(Date.now() + 1)
  expect(transactions.pending()).toBe(false)
  expect(transactions.take('state')).toBeUndefined()
})

test('a login from the future, before the clock was set back, has an end too', () => {
  const transactions = sessionTransactions()
  void transactions.put('state', transaction({ createdAt: Date.now() + 3 * HOUR }))
  expect(transactions.pending()).toBe(false)
  expect(transactions.take('state')).toBeUndefined()
})

test('a new login sweeps out what is over or damaged, and nothing that is the app’s own', () => {
  const transactions = sessionTransactions()
  void transactions.put('old', transaction({ createdAt: Date.now() - 2 * HOUR }))
  void transactions.put('damaged', transaction())
  sessionStorage.setItem(keyOf('damaged'), '{"codeVerifier":')
  sessionStorage.setItem('own', 'of the app')
  void transactions.put('new', transaction())
  expect(Object.keys(sessionStorage).sort()).toEqual([keyOf('new'), 'own'].sort())
})

test('what is damaged is no login, and no error', () => {
  const transactions = sessionTransactions()
  void transactions.put('state', transaction())
  const key = keyOf('state')
  const whole = sessionStorage.getItem(key) ?? ''
  const others = ['', 'null', '[]', '7', '"text"', '{}', 'undefined', '{"createdAt":"now"}']
  const cutShort = Array.from({ length: whole.length - 1 }, (_, length) => whole.slice(0, length))
  for (const damaged of [...others, ...cutShort]) {
    sessionStorage.setItem(key, damaged)
    expect(transactions.pending(), damaged).toBe(false)
    expect(transactions.take('state'), damaged).toBeUndefined()
    expect(sessionStorage.getItem(key), damaged).toBeNull()
  }
})

test('every member that a login needs is checked', () => {
  const transactions = sessionTransactions()
  for (const name of ['codeVerifier', 'issuer', 'redirectUri', 'createdAt'] as const) {
    void transactions.put(name, transaction())
    const { [name]: _, ...rest } = transaction()
    sessionStorage.setItem(keyOf(name), JSON.stringify(rest))
    expect(transactions.take(name), name).toBeUndefined()
  }
})
