import type { AuthorizationServer } from './authorization-server.ts'
import type { Fault } from './faults.ts'

/** Every fault hits so many token requests: no more than one renewal can take before its token expires. */
export const TIMES = 2

/** What each key does, for the list of keys. */
export const keys: [key: string, label: string][] = [
  ['5', '503'],
  ['4', '429, Retry-After 5'],
  ['h', 'hang'],
  ['a', 'away/back'],
  ['r', 'revoke all'],
  ['o', 'OK again'],
  ['q', 'stop'],
]

const faults: Record<string, [what: string, fault: Fault]> = {
  '5': ['answers 503', { status: 503 }],
  '4': ['answers 429, Retry-After 5', { status: 429, retryAfter: 5 }],
  h: ['hangs', { hang: true }],
}

/** Breaks the authorization server, and makes it well again. */
export class Breakage {
  readonly #server: AuthorizationServer
  #fault: { what: string; times: number; before: number } | undefined
  #away = false
  /** What was done to it, newest last. */
  readonly deeds: { at: number; what: string }[] = []

  constructor(server: AuthorizationServer) {
    this.#server = server
  }

  /** What is wrong with the server at present. */
  get trouble(): string | undefined {
    if (this.#away) return 'is gone: no connection'
    const { what = '', times = 0, before = 0 } = this.#fault ?? {}
    const left = times - (this.#faulty() - before)
    return left > 0 ? `${what} to the next ${left === 1 ? 'request' : `${left} requests`}` : undefined
  }

  get away(): boolean {
    return this.#away
  }

  /** The token endpoint does this to its next requests. */
  fault(what: string, fault: Fault): void {
    this.#server.fault({ ...fault, times: TIMES })
    this.#fault = { what, times: TIMES, before: this.#faulty() }
    this.#did(`${what} to ${TIMES} requests`)
  }

  async press(key: string): Promise<void> {
    const server = this.#server
    const [what, fault] = faults[key] ?? []
    if (what && fault) this.fault(what, fault)
    if (key === 'r') {
      server.revokeAll()
      this.#did('revokes everything')
    }
    if (key === 'o' && this.trouble) {
      server.fault()
      this.#fault = undefined
      if (!this.#away) this.#did('is well again')
    }
    if (key === 'a' && !this.#away) {
      this.#away = true
      this.#did('goes away')
      await server.away()
    } else if (this.#away && (key === 'a' || key === 'o')) {
      await server.back()
      this.#away = false
      this.#did('is back')
    }
  }

  #faulty(): number {
    return this.#server.log.filter(({ fault }) => fault).length
  }

  #did(what: string): void {
    this.deeds.push({ at: Date.now(), what })
  }
}
