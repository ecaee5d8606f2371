import { memoryStore, OAuthError, type StoredRecord } from '@keyturn/core'
import { expect } from 'vitest'
import { type Answer, type App, comeBack, ISSUER, rejection, startApp } from './sign-in-server.ts'
import { expectNone } from './visible-secrets.ts'

/** Never to be seen in an error: what mallory's server hands out, and what the app sends. */
export const SECRETS: string[] = ['access-token-of-mallory', 'refresh-token-of-mallory', 'id-token-of-mallory']

/** A token response that is good in all but whose it is. */
export const MALLORYS: Record<string, unknown> = {
  access_token: 'access-token-of-mallory',
  token_type: 'Bearer',
  expires_in: 300,
  refresh_token: 'refresh-token-of-mallory',
}

export interface HostileWorld extends App {
  /** Where anything was sent to, the user agent too, oldest first. */
  sentTo: string[]
  /** What a path of the server answers from now on, in place of what it should. */
  answers: Map<string, () => Response | Promise<Response>>
  /** What the store holds of the session. */
  stored(): Promise<StoredRecord | undefined>
  /** The same person's next page: the store is the same, the server is asked anew. */
  nextPage(options?: Parameters<typeof startApp>[0]): App
}

/** Ada is signed in; from here on her server may do what it likes. */
export async function signedInWorld(options: Parameters<typeof startApp>[0] = {}): Promise<HostileWorld> {
  const inner = memoryStore()
  const keys = new Set<string>()
  const get = (key: string) => {
    keys.add(key)
    return inner.get(key)
  }
  const store = { ...inner, get }
  const sentTo: string[] = []
  const answers: HostileWorld['answers'] = new Map()
  const recording: typeof fetch = async (input, init) => {
    const { url } = new Request(input, init)
    sentTo.push(url)
    const answer = answers.get(new URL(url).pathname)
    return answer ? answer() : app.server.fetch(input, init)
  }
  const app: App = startApp({ store, fetch: recording, ...options })
  await comeBack(app)
  await app.auth.handleCallback()
  const [key = ''] = keys
  const nextPage: HostileWorld['nextPage'] = (more) => {
    const next = startApp({ store, userAgent: app.page, fetch: recording, ...options, ...more })
    return { ...next, page: app.page, server: app.server }
  }
  sentTo.length = 0
  app.page.visited.length = 0
  return { ...app, sentTo, answers, stored: () => inner.get(key), nextPage }
}

/**
 * What the server does ends in this typed error, which shows no secret; nothing is stored, nothing is sent anywhere
 * but to the server, and whoever was signed in before still is, here and on the next page.
 */
export async function refuses(world: HostileWorld, act: () => Promise<unknown>, expected: object): Promise<OAuthError> {
  const before = await world.stored()
  const error = await rejection(act())
  expect(error).toBeInstanceOf(OAuthError)
  expect(error).toMatchObject(expected)
  expectNone([error, (error as OAuthError).cause, world.warnings, world.auth.explain()], SECRETS)
  await expectUntouched(world, before)
  return error as OAuthError
}

/** Ada's session is what it was, and nobody was told anything but her server. */
export async function expectUntouched(world: HostileWorld, before: StoredRecord | undefined): Promise<void> {
  expect(await world.stored()).toEqual(before)
  for (const url of [...world.sentTo, ...world.page.visited]) expect(url.startsWith(`${ISSUER}/`), url).toBe(true)
  for (const auth of [world.auth, world.nextPage().auth]) {
    expect(await auth.getAccessToken()).toBe('access-token-of-ada')
    expect(auth.session).toMatchObject({ status: 'signedIn', claims: { sub: 'ada' } })
  }
}

/** A second login as far as its return, and what it sent along as secrets. */
export async function secondLogin(world: HostileWorld, answer?: Answer): Promise<void> {
  const url = new URL(await comeBack(world, answer, 'deep'))
  SECRETS.splice(3, SECRETS.length, ...url.searchParams.getAll('code'), ...url.searchParams.getAll('state'))
}
