import { unlessAborted } from './deadline.ts'
import { LoginRequiredError, OAuthError } from './errors.ts'
import { HeldToken } from './held-token.ts'
import { pause, reconnectionDelay } from './reconnection.ts'
import { sessionEnded } from './renewal-errors.ts'
import type { SessionSnapshot } from './session-snapshot.ts'
import { personOf } from './token-fetch.ts'
import type { IssuedTokenSet } from './token-set.ts'
import type { AccessTokenRequest, TokenSource } from './token-source.ts'

/**
 * What a long-lived connection asks for its tokens. Any source will do; one that tells when its tokens end, and who is
 * signed in, as every `TokenManager` does, has its connections renewed and closed in time.
 */
export interface ConnectionSource extends TokenSource {
  getTokenSet?(request?: AccessTokenRequest): Promise<IssuedTokenSet>
  readonly session?: SessionSnapshot
  subscribe?(listener: () => void): () => void
}

type Signed = AccessTokenRequest & { method: string; url: string }

/** The least time before another token is asked for, milliseconds. */
const SHORTEST_WAIT = 1000

/** The source of one connection: it remembers which token it gave, and knows when another one should take its place. */
export class ConnectionToken implements TokenSource {
  /** Only where the source has it. */
  declare readonly authorize?: NonNullable<TokenSource['authorize']>
  declare readonly observe?: NonNullable<TokenSource['observe']>
  readonly #source: ConnectionSource
  #accessToken = ''
  #wanted: AccessTokenRequest = {}
  #held: HeldToken | undefined
  #failure: unknown

  constructor(source: ConnectionSource) {
    this.#source = source
    if (source.authorize) Object.assign(this, { authorize: this.#authorize })
    if (source.observe) Object.assign(this, { observe: source.observe.bind(source) })
  }

  /** Who is signed in: no fetch sends what one person asked for with the token of another. */
  get session(): SessionSnapshot | undefined {
    return this.#source.session
  }

  /** The token that was given last. */
  get accessToken(): string {
    return this.#accessToken
  }

  /** Why the source gave none when it was asked last: an answer that refuses the token before does not tell. */
  get failure(): unknown {
    return this.#failure
  }

  async getAccessToken(request: AccessTokenRequest = {}): Promise<string> {
    const { rejectedToken: _, signal: __, ...wanted } = request
    const [accessToken, tokenSet] = await this.#asked(async () => {
      const tokenSet = await this.#source.getTokenSet?.(request)
      return [tokenSet?.accessToken ?? (await this.#source.getAccessToken(request)), tokenSet] as const
    })
    return this.#gave(accessToken, wanted, tokenSet)
  }

  readonly #authorize = async (request: Signed) => {
    const { rejectedToken: _, signal: __, method: ___, url: ____, ...wanted } = request
    const given = await this.#asked(async () => this.#source.authorize?.(request))
    if (!given) throw new OAuthError('invalid-response', 'The source signed nothing')
    // From memory: the source has it there now. It is another one where it was renewed in this very moment.
    const tokenSet = await this.#source.getTokenSet?.(wanted).catch(() => undefined)
    this.#gave(given.accessToken, wanted, tokenSet?.accessToken === given.accessToken ? tokenSet : undefined)
    return given
  }

  async #asked<T>(ask: () => Promise<T>): Promise<T> {
    this.#failure = undefined
    try {
      return await ask()
    } catch (error) {
      this.#failure = error
      throw error
    }
  }

  #gave(accessToken: string, wanted: AccessTokenRequest, tokenSet: IssuedTokenSet | undefined): string {
    this.#accessToken = accessToken
    this.#wanted = wanted
    // The smallest lead: by then whoever renews a token early has done so.
    const isTold = tokenSet && Number.isFinite(tokenSet.expiresAt - tokenSet.issuedAt)
    this.#held = isTold ? new HeldToken({ ...tokenSet, accessToken }, 0.75) : undefined
    return accessToken
  }

  /**
   * Resolves before the token ends, when there is another one; never where nobody tells when it ends. Rejects with a
   * `LoginRequiredError` where nobody is signed in any more, and with the signal's reason.
   */
  async renewed(signal: AbortSignal): Promise<void> {
    const held = this.#held
    if (!held) return new Promise(() => {})
    const should = held.until('should')
    // Somewhere between should and must: those who share one token do not all reconnect at once. Not at once either where
    // a source gives tokens that have ended already: there is always another one.
    let wait = Math.max(SHORTEST_WAIT, should + Math.random() * (held.until('must') - should))
    let failures = 0
    for (;;) {
      await pause(wait, signal, false)
      let failure: unknown
      try {
        const other = await unlessAborted(Promise.resolve(this.#source.getTokenSet?.(this.#wanted)), signal)
        if (other?.accessToken !== this.#accessToken) return
      } catch (error) {
        signal.throwIfAborted()
        if (error instanceof LoginRequiredError) throw error
        // The connection is as good as its server takes it to be; without another token there will be no better one.
        failure = error
        failures++
      }
      wait = Math.max(held.until('must') / 2, reconnectionDelay(SHORTEST_WAIT, failures, failure))
    }
  }
}

/**
 * Calls `end` once where the session that a connection is of is over: signed out, ended, or another person's. Returns the
 * way to stop. Where the source does not tell who is signed in, nothing is ever over.
 */
export function whenSessionEnds(source: ConnectionSource, end: (error: OAuthError) => void): () => void {
  let signedIn: { person: unknown } | undefined
  const look = () => {
    const { session } = source
    if (session?.status === 'signedIn') {
      const person = personOf(source)
      signedIn ??= { person }
      signedIn.person ??= person // whose a refresh token from elsewhere is, the first answer tells
      if (signedIn.person !== person) end(new LoginRequiredError('session-ended', 'Somebody else has signed in'))
    } else if (session?.status === 'signedOut' && signedIn) {
      if (session.ended) return end(sessionEnded(session.ended.reason))
      // Nobody says that it ended: who can ask again goes on.
      source.getAccessToken().catch((error) => {
        if (error instanceof LoginRequiredError) end(error)
      })
    }
  }
  const stop = source.subscribe?.(look)
  look()
  return stop ?? (() => {})
}
