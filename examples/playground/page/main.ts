// The playground's page: a session that renews itself, one that is bound to a key, and the means to disturb them.
import { authorizationCode, InvalidCallbackError } from '@keyturn/browser'
import type { PageSettings } from '../src/page-contract.ts'
import { Calls } from './calls.ts'
import { clockShift, onClockChange, realNow, setClock } from './clock.ts'
import { button, element, make, say } from './dom.ts'
import { tell } from './log.ts'
import { Payments } from './payments.ts'
import { SentRequests } from './sent-requests.ts'
import { ServerWatch } from './server-watch.ts'
import { SessionWatch } from './session-watch.ts'
import { Timeline } from './timeline.ts'
import { Vault } from './vault.ts'

const HOUR = 3_600_000
const home = `${location.origin}/`

const response = await fetch('/config.json')
const settings: PageSettings = await response.json()
const { apis, issuer, clientId, scope, timeout, lifetime, times } = settings
const sent = new SentRequests()
const auth = authorizationCode({
  issuer,
  clientId,
  scope,
  timeout,
  fetch: sent.fetch,
  redirectUri: home,
  onWarning: () => {},
})

// Scrolls, and so has to be reachable without a mouse.
element('log-window').tabIndex = 0
element('lede').textContent =
  `Tokens live ${lifetime} seconds here, so that one sees them being renewed. Break things: the calls go on.`
const timeline = new Timeline()
const lanes = apis.map(({ name }, i) =>
  timeline.lane(`you → ${name}`, i === 0 ? 'code + PKCE, in this page' : 'same session, another token'),
)
const [ownLane = timeline.lane('you', '')] = lanes
const vault = new Vault(settings, timeline.lane('you → vault', 'another session, bound to a key'), auth)
onClick('login', () => auth.login())
onClick('logout', async () => {
  if (vault.auth.session.status === 'signedIn') await vault.auth.logout({ endSession: false })
  await auth.logout({ postLogoutRedirectUri: home })
})

for (const one of [auth, vault.auth]) {
  try {
    await one.handleCallback() // of the other's login it wants nothing
  } catch (error) {
    problem(error)
    if (!(error instanceof InvalidCallbackError)) throw error
  }
}

const others = new Map(apis.flatMap(({ resource }, i) => (resource && lanes[i] ? [[resource, lanes[i]] as const] : [])))
const watch = new SessionWatch({ who: 'this page', auth, sent, lane: ownLane, others })
const calls = new Calls(auth, apis, lanes, watch)
const payments = new Payments(auth, settings.payments.url, ownLane)
const servers = new ServerWatch(timeline, times)
clock()
auth.subscribe(render)
render()
every(500, () => watch.look().then(figures))
every(500, () => vault.look())
every(300, () => servers.look())

function render(): void {
  const { session } = auth
  if (session.status === 'unknown') return // neither in nor out, until the storage was read
  const signedIn = session.status === 'signedIn'
  const name = signedIn ? String(session.claims?.name ?? session.claims?.sub ?? 'somebody') : ''
  say(element('who'), signedIn ? `Signed in as ${name}` : 'Nobody is signed in')
  element('who').dataset.mood = signedIn ? 'good' : 'none'
  element('login').hidden = signedIn
  element('hint').hidden = signedIn
  element('logout').hidden = !signedIn
  if (signedIn) problem()
  calls.allow(signedIn)
  payments.allow(signedIn)
}

function figures(): void {
  const { here, elsewhere, failed } = watch.renewals
  const all: [id: string, label: string, value: number, good: boolean][] = [
    ['served', 'calls served', calls.counts.served, true],
    ['unserved', 'calls failed', calls.counts.failed, calls.counts.failed === 0],
    ['here', 'renewals here', here, true],
    ['elsewhere', 'in another tab', elsewhere, true],
    ['failures', 'renewals failed', failed, true],
    ['requests', 'token requests', auth.stats().tokenRequests, true],
  ]
  const list = element('figures')
  for (const [id, label, value, good] of all) {
    let figure = document.getElementById(id)
    if (!figure) {
      figure = make('dd')
      figure.id = id
      const pair = make('div')
      pair.append(make('dt', '', label), figure)
      list.append(pair)
    }
    say(figure, String(value))
    figure.dataset.mood = good ? 'none' : 'bad'
  }
}

function clock(): void {
  const turn = (by: number) => () => setClock(clockShift() + by)
  element('clock').append(
    button('1 h back', turn(-HOUR)),
    button('1 h ahead', turn(HOUR)),
    button('Set right', () => setClock(0)),
  )
  const show = (shift: number) => {
    const hours = Math.abs(shift) / HOUR
    const what = shift === 0 ? 'is right' : `is ${hours} h ${shift > 0 ? 'ahead' : 'behind'}`
    say(element('clock-state'), `It ${what}, in every tab of this page.`)
    return what
  }
  show(clockShift())
  onClockChange((shift) =>
    tell({ at: realNow(), who: 'the clock', what: show(shift), mood: 'neutral' }, { aloud: true }),
  )
}

function onClick(id: string, action: () => Promise<void>): void {
  element(id).addEventListener('click', () => {
    problem()
    action().catch(problem)
  })
}

function problem(error?: unknown): void {
  const text = error === undefined ? '' : error instanceof Error ? error.message : String(error)
  say(element('problem'), text)
  element('problem').hidden = text === ''
}

/** One at a time, however long it takes. */
function every(milliseconds: number, action: () => Promise<void>): void {
  const again = () => {
    action()
      .catch(problem)
      .finally(() => setTimeout(again, milliseconds))
  }
  again()
}
