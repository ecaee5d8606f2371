import { createHash, hkdfSync } from 'node:crypto'
import { OAuthError } from '@keyturn/core'
import { opened, sealed } from './sealing.ts'
import { cookiesOf, type WebRequest } from './web-request.ts'

/** What cookies are encrypted with: 32 bytes, or at least 32 characters that a random generator made. */
export type CookieKey = string | Uint8Array

/** A cookie that one of the keys has opened. */
export interface OpenedCookie {
  readonly name: string
  /** Epoch milliseconds. */
  readonly until: number
  /** Of name and value. */
  readonly bytes: number
  readonly value: unknown
}

export interface SealedCookiesOptions {
  /** The first one seals, all open. */
  keys: readonly CookieKey[]
  /** Whose cookies they are: clients on one host do not touch each other's. */
  client: readonly string[]
  /** Whether they travel over https only. */
  secure: boolean
}

/** The least length of a key. */
const KEY_LENGTH = 32
/** What browsers keep at most of a cookie's name and value (RFC 6265 section 6.1). */
export const MOST_BYTES = 4096

/** Cookies that nobody else can read, make, rename or prolong: AES-256-GCM, bound to their name and their end. */
export class SealedCookies {
  readonly #newest: Buffer
  readonly #keys: Buffer[]
  readonly #prefix: string
  readonly #secure: boolean

  constructor({ keys, client, secure }: SealedCookiesOptions) {
    const [newest, ...older] = keys
    this.#newest = derived(newest)
    this.#keys = [this.#newest, ...older.map(derived)]
    const mark = createHash('sha256').update(JSON.stringify(client)).digest('hex').slice(0, 8)
    // The prefix keeps other hosts of the site, and what came over http, from planting one (RFC 6265bis section 4.1.3.2).
    this.#prefix = `${secure ? '__Host-' : ''}keyturn-${mark}-`
    this.#secure = secure
  }

  /** The full name of a cookie. */
  name(kind: string): string {
    return this.#prefix + kind
  }

  /** Of all that a request brings, what is ours and not over; the rest counts as not there. */
  opened(request: WebRequest): OpenedCookie[] {
    return cookiesOf(request).flatMap(([name, text]) => {
      if (!name.startsWith(this.#prefix)) return []
      for (const key of this.#keys) {
        const content = opened(key, text, name)
        if (!Array.isArray(content) || content.length !== 2) continue
        const [until, value]: unknown[] = content
        const bytes = name.length + text.length
        return typeof until === 'number' && until > Date.now() ? [{ name, until, bytes, value }] : []
      }
      return []
    })
  }

  /** Sets one for so many seconds, and tells its bytes. Throws an `OAuthError` for one that browsers would drop. */
  put(headers: Headers, kind: string, value: unknown, maxAge: number): number {
    const name = this.name(kind)
    const text = sealed(this.#newest, JSON.stringify([Date.now() + maxAge * 1000, value]), name)
    const bytes = name.length + text.length
    if (bytes > MOST_BYTES) {
      throw new OAuthError('invalid-options', 'The login does not fit into a cookie', {
        fix: 'Keep appState below 2,000 bytes.',
      })
    }
    this.#set(headers, `${name}=${text}`, maxAge)
    return bytes
  }

  remove(headers: Headers, name: string): void {
    this.#set(headers, `${name}=`, 0)
  }

  #set(headers: Headers, pair: string, maxAge: number): void {
    const secure = this.#secure ? '; Secure' : ''
    headers.append('set-cookie', `${pair}; Path=/; Max-Age=${maxAge}; HttpOnly; SameSite=Lax${secure}`)
  }
}

function derived(key: unknown): Buffer {
  if (!(typeof key === 'string' || key instanceof Uint8Array) || key.length < KEY_LENGTH) {
    throw new OAuthError('invalid-options', 'cookieKey is missing or too short', {
      fix: 'Set cookieKey to 32 random bytes, or to 32 random characters or more.',
    })
  }
  return Buffer.from(hkdfSync('sha256', key, '', 'keyturn 1 cookies', KEY_LENGTH))
}
