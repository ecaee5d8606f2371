// One page that signs people in and calls APIs. Put your own servers into public/config.json, then `npm start`.
import {
  type Api,
  authenticatedFetch,
  authorizationCode,
  InvalidCallbackError,
  revocationOutbox,
} from '@keyturn/browser'

interface Settings {
  issuer: string
  clientId: string
  scope: string
  apis: Api[]
}

const response = await fetch('/config.json')
const { apis, ...settings }: Settings = await response.json()
const auth = authorizationCode({ ...settings, redirectUri: `${location.origin}/`, outbox: revocationOutbox() })
const api = authenticatedFetch(auth, { apis })

auth.subscribe(render)
onClick('login', () => auth.login({ appState: location.hash }))
onClick('logout', () => auth.logout({ postLogoutRedirectUri: `${location.origin}/` }))
onClick('call', async () => {
  const answers = await Promise.all(apis.map(async ({ url }) => (await api(url)).json()))
  element('answer').textContent = JSON.stringify(answers, undefined, 2)
})

try {
  const returned = await auth.handleCallback()
  if (returned) goTo(returned.appState)
} catch (error) {
  show(error)
  if (error instanceof InvalidCallbackError) goTo(error.appState)
}
render()

function render(): void {
  const { session } = auth
  if (session.status === 'unknown') return // neither in nor out, until the storage was read
  const signedIn = session.status === 'signedIn'
  const user = signedIn ? String(session.claims?.name ?? session.claims?.sub ?? 'somebody') : ''
  element('who').textContent = signedIn ? `Signed in as ${user}` : 'Nobody is signed in'
  element('login').hidden = signedIn
  element('logout').hidden = element('call').hidden = !signedIn
  if (!signedIn) element('answer').textContent = ''
}

/** Back to where the login began: an address of this site, or `replaceState` throws. */
function goTo(deepLink: unknown): void {
  if (typeof deepLink === 'string') history.replaceState(null, '', deepLink)
}

function onClick(id: string, action: () => Promise<void>): void {
  element(id).addEventListener('click', () => {
    element('problem').textContent = ''
    action().catch(show)
  })
}

function show(error: unknown): void {
  element('problem').textContent = String(error)
}

function element(id: string): HTMLElement {
  const found = document.getElementById(id)
  if (found === null) throw new Error(`index.html has no #${id}`)
  return found
}
