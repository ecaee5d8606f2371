// A page whose flow a test can reach: on load it does what every app does, with the options that the test has set.
import {
  authenticatedFetch,
  authorizationCode,
  dpop,
  handleFrontChannelLogout,
  type IdleOptions,
  InvalidCallbackError,
  type LoginResult,
  loginWithPopup,
  type PopupLoginOptions,
  revocationOutbox,
  signOutWhenIdle,
} from '@keyturn/browser'

export interface LabOptions {
  timeout?: number
  sessionKey?: string
  redirectUri?: string
  clientId?: string
  /** Binds tokens to a key. */
  bound?: boolean
  idle?: IdleOptions
  /** Makes a second flow at the same moment, with the same options or its own. */
  twin?: boolean | LabOptions
}

declare global {
  /** Set before the page loads. */
  var labOptions: LabOptions | undefined
  var lab: ReturnType<typeof start>
  var twin: ReturnType<typeof start> | undefined
  /** How to make another flow with the same settings. */
  var startFlow: typeof start
}

const response = await fetch('/config.json')
const { apis, ...settings } = await response.json()

function start({ twin: _, bound, idle, ...options }: LabOptions = {}) {
  const warnings: string[] = []
  const auth = authorizationCode({
    ...settings,
    redirectUri: `${location.origin}/callback`,
    outbox: revocationOutbox(),
    onWarning: (message) => warnings.push(message),
    ...options,
    ...(bound && { dpop: dpop() }),
  })
  if (idle) signOutWhenIdle(auth, idle)
  const statuses: { status: string; at: number }[] = []
  auth.subscribe(() => {
    const { status } = auth.session
    if (statuses.at(-1)?.status !== status) statuses.push({ status, at: Date.now() })
  })
  const begun = performance.now()
  const outcome = (handling: Promise<LoginResult | undefined>): Promise<Outcome> =>
    handling.then(
      (returned) => ({ ...(returned && { returned }), after: performance.now() - begun }),
      (error: unknown) => ({ failed: described(error), after: performance.now() - begun }),
    )
  const handled = outcome(auth.handleCallback())
  const handledAgain = outcome(auth.handleCallback())
  const popups: Promise<Outcome>[] = []
  const popup = (given?: PopupLoginOptions) => void popups.push(outcome(loginWithPopup(auth, given)))
  return {
    popup,
    popups,
    auth,
    warnings,
    statuses,
    handled,
    handledAgain,
    described,
    frontChannelLogout: (url?: string) => handleFrontChannelLogout(auth, url),
    call: authenticatedFetch(auth, { apis }),
  }
}

/** What became of a callback, and after how many milliseconds. */
interface Outcome {
  returned?: LoginResult
  failed?: ReturnType<typeof described>
  after: number
}

/** What can leave the page of an error. */
function described(error: unknown) {
  const { name, code, message, fix, retryable } = Object(error)
  const more = error instanceof InvalidCallbackError ? { appState: error.appState, error: error.error } : {}
  return { name, code, message, fix, retryable, ...more }
}

globalThis.startFlow = start
globalThis.lab = start(globalThis.labOptions)
const other = globalThis.labOptions?.twin
if (other) globalThis.twin = start(other === true ? globalThis.labOptions : other)
