import { type AuthorizationCodeFlow, authenticatedFetch, ChallengeError, challengeOf, stepUp } from '@keyturn/browser'
import { realNow } from './clock.ts'
import { button, element, make, say } from './dom.ts'
import type { Lane } from './lane.ts'
import { tell } from './log.ts'
import { askForMore, wish } from './step-up-dialog.ts'

const operations = [
  { label: 'Transfer money', path: 'transfer', body: { euros: 25, to: 'alan' }, done: '25 € went to Alan' },
  { label: 'Raise the limit', path: 'limit', body: { euros: 1000 }, done: 'your limit is 1,000 €' },
] as const

/** Calls the API that wants more of a token than reading, and shows how it comes to that, step by step. */
export class Payments {
  readonly #fetch: typeof fetch
  readonly #url: string
  readonly #lane: Lane
  readonly #buttons: HTMLButtonElement[]

  constructor(auth: AuthorizationCodeFlow, url: string, lane: Lane) {
    this.#url = url
    this.#lane = lane
    this.#fetch = authenticatedFetch(auth, {
      apis: url,
      fetch: this.#sent,
      stepUp: stepUp(auth, {
        confirm: async (request) => {
          await askForMore(auth, request)
          this.#step('You did it → another token', '', 'good')
        },
      }),
    })
    this.#buttons = operations.map((operation) => button(operation.label, () => void this.#do(operation)))
    element('payments').append(...this.#buttons)
  }

  allow(allowed: boolean): void {
    for (const made of this.#buttons) made.disabled = !allowed
    if (!allowed) say(element('paid'), 'Sign in first.')
    else if (!element('steps').hasChildNodes())
      say(element('paid'), 'What you have signed in with is not enough for it.')
  }

  async #do({ label, path, body, done }: (typeof operations)[number]): Promise<void> {
    element('steps').replaceChildren()
    say(element('paid'), `${label} …`)
    let what: string
    let served = false
    try {
      const response = await this.#fetch(new URL(path, this.#url), { method: 'POST', body: JSON.stringify(body) })
      served = response.ok
      what = served ? `Done: ${done}.` : `Not done: the API answered ${response.status}.`
    } catch (error) {
      what = `Not done: ${reasonOf(error)}.`
    }
    say(element('paid'), what)
    element('paid').dataset.mood = served ? 'good' : 'bad'
    tell({ at: realNow(), who: 'payments', what, mood: served ? 'neutral' : 'bad' }, { aloud: true })
  }

  /** Every attempt, as it goes out. */
  readonly #sent: typeof fetch = async (input, init) => {
    const { method, url } = input instanceof Request ? input : new Request(input, init)
    const response = await fetch(input, init)
    const challenge = challengeOf(response)
    const again = element('steps').hasChildNodes() ? 'the same bytes, that token' : ''
    const answer = challenge ? `${challenge.error}: wants ${wish(challenge)}` : again
    this.#step(`${method} ${new URL(url).pathname} → ${response.status}`, answer, response.ok ? 'good' : 'bad')
    this.#lane.tick(realNow(), response.ok)
    return response
  }

  #step(title: string, what: string, mood: 'good' | 'bad'): void {
    const step = make('li', mood)
    step.append(make('b', '', title), ` ${what}`)
    element('steps').append(step)
  }
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const cause = error instanceof ChallengeError && error.cause instanceof Error ? ` (${error.cause.message})` : ''
  const wanted = error instanceof ChallengeError ? `; the API wants ${wish(error.challenge)}` : ''
  return `${error.message}${cause}${wanted}`
}
