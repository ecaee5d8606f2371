import {
  type AuthorizationCodeFlow,
  type IssuedTokenSet,
  OAuthError,
  type SessionEnd,
  type TimelineEvent,
  TokenUnavailableError,
} from '@keyturn/browser'
import { clockShift, realNow } from './clock.ts'
import { seconds } from './dom.ts'
import type { Lane } from './lane.ts'
import { tell } from './log.ts'
import type { SentRequests } from './sent-requests.ts'

const ends: Record<SessionEnd['reason'], string> = {
  'signed-out': 'signed out',
  idle: 'nobody was there',
  refused: 'the server refused the refresh token: sign in again',
  'rotation-lost': 'the answer to a renewal was lost, and with it the session: sign in again',
  expired: 'the token expired and nothing renews it',
  'storage-cleared': 'the storage was cleared',
  damaged: 'what was stored is damaged',
  'key-lost': 'the key that the session is bound to is gone: sign in again',
}

/** What became of the tokens of this page, counted since it was opened. */
export interface Renewals {
  here: number
  elsewhere: number
  failed: number
}

export interface Watched {
  /** Whose session it is, in the log. */
  who: string
  auth: AuthorizationCodeFlow
  /** All token requests of the page for it. */
  sent: SentRequests
  /** For the session's own token. */
  lane: Lane
  /** What that is for, where `auth` asks for one resource. */
  resource?: string
  /** For the tokens of other resources. */
  others?: Map<string, Lane>
}

/** Looks at the session as a page that uses it would, and shows in lanes and words what it sees. */
export class SessionWatch {
  readonly renewals: Renewals = { here: 0, elsewhere: 0, failed: 0 }
  readonly #auth: AuthorizationCodeFlow
  readonly #who: string
  readonly #sent: SentRequests
  readonly #resource: string
  readonly #lane: Lane
  readonly #others: Map<string, Lane>
  readonly #seen = new Set<string>()
  /** The last token of every lane, by its issue on the page's clock. */
  readonly #tokens = new Map<Lane, { issuedAt: number; end: number }>()
  #status = 'unknown'
  #retryAt: number | undefined

  constructor({ who, auth, sent, lane, resource = '', others = new Map() }: Watched) {
    this.#who = who
    this.#auth = auth
    this.#sent = sent
    this.#lane = lane
    this.#resource = resource
    this.#others = others
    for (const event of auth.explain()) this.#seen.add(keyOf(event)) // what happened before the page was opened
  }

  /** To be called every now and then: costs no request, because a valid token comes from memory. */
  async look(): Promise<void> {
    const { session } = this.#auth
    for (const event of this.#auth.explain()) this.#happened(event)
    if (session.status === 'signedIn') {
      await this.#lookAt(this.#lane)
      this.#describe(session.freshness === 'stale')
    } else {
      for (const lane of [this.#lane, ...this.#others.values()]) {
        lane.end(realNow())
        lane.say('Signed out', 'none')
      }
      this.#tokens.clear()
    }
    this.#status = session.status
  }

  /** After a call with a token for this resource. */
  async called(resource: string): Promise<void> {
    const lane = this.#others.get(resource)
    if (lane && this.#auth.session.status === 'signedIn') await this.#lookAt(lane, resource)
  }

  async #lookAt(lane: Lane, resource?: string): Promise<void> {
    try {
      const request = resource === undefined ? undefined : { resource }
      this.#found(lane, await this.#auth.getTokenSet(request), resource)
      this.#retryAt = undefined
    } catch (error) {
      if (!(error instanceof OAuthError)) throw error
      if (error instanceof TokenUnavailableError) this.#retryAt = error.retryAt
    }
  }

  #found(lane: Lane, { issuedAt, expiresAt }: IssuedTokenSet, resource = this.#resource): void {
    const before = this.#tokens.get(lane)
    if (before?.issuedAt === issuedAt) return
    const start = issuedAt - clockShift()
    const end = expiresAt - clockShift()
    this.#tokens.set(lane, { issuedAt, end })
    lane.token(start, end)
    const own = lane === this.#lane
    if (!before) {
      lane.mark(start, 'issued')
      const what = own ? `has a token, good for ${seconds(end - realNow())}` : 'has a second token, for invoices'
      tell({ at: realNow(), who: this.#who, what, mood: 'good' }, { aloud: true })
      return
    }
    const sent = this.#sent.behind(resource, issuedAt)
    if (sent?.isLogin) {
      lane.mark(start, 'issued')
      tell({ at: start, who: this.#who, what: 'has another token, of a new login', mood: 'good' }, { aloud: true })
      return
    }
    const kind = sent ? 'here' : 'elsewhere'
    lane.mark(start, kind)
    if (own) this.renewals[kind] += 1
    const early = before.end - start
    const what = sent
      ? `renewed its token${own ? '' : ' for invoices'}${early > 0 ? `, ${seconds(early)} before the old one ended` : ''}`
      : 'took over the token that another tab renewed'
    tell({ at: start, who: this.#who, what, mood: 'good' }, { aloud: own })
  }

  #happened(event: TimelineEvent): void {
    const key = keyOf(event)
    if (this.#seen.has(key)) return
    this.#seen.add(key)
    const at = realNow()
    const say = (what: string, mood: 'good' | 'bad' | 'neutral') =>
      tell({ at, who: this.#who, what, mood }, { aloud: true })
    if (event.event === 'failed') {
      this.renewals.failed += 1
      this.#lane.mark(at, 'failed')
      const left = (this.#tokens.get(this.#lane)?.end ?? at) - at
      say(
        `could not renew (${event.detail}); ${left > 0 ? `the token is good for ${seconds(left)} more` : 'no token is left'}`,
        'bad',
      )
    }
    if (event.event === 'ended') {
      const { session } = this.#auth
      const end = session.status === 'signedOut' ? session.ended : undefined
      const where = end?.origin === 'another' ? ' in another tab' : ''
      say(`${(end && ends[end.reason]) ?? event.detail}${where}`, end?.origin === 'server' ? 'bad' : 'neutral')
    }
    if (event.event === 'degraded') say(`goes on without its storage: ${event.detail}`, 'bad')
    if (event.event === 'issued' && this.#status === 'signedOut') {
      const isOwn = this.#sent.behind(this.#resource, event.at)?.isLogin
      say(isOwn ? 'signed in, in a window' : 'signed in, in another tab', 'good')
    }
  }

  #describe(stale: boolean): void {
    const now = realNow()
    for (const lane of [this.#lane, ...this.#others.values()]) {
      const { end = 0, issuedAt } = this.#tokens.get(lane) ?? {}
      const left = end - now
      const own = lane === this.#lane
      if (left > 0 && stale) lane.say(`Failing, ${seconds(left)} left`, 'bad')
      else if (left > 0) lane.say(`Good for ${seconds(left)}`, 'good')
      else if (own)
        lane.say(this.#retryAt ? `None, again in ${seconds(this.#retryAt - Date.now())}` : 'No token', 'bad')
      else lane.say(issuedAt === undefined ? 'At the first call' : 'Next call renews', 'none')
    }
  }
}

function keyOf({ at, event, detail }: TimelineEvent): string {
  return `${at} ${event} ${detail}`
}
