import {
  type AuthorizationCodeFlow,
  authenticatedFetch,
  authorizationCode,
  dpop,
  loginWithPopup,
} from '@keyturn/browser'
import type { PageSettings } from '../src/page-contract.ts'
import { realNow } from './clock.ts'
import { button, element, make, say } from './dom.ts'
import type { Lane } from './lane.ts'
import { tell } from './log.ts'
import { boundTo, Proofs } from './proofs.ts'
import { SentRequests } from './sent-requests.ts'
import { SessionWatch } from './session-watch.ts'

/** A session of its own whose tokens are bound to a key, the API that takes no others, and a thief. */
export class Vault {
  readonly auth: AuthorizationCodeFlow
  readonly #proofs = new Proofs()
  readonly #fetch: typeof fetch
  readonly #url: string
  readonly #lane: Lane
  readonly #watch: SessionWatch
  readonly #buttons: Record<'login' | 'call' | 'steal' | 'logout', HTMLButtonElement>

  /** `bearer` is the session whose tokens are bound to nothing. */
  constructor({ issuer, scope, timeout, vault, apis }: PageSettings, lane: Lane, bearer: AuthorizationCodeFlow) {
    const { url, resource, clientId } = vault
    const sent = new SentRequests(this.#proofs.fetch, resource)
    this.auth = authorizationCode({
      issuer,
      clientId,
      scope,
      resource,
      timeout,
      redirectUri: `${location.origin}/`,
      fetch: sent.fetch,
      dpop: dpop(),
      onWarning: () => {},
    })
    this.#fetch = authenticatedFetch(this.auth, { apis: url, fetch: this.#proofs.fetch })
    this.#url = url
    this.#lane = lane
    this.#watch = new SessionWatch({ who: 'your key', auth: this.auth, sent, lane, resource })
    const logout = () => this.auth.logout({ endSession: false })
    const steal = async () => {
      await this.#steal()
      const [orders] = apis
      if (orders && bearer.session.status === 'signedIn') await this.#stealUnbound(bearer, orders.url)
    }
    this.#buttons = {
      login: this.#button('Sign in with a key', () => loginWithPopup(this.auth)),
      call: this.#button('Call the vault', () => this.#call()),
      steal: this.#button('Steal the token', steal),
      logout: this.#button('Sign out of it', logout),
    }
    element('vault').append(...Object.values(this.#buttons))
    this.auth.subscribe(() => this.#render())
    this.#render()
  }

  /** To be called every now and then. */
  async look(): Promise<void> {
    await this.#watch.look()
    this.#render()
    const isIn = this.auth.session.status === 'signedIn'
    const token = isIn ? await this.auth.getTokenSet().catch(() => undefined) : undefined // the watch tells why
    const { thumbprint, sent, asked } = this.#proofs
    const key = token && String(boundTo(token.accessToken))
    say(element('token-type'), token?.tokenType ?? 'none yet')
    say(element('token-key'), key ?? 'none yet')
    const signer = thumbprint === key ? 'the same key' : thumbprint
    say(element('proof-key'), (token && signer) ?? 'none yet')
    say(element('proofs'), sent === 0 ? 'none yet' : `${sent}, for ${asked} of which a server wanted a nonce first`)
  }

  #render(): void {
    const isIn = this.auth.session.status === 'signedIn'
    const { login, call, steal, logout } = this.#buttons
    login.hidden = isIn
    logout.hidden = !isIn
    for (const one of [call, steal]) one.disabled = !isIn
  }

  #button(label: string, action: () => Promise<unknown>): HTMLButtonElement {
    return button(label, () => {
      action().catch((error) => this.#tell(`${label}: ${error instanceof Error ? error.message : error}`, 'bad'))
    })
  }

  async #call(): Promise<boolean> {
    const { status, ok } = await this.#fetch(this.#url)
    this.#lane.tick(realNow(), ok)
    element('thefts').replaceChildren()
    this.#result('You, with the key', status, ok ? 'the proof is good' : '', ok)
    this.#tell(`answered ${status}`, ok ? 'neutral' : 'bad')
    return ok
  }

  /** What somebody can do who has seen all that went over the wire, and has not the key. */
  async #steal(): Promise<void> {
    if (!(await this.#call())) return
    const stolen = await this.auth.getAccessToken()
    const thefts: [how: string, headers: Record<string, string>][] = [
      ['A thief, as Bearer', { authorization: `Bearer ${stolen}` }],
      ['A thief, without a proof', { authorization: `DPoP ${stolen}` }],
      ['A thief, with your last proof', { ...this.#proofs.last }],
    ]
    let refused = 0
    for (const [how, headers] of thefts) {
      const response = await fetch(this.#url, { headers })
      const { message } = Object(await response.json().catch(() => undefined))
      if (!response.ok) refused += 1
      this.#result(how, response.status, String(message ?? ''), !response.ok)
    }
    const outcome = `refused ${refused} of ${thefts.length} thefts`
    this.#tell(outcome, refused === thefts.length ? 'good' : 'bad')
  }

  /** For comparison. */
  async #stealUnbound(bearer: AuthorizationCodeFlow, url: string): Promise<void> {
    const headers = { authorization: `Bearer ${await bearer.getAccessToken()}` }
    const { status, ok } = await fetch(url, { headers })
    const what = ok ? 'which is bound to nothing' : ''
    this.#result('A thief, with your token for orders', status, what, !ok)
  }

  #result(who: string, status: number, what: string, isRight: boolean): void {
    const line = make('li', isRight ? 'good' : 'bad')
    line.append(make('b', '', `${who} → ${status}`), ` ${what}`)
    element('thefts').append(line)
  }

  #tell(what: string, mood: 'good' | 'bad' | 'neutral'): void {
    tell({ at: realNow(), who: 'the vault', what, mood }, { aloud: true })
  }
}
