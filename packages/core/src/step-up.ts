import { type Challenge, challengeOf } from './challenge.ts'
import { unlessAborted } from './deadline.ts'
import { ChallengeError } from './errors.ts'
import type { LoginOptions } from './grants/login-options.ts'
import { personOf, type StepUp } from './token-fetch.ts'
import type { TokenManager } from './token-manager.ts'
import type { TokenSet } from './token-set.ts'

/** What a person is asked for. */
export interface StepUpRequest {
  /** That of the answer that began it. */
  readonly challenge: Challenge
  /**
   * What to log in with: the scope that is held and all that is asked for, `acrValues`, `maxAge` (RFC 9470 section 4), and
   * the `appState` that a redirect brings back. To be called when the login begins, for it speaks for all who wait by then.
   */
  login(): StepUpLogin
}

/** What the login has to ask for, and what comes back from it. */
export interface StepUpLogin extends LoginOptions {
  /** Plain data: the challenge, and the URL that was asked for. */
  appState: { challenge: Challenge; url: string }
}

/** How a person is asked for more. */
export interface StepUpOptions {
  /**
   * Has the person agree and log in: offers it, waits for their click, and gives `login()` to `loginWithPopup()`, or to
   * `auth.login()`, which leaves the page. Rejects where they refuse, and has to settle, for until then all wait. Called
   * once for all who wait, never twice at a time: of two `stepUp()` of one `auth`, that of whoever asks first.
   */
  confirm(request: StepUpRequest): Promise<unknown>
}

/** Milliseconds in which a page that is to be left is gone. */
const LEAVING = 10_000

/** What one step-up asks for. */
interface Asked {
  readonly scope: Set<string>
  acrValues: string | undefined
  maxAge: number | undefined
}

interface Run {
  readonly asked: Asked
  /** Who was signed in when it began; undefined where nobody knows. */
  readonly person: unknown
  /** The tokens that were challenged, and those that came of it. */
  readonly before: Set<string>
  readonly after: Set<string>
  /** The login has begun: nothing more can be asked for. */
  isSealed: boolean
  /** Epoch milliseconds. */
  endedAt: number
  done: Promise<unknown>
}

/** One session has one login at a time, however many fetches ask for one: each would take away what another brought. */
interface Turns {
  running?: Run | undefined
  last?: Run
}

const turnsOf = new WeakMap<TokenManager, Turns>()

/**
 * Turns a challenge that asks for more than the token can (`insufficient_scope`, RFC 6750 section 3.1;
 * `insufficient_user_authentication`, RFC 9470) into a login for all who wait, and repeats their requests with the token
 * that comes of it; where none comes, as in a page that is left, or it is another person's, the API's answer stays. For `authenticatedFetch({ stepUp })`,
 * which rejects with a `ChallengeError` where `confirm` does. What a token of such a login was not enough for is not asked
 * for again.
 */
