import { OAuthError, type TokenManager } from '@keyturn/core'

/** How long nobody may be there. */
export interface IdleOptions {
  /** Milliseconds after which the session ends where nobody points, types, scrolls or comes back, in any tab. */
  after: number
  /** Milliseconds of these after which `onWarning` is called. Default: never. */
  warnAt?: number | undefined
  /** Told when the session will end, epoch milliseconds, and `undefined` when that is not to come any more. */
  onWarning?: ((endsAt: number | undefined) => void) | undefined
}

/** What shows that somebody is there. */
const ACTIVITY = ['pointerdown', 'pointermove', 'keydown', 'wheel', 'scroll', 'touchstart']
/** What may come after a time in which no timer ran. */
const RETURN = ['visibilitychange', 'pageshow', 'resume', 'online']
/** Milliseconds between two notes that somebody is there. */
const NOTE_INTERVAL = 1000
const LONGEST_TIMER = 2 ** 31 - 1

/**
 * Ends the session (reason `idle`) when nobody has been there for a while: in no tab of the origin, through reloads and
 * sleep, before a token is handed out. Renewals do not count, a sign-in does. It revokes, and stays on the page. Call it
 * right after the client is made; returns the way to stop it. Throws an `OAuthError` where `after` is no time.
 */
export function signOutWhenIdle(auth: TokenManager, options: IdleOptions): () => void {
  const { after, warnAt = after, onWarning } = options
  if (!(after > 0)) {
    throw new OAuthError('invalid-options', 'after cannot be used', { fix: 'Set after to milliseconds.' })
  }
  if (typeof document === 'undefined') return () => {}
  const note = sharedNote(`keyturn active ${JSON.stringify([auth.client.issuer, auth.client.clientId])}`)
  const watching = new AbortController()
  const { signal } = watching
  const outer = auth.guard
  let timer: ReturnType<typeof setTimeout> | undefined
  let isWarning = false

  const warn = (endsAt: number | undefined) => {
    const is = endsAt !== undefined
    if (is === isWarning) return
    isWarning = is
    try {
      onWarning?.(endsAt)
    } catch (error) {
      reportError(error) // the app's own; whoever waits for a token has no part in it
    }
  }
  const check = () => {
    clearTimeout(timer)
    const { status } = auth.session
    const before = note.age()
    // Another tab may have ended its session and forgotten the note, a moment before this one was to end.
    if (note.read() === undefined && status === 'signedIn') {
      if (before >= after) return end()
      note.write()
    }
    if (note.read() === undefined || status === 'signedOut') return warn(undefined)
    const idle = note.age()
    if (idle >= after) return end()
    warn(idle < warnAt ? undefined : Date.now() + after - idle)
    timer = setTimeout(check, Math.min((idle < warnAt ? warnAt : after) - idle, LONGEST_TIMER))
  }
  const end = () => {
    note.forget()
    warn(undefined)
    // It is over here at once; what cannot be done besides is a warning of the client's.
    auth.revoke({ reason: 'idle' }).catch(() => {})
  }
  let last = auth.session.status
  const changed = () => {
    const { status } = auth.session
    if (status === 'signedOut' && status !== last) note.forget() // not at every look: another tab may be about to sign in
    last = status
    check()
  }
  const guard = () => {
    outer?.()
    // Rules that came later go on asking one that was stopped. Another tab may know better.
    if (!signal.aborted && note.age() >= after) check()
  }
  const act = () => {
    guard()
    if (note.age() < NOTE_INTERVAL || auth.session.status !== 'signedIn') return
    note.write()
    check()
  }

  for (const event of ACTIVITY) addEventListener(event, act, { capture: true, passive: true, signal })
  for (const event of RETURN) {
    const isSomebody = () => event !== 'online' && document.visibilityState === 'visible'
    addEventListener(event, () => (isSomebody() ? act() : check()), { capture: true, signal })
  }
  addEventListener('storage', check, { signal }) // another tab has noted something
  auth.guard = guard
  check()
  const unsubscribe = auth.subscribe(changed)
  return () => {
    clearTimeout(timer)
    watching.abort()
    unsubscribe()
    if (auth.guard === guard) auth.guard = outer
  }
}

/**
 * When somebody was there last, for all tabs. In localStorage, as it is no secret, may be wrong by a moment, and has to be
 * known before anything else is. Where that is blocked, or full, memory has to do: so are sessions that outlive a page.
 */
function sharedNote(key: string) {
  let memory: string | null = null
  let known: number | undefined
  /** On the clock that nobody sets. */
  let since = 0
  const storage = (use: (storage: Storage) => unknown) => {
    try {
      return use(localStorage)
    } catch {
      return memory
    }
  }
  function keep(at: number | undefined): number | undefined {
    if (at !== known) {
      known = at
      since = performance.now() - Math.max(Date.now() - (at ?? 0), 0)
    }
    return known
  }
  function write(): void {
    const now = Date.now()
    memory = `${now}`
    storage((all) => {
      all.setItem(key, `${now}`)
      memory = null
    })
    keep(now)
  }
  return {
    write,
    read(): number | undefined {
      const at = Number(memory ?? storage((all) => all.getItem(key))) || undefined
      if (at !== undefined && at > Date.now() && at !== known)
        write() // the clock was set back meanwhile
      else keep(at)
      return known
    },
    forget(): void {
      memory = null
      storage((all) => all.removeItem(key))
      keep(undefined)
    },
    /** Milliseconds since, as far as this tab knows: the larger of what both clocks say; NaN: nobody was. */
    age: () => (known === undefined ? Number.NaN : Math.max(Date.now() - known, performance.now() - since)),
  }
}
