import { type AuthorizationCodeFlow, type Challenge, loginWithPopup, type StepUpRequest } from '@keyturn/browser'
import { element, say } from './dom.ts'

/** Asks the person whether to prove more, and has them do it in a window. Rejects where they do not want to. */
export async function askForMore(auth: AuthorizationCodeFlow, { challenge, login }: StepUpRequest): Promise<void> {
  const dialog = element('step-up')
  if (!(dialog instanceof HTMLDialogElement)) throw new Error('index.html has no dialog #step-up')
  const agree = element('step-up-agree')
  say(element('step-up-what'), `It wants ${wish(challenge)}. Then what you asked for is done.`)
  element('step-up-hint').hidden = challenge.error === 'insufficient_scope'
  agree.hidden = false
  say(element('step-up-refuse'), 'No')
  dialog.showModal()

  const refusal = new AbortController()
  const over = new AbortController()
  const { signal } = over
  const refuse = () => refusal.abort(new Error('you said no'))
  element('step-up-refuse').addEventListener('click', refuse, { signal })
  dialog.addEventListener('close', refuse, { signal }) // Escape
  try {
    await new Promise<void>((resolve, reject) => {
      agree.addEventListener('click', () => resolve(), { signal })
      refusal.signal.addEventListener('abort', () => reject(refusal.signal.reason), { signal })
    })
    agree.hidden = true
    say(element('step-up-refuse'), 'Give up')
    element('step-up-refuse').focus()
    say(element('step-up-what'), 'Go on in the window that has opened.')
    // For scope alone the server would not ask a person who is signed in.
    const prompt = challenge.error === 'insufficient_scope' ? 'consent' : undefined
    await loginWithPopup(auth, { ...login(), prompt, signal: refusal.signal })
  } finally {
    over.abort()
    dialog.close()
  }
}

/** What a challenge asks for, in words. */
export function wish({ error, scope, acrValues, maxAge }: Challenge): string {
  if (error === 'invalid_token') return 'another token'
  if (error === 'insufficient_scope') return scope ? `the scope ${scope}` : 'more than anybody can ask for'
  const factors = acrValues?.endsWith(':two-factors') ? 'a sign-in with two factors' : acrValues
  const age = maxAge === undefined ? '' : ` at most ${maxAge} s ago`
  return `${factors ?? 'a sign-in'}${age}`
}
