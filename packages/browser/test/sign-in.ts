import { type AuthorizationCodeFlow, authorizationCode, type BrowserOptions } from '@keyturn/browser'
import { commands } from 'vitest/browser'

/** Somebody in front of an app; the page stays where the tests are. */
export interface App {
  auth: AuthorizationCodeFlow
  visited: string[]
  warnings: string[]
  /** Goes through the login pages and comes back. */
  signIn(): Promise<void>
}

export function startApp(issuer: string, options: Partial<BrowserOptions> = {}): App {
  const [visited, warnings]: [string[], string[]] = [[], []]
  const page = { url: location.href, navigate: (url: string) => void visited.push(url), replaceUrl: () => {} }
  const auth = authorizationCode({
    issuer,
    clientId: 'spa',
    redirectUri: `${location.origin}/`,
    scope: 'openid profile',
    sessionKey: crypto.randomUUID(),
    userAgent: page,
    onWarning: (message) => warnings.push(message),
    ...options,
  })
  const signIn = async () => {
    await auth.login()
    page.url = await commands.signIn(visited.at(-1) ?? '')
    await auth.handleCallback()
  }
  return { auth, visited, warnings, signIn }
}

/** What a promise rejects with. */
export function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => {
      throw new Error('It did not reject')
    },
    (error: unknown) => error,
  )
}
