import type { ActorState, PageState, Trouble } from '../src/page-contract.ts'
import { realNow } from './clock.ts'
import { button, element, say, seconds } from './dom.ts'
import type { Lane } from './lane.ts'
import { tell } from './log.ts'
import type { Timeline } from './timeline.ts'

interface Shown {
  lane: Lane
  issuedAt?: number
  served: number
  failed: number
}

/** Shows who else lives on the playground's server, and breaks that. */
export class ServerWatch {
  readonly #timeline: Timeline
  readonly #actors = new Map<string, Shown>()
  readonly #opened = realNow()
  readonly #told = new Set<string>()
  #reachable = true
  #away: HTMLButtonElement | undefined

  constructor(timeline: Timeline, times: number) {
    this.#timeline = timeline
    const buttons: [label: string, trouble: Trouble][] = [
      ['503', '503'],
      ['429', '429'],
      ['Hang', 'hang'],
      ['Take it away', 'away'],
      ['Revoke all', 'revoke'],
      ['Make it well', 'ok'],
    ]
    for (const [label, trouble] of buttons) {
      const made = button(
        label,
        () => void this.#break(made === this.#away ? (made.dataset.trouble as Trouble) : trouble),
      )
      if (['503', '429', 'hang'].includes(trouble)) made.ariaDescription = `to the next ${times} token requests`
      if (trouble === 'away') this.#away = made
      made.dataset.trouble = trouble
      element('troubles').append(made)
    }
    say(element('troubles-hint'), `The first three hit the next ${times} token requests, whoever sends them.`)
  }

  async look(): Promise<void> {
    await this.#ask('/state')
  }

  async #break(kind: Trouble): Promise<void> {
    await this.#ask('/break', {
      method: 'POST',
      headers: { 'x-playground': '1', 'content-type': 'application/json' },
      body: JSON.stringify({ kind }),
    })
  }

  async #ask(path: string, request?: RequestInit): Promise<void> {
    try {
      const response = await fetch(path, request)
      if (!response.ok) throw new Error(`${path} answered ${response.status}`)
      this.#show(await response.json())
      this.#reachable = true
    } catch (error) {
      if (this.#reachable)
        tell({ at: realNow(), who: 'playground', what: `does not answer: ${error}`, mood: 'bad' }, { aloud: true })
      this.#reachable = false
      const server = element('server')
      say(server, 'The playground was stopped')
      server.dataset.mood = 'bad'
    }
  }

  #show({ trouble, away, reuses, actors, events }: PageState): void {
    const server = element('server')
    const replayed = reuses > 0 ? `${reuses} spent refresh tokens were presented again` : undefined
    say(server, trouble ? `The server ${trouble}` : (replayed ?? 'The server is well'))
    server.dataset.mood = trouble || replayed ? 'bad' : 'good'
    if (this.#away) {
      say(this.#away, away ? 'Bring it back' : 'Take it away')
      this.#away.dataset.trouble = away ? 'back' : 'away'
    }
    for (const actor of actors) this.#showActor(actor)
    for (const { at, who, what, mood } of events) {
      const key = `${at} ${who} ${what}`
      if (at <= this.#opened || this.#told.has(key)) continue
      this.#told.add(key)
      tell({ at, who: who === 'server' ? 'the server' : who, what, mood }, { aloud: who === 'server' })
      if (mood === 'bad') this.#actors.get(who)?.lane.mark(at, 'failed')
    }
  }

  #showActor({ name, title, token, stale, retryAt, calledAt, served, refused, heldBack }: ActorState): void {
    const now = realNow()
    const failed = refused + heldBack
    const shown = this.#actors.get(name) ?? { lane: this.#timeline.lane(name, title), served, failed }
    this.#actors.set(name, shown)
    const { lane } = shown
    if (token && token.issuedAt !== shown.issuedAt) {
      lane.token(token.issuedAt, token.expiresAt)
      lane.mark(token.issuedAt, shown.issuedAt === undefined ? 'issued' : 'here')
      shown.issuedAt = token.issuedAt
    }
    if (served > shown.served) lane.tick(calledAt ?? now, true)
    if (failed > shown.failed) lane.tick(calledAt ?? now, false)
    Object.assign(shown, { served, failed })

    const left = (token?.expiresAt ?? 0) - now
    if (left <= 0) lane.say(retryAt ? `None, again in ${seconds(retryAt - now)}` : 'No token', 'bad')
    else if (stale) lane.say(`Failing, ${seconds(left)} left`, 'bad')
    else lane.say(`Good for ${seconds(left)}`, 'good')
  }
}
