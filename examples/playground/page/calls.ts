import { type AuthorizationCodeFlow, authenticatedFetch } from '@keyturn/browser'
import type { PageSettings } from '../src/page-contract.ts'
import { realNow } from './clock.ts'
import { button, element, say } from './dom.ts'
import type { Lane } from './lane.ts'
import { tell } from './log.ts'
import type { SessionWatch } from './session-watch.ts'

type Api = PageSettings['apis'][number]

/** Calls the APIs with the user's tokens, at the press of a button or every second. */
export class Calls {
  readonly counts = { made: 0, served: 0, failed: 0 }
  readonly #fetch: typeof fetch
  readonly #buttons: HTMLButtonElement[]

  constructor(auth: AuthorizationCodeFlow, apis: Api[], lanes: Lane[], watch: SessionWatch) {
    this.#fetch = authenticatedFetch(auth, {
      apis: apis.map(({ url, resource }) => ({ url, ...(resource && { resource }) })),
    })
    const call = async (i: number, aloud: boolean) => {
      const api = apis[i]
      if (!api) return
      await this.#call(api, lanes[i], aloud)
      if (api.resource !== undefined) await watch.called(api.resource)
    }
    this.#buttons = apis.map(({ name }, i) => button(`Call ${name}`, () => void call(i, true)))
    element('calls').append(...this.#buttons)
    const every = element('every')
    setInterval(() => {
      const wanted = every instanceof HTMLInputElement && every.checked && auth.session.status === 'signedIn'
      if (wanted) for (const i of apis.keys()) void call(i, false)
    }, 1000)
  }

  allow(allowed: boolean): void {
    for (const made of this.#buttons) made.disabled = !allowed
    const answer = element('answer')
    if (!allowed) say(answer, 'Sign in first: the APIs take nothing but your tokens.')
    else if (this.counts.made === 0) say(answer, 'Two APIs, a token for each.')
  }

  async #call({ name, url }: Api, lane: Lane | undefined, aloud: boolean): Promise<void> {
    const started = performance.now()
    this.counts.made += 1
    let what: string
    let served = false
    try {
      const response = await this.#fetch(url)
      const { sub } = Object(await response.json().catch(() => undefined))
      served = response.ok
      what = `answered ${response.status}${sub ? ` to ${sub}` : ''} after ${Math.round(performance.now() - started)} ms`
    } catch (error) {
      what = `was not called: ${error instanceof Error ? error.message : error}`
    }
    this.counts[served ? 'served' : 'failed'] += 1
    const at = realNow()
    lane?.tick(at, served)
    say(element('answer'), `${name} ${what}`)
    if (aloud || !served) tell({ at, who: name, what, mood: served ? 'neutral' : 'bad' }, { aloud: true })
  }
}
