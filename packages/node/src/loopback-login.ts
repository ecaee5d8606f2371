import {
  type AuthorizationCodeFlow,
  type AuthorizationCodeOptions,
  authorizationCode,
  type Claims,
  InvalidCallbackError,
  type LoginOptions,
  memoryTransactions,
  OAuthError,
  type StandardSchemaV1,
} from '@keyturn/core'
import type { ClosingPage } from './closing-page.ts'
import { loopbackReceiver, notFound } from './loopback-receiver.ts'
import { storedSession } from './stored-session.ts'
import { openInSystemBrowser } from './system-browser.ts'

/** What `loopbackLogin` needs besides what all sources take. */
export interface LoopbackLoginOptions
  extends Omit<AuthorizationCodeOptions, 'redirectUri' | 'transactions' | 'userAgent'> {
  /** What the login asks for, where there has to be one. Default: nothing besides. */
  login?: Omit<LoginOptions, 'appState'> | undefined
  /** Ends the login and rejects with the signal's own reason. Default: none. */
  signal?: AbortSignal | undefined
  /** Milliseconds that the person has, at most an hour. Default: 300 000 (five minutes). */
  loginTimeout?: number | undefined
  /** Shows an address in a browser; rejects where it cannot. Default: the system's own opener. */
  open?: ((url: string) => void | Promise<void>) | undefined
  /** Told the address where no browser could be opened, to show it to the person. Default: the login fails. */
  onUrl?: ((url: string) => void | Promise<void>) | undefined
}

/** Transactions are good for two hours, of which a clock that jumps may take one. */
const LONGEST = 3_600_000

const signedIn: ClosingPage = {
  status: 200,
  title: 'You are signed in',
  text: 'You can close this window and go back to the program.',
}

/**
 * Signs a person in to a program on their own machine (RFC 8252): with the session that the store has, else in the
 * system's browser, whose answer comes back to a free port of 127.0.0.1; `http://127.0.0.1/callback` has to be
 * registered. Nothing listens when it has settled. Rejects with an `OAuthError`: `navigation-failed` where no browser can
 * be opened, `timeout`, and with all that `login()` and `handleCallback()` of `authorizationCode` reject with. To sign in
 * as somebody else, `revoke()` the session first, or give another `sessionKey`.
 */
export function loopbackLogin<C extends object>(
  options: LoopbackLoginOptions & { claims: StandardSchemaV1<unknown, C> },
): Promise<AuthorizationCodeFlow<Claims & C>>
export function loopbackLogin(options: LoopbackLoginOptions): Promise<AuthorizationCodeFlow>
export async function loopbackLogin(options: LoopbackLoginOptions): Promise<AuthorizationCodeFlow> {
  const { login, signal, loginTimeout = 300_000, open = openInSystemBrowser, onUrl, ...shared } = options
  if (!(loginTimeout > 0 && loginTimeout <= LONGEST)) {
    throw new OAuthError('invalid-options', 'loginTimeout cannot be used', { fix: 'Set it to an hour at most.' })
  }
  signal?.throwIfAborted()
  const transactions = memoryTransactions()
  const userAgent = { url: '', navigate: open, replaceUrl() {} }
  const flowAt = (redirectUri: string) => authorizationCode({ ...shared, redirectUri, userAgent, transactions })
  const stored = await storedSession(flowAt('http://127.0.0.1/callback'), signal)
  if (stored) return stored

  const { promise: ended, resolve, reject } = Promise.withResolvers<void>()
  let isOver = false
  const receiver = await loopbackReceiver(async (url, reply) => {
    userAgent.url = url
    try {
      const returned = await flow.handleCallback()
      if (returned && isOver) return await flow.revoke() // whoever called has been told that nobody signed in
      await reply(returned ? signedIn : notFound)
      if (returned) resolve()
    } catch (error) {
      if (error instanceof InvalidCallbackError && error.code === 'invalid-state') return reply(notFound)
      await reply(notSignedIn(error))
      reject(error)
    }
  })
  const flow = flowAt(receiver.redirectUri)

  async function begin(): Promise<void> {
    let address = ''
    const navigate = (url: string) => {
      address = url
    }
    await flow.login(login, { userAgent: { ...userAgent, navigate }, transactions })
    if (isOver) return
    try {
      await open(address)
    } catch (cause) {
      if (isOver) return
      if (!onUrl) {
        throw new OAuthError('navigation-failed', 'No browser can be opened', {
          cause,
          fix: 'Give onUrl, which shows the address, or use deviceLogin().',
        })
      }
      await shown(onUrl, address)
    }
  }

  const abort = () => reject(signal?.reason)
  signal?.addEventListener('abort', abort)
  const expiry = setTimeout(() => {
    reject(new OAuthError('timeout', `Nobody signed in within ${loginTimeout} ms`, { fix: 'Offer the login again.' }))
  }, loginTimeout)
  try {
    if (signal?.aborted) abort()
    else begin().catch(reject)
    await ended
    return flow
  } catch (error) {
    await flow[Symbol.asyncDispose]()
    throw error
  } finally {
    isOver = true
    clearTimeout(expiry)
    signal?.removeEventListener('abort', abort)
    await receiver.close()
  }
}

async function shown(onUrl: (url: string) => void | Promise<void>, address: string): Promise<void> {
  try {
    await onUrl(address)
  } catch (cause) {
    throw new OAuthError('callback-failed', 'onUrl failed', { cause })
  }
}

function notSignedIn(error: unknown): ClosingPage {
  const isDenied = error instanceof InvalidCallbackError && error.error === 'access_denied'
  const text = isDenied ? 'Access was not allowed.' : 'The program tells what went wrong.'
  return { status: 400, title: 'You are not signed in', text: `${text} You can close this window.` }
}