export function stepUp(auth: TokenManager, { confirm }: StepUpOptions): StepUp {
  const turns = turnsOf.get(auth) ?? {}
  turnsOf.set(auth, turns)

  const start = (challenge: Challenge, url: string): Run => {
    const run: Run = {
      asked: { scope: new Set(), acrValues: challenge.acrValues, maxAge: challenge.maxAge },
      person: personOf(auth),
      before: new Set(),
      after: new Set(),
      isSealed: false,
      endedAt: 0,
      done: Promise.resolve(),
    }
    const login = () => {
      run.isSealed = true
      const { scope, acrValues, maxAge } = run.asked
      return { scope: [...scope].join(' ') || undefined, acrValues, maxAge, appState: { challenge, url } }
    }
    // Not before whoever asked has said what for.
    run.done = Promise.resolve({ challenge, login })
      .then(confirm)
      .then(
        () => {
          turns.last = run
        },
        (cause) => {
          throw new ChallengeError('The step-up was refused', { cause, challenge, fix: 'Offer it again.' })
        },
      )
      .finally(() => {
        turns.running = undefined
        run.endedAt = Date.now()
      })
    run.done.catch(() => {}) // everybody may have gone
    return run
  }

  return async ({ response, url, accessToken, wanted, signal }) => {
    const challenge = challengeOf(response)
    if (!challenge || challenge.error === 'invalid_token') return undefined
    if (challenge.error === 'insufficient_scope' && !challenge.scope) return undefined // nobody says what to ask for
    const tokenOf = (request = wanted) => auth.getTokenSet(request).catch(() => undefined)
    const person = personOf(auth)
    const missing = wordsOf(challenge.scope)
    const { scope: narrow, ...others } = wanted ?? {}
    /** The token of a login that brought what is missing. */
    const request =
      narrow === undefined ? wanted : { ...others, scope: [...new Set([...wordsOf(narrow), ...missing])].join(' ') }
    const isOther = (got: TokenSet | undefined) => got !== undefined && got.accessToken !== accessToken

    let run: Run
    for (;;) {
      // A login may bring what a route does not ask for.
      const brought = wordsOf((await unlessAborted(tokenOf(others), signal))?.scope)
      const scope = [...brought, ...wordsOf(narrow), ...missing]
      const isBrought = challenge.error === 'insufficient_scope' && includes([...brought, ...wordsOf(narrow)], missing)
      const isKnown = turns.last?.before.has(accessToken) || turns.last?.after.has(accessToken)
      const other = isBrought || isKnown ? await unlessAborted(tokenOf(request), signal) : undefined
      const isEnough = isOther(other) && includes(wordsOf(other?.scope), missing)
      const held = await unlessAborted(tokenOf(), signal)
      if (!held || personOf(auth) !== person) return undefined // whose request it is could not step up
      // That of an earlier page, of another one, or for another API.
      if (isBrought && isEnough) return request ?? {}
      const { running, last } = turns
      if (!running && last && covers(last.asked, challenge)) {
        run = last
        // Whoever was sent to log in, and is still here, has come back without.
        const isUndone = !isOther(held) && !isEnough && Date.now() - run.endedAt > LEAVING
        if (run.before.has(accessToken) && !isUndone) break // an answer that comes late: there is another token already
        if (run.after.has(accessToken) && !isPast(run, challenge)) return isEnough ? (request ?? {}) : undefined
      }
      turns.running ??= start(challenge, url)
      run = turns.running
      const isAsked = run.person === person && join(run, challenge, scope)
      if (isAsked) run.before.add(accessToken)
      // A refusal is that of those who asked; the others are next.
      await unlessAborted(isAsked ? run.done : run.done.catch(() => {}), signal)
      if (isAsked) break
    }
    const got = await unlessAborted(tokenOf(request), signal)
    const held = await unlessAborted(tokenOf(), signal)
    // What one person asked for is not done as another, who may have logged in instead.
    if (personOf(auth) !== run.person) return undefined
    for (const token of [got, held]) if (token && isOther(token)) run.after.add(token.accessToken)
    return isOther(got) ? (request ?? {}) : undefined
  }
}

/** Has a step-up ask for this, too; gives whether it does. */
function join({ asked, isSealed }: Run, challenge: Challenge, scope: string[]): boolean {
  const { acrValues = asked.acrValues, maxAge = asked.maxAge } = challenge
  // A list of several means any of them, and so two lists cannot be made one.
  if (isSealed || (asked.acrValues ?? acrValues) !== acrValues) return covers(asked, challenge)
  for (const word of scope) asked.scope.add(word)
  asked.acrValues = acrValues
  asked.maxAge = maxAge === undefined ? undefined : Math.min(maxAge, asked.maxAge ?? maxAge)
  return true
}

function covers(asked: Asked, { scope, acrValues, maxAge }: Challenge): boolean {
  return (
    includes([...asked.scope], wordsOf(scope)) &&
    (acrValues ?? asked.acrValues) === asked.acrValues &&
    (maxAge === undefined || (asked.maxAge ?? Number.POSITIVE_INFINITY) <= maxAge)
  )
}

/** Whether the person proved who they are too long ago by now. */
function isPast({ endedAt }: Run, { maxAge }: Challenge): boolean {
  return maxAge !== undefined && Date.now() - endedAt >= maxAge * 1000
}

const wordsOf = (list = '') => list.split(' ').filter(Boolean)
const includes = (all: string[], words: string[]) => words.every((word) => all.includes(word))
