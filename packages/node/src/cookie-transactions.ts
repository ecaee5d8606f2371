import { createHash, randomBytes } from 'node:crypto'
import { isUnderWay, type Transaction, type TransactionStore } from '@keyturn/core'
import { MOST_BYTES, type SealedCookies } from './sealed-cookies.ts'
import type { WebRequest } from './web-request.ts'

/** A login that one browser has under way. */
export interface WebLogin {
  readonly cookie: string
  readonly until: number
  readonly bytes: number
  readonly state: string
  /** Of the session that it will begin: drawn with the login, so that no session can be laid in wait for a person. */
  readonly sessionKey: string
  readonly transaction: Transaction
}

/** Seconds that a login may take: as long as core lets one be under way. */
const LIFETIME = 7200

const LOGIN = 'login-'

/** The logins that the browser which sent this request has under way, oldest first. */
export function webLoginsOf(cookies: SealedCookies, request: WebRequest): WebLogin[] {
  const logins = cookies.opened(request).flatMap(({ name, until, bytes, value }) => {
    if (!name.startsWith(cookies.name(LOGIN)) || !Array.isArray(value)) return []
    const [state, sessionKey, transaction]: unknown[] = value
    if (typeof state !== 'string' || typeof sessionKey !== 'string' || !isUnderWay(transaction)) return []
    return [{ cookie: name, until, bytes, state, sessionKey, transaction }]
  })
  return logins.sort((one, other) => one.until - other.until)
}

/** A name for a session that nobody can guess. */
export function newSessionKey(): string {
  return randomBytes(32).toString('base64url')
}

export interface CookieTransactionsOptions {
  readonly cookies: SealedCookies
  /** Of the browser. */
  readonly logins: readonly WebLogin[]
  /** Of the answer. */
  readonly headers: Headers
  /** Told which login has come back; resolves with whether it may go on. */
  readonly comesBack?: (login: WebLogin) => Promise<boolean>
}

/**
 * Keeps each login under way in a cookie of the browser that began it: a response that comes by another browser answers
 * no login there, which is what keeps people from being signed in as somebody else (RFC 9700 section 4.7).
 */
export function cookieTransactions({
  cookies,
  logins,
  headers,
  comesBack,
}: CookieTransactionsOptions): TransactionStore {
  return {
    put(state, transaction) {
      const kind = LOGIN + createHash('sha256').update(state).digest('hex').slice(0, 16)
      // Servers refuse requests with too long headers: the oldest logins make room.
      let room = MOST_BYTES - cookies.put(headers, kind, [state, newSessionKey(), transaction], LIFETIME)
      for (const login of logins.toReversed()) {
        room -= login.bytes
        if (room < 0) cookies.remove(headers, login.cookie)
      }
    },
    async take(state) {
      const login = logins.find((one) => one.state === state)
      if (!login) return undefined
      cookies.remove(headers, login.cookie)
      return (await comesBack?.(login)) ? login.transaction : undefined
    },
    pending: () => logins.length > 0,
  }
}
