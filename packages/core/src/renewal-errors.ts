import { LoginRequiredError, OAuthError, TokenUnavailableError } from './errors.ts'
import type { Failure, SessionEnd } from './session-record.ts'

/** The lock was lost, or somebody wrote first: what is there now has to be looked at again. */
export function lostLease(): OAuthError {
  return new TokenUnavailableError('busy', 'Somebody else who shares the token store was faster')
}

export function isBusy(error: unknown): error is OAuthError {
  return error instanceof OAuthError && error.code === 'busy'
}

export function sessionEnded(reason: SessionEnd['reason'], cause?: OAuthError): OAuthError {
  return new LoginRequiredError('session-ended', `The session ended: ${reason}`, { cause, fix: 'Call login().' })
}

/** What callers get while a failure forbids to ask: when to come back, and why. */
export function unavailable({ code, retryAt }: Failure, last: OAuthError | undefined): OAuthError {
  const why = last?.message ?? `The last attempt failed (${code})`
  return new TokenUnavailableError(code, `${why}; not asked again before ${new Date(retryAt).toISOString()}`, {
    cause: last?.cause ?? last,
    fix: last?.fix,
    retryAt,
  })
}

/** An API refuses every token as soon as it is issued: the next one is asked for in `wait` milliseconds. */
export function tokenRejected(wait: number): OAuthError {
  return new TokenUnavailableError('token-rejected', 'The API refuses every new token', {
    retryAt: Date.now() + wait,
    fix: 'Check that the API takes tokens of this issuer, with this audience and scope.',
  })
}

/** Everything that callbacks of the app throw, as an error of ours. */
export function ours(error: unknown): OAuthError {
  if (error instanceof OAuthError) return error
  return new TokenUnavailableError('callback-failed', 'A function given in the options failed', { cause: error })
}

/** R7: these are asked for every time, and sent only where they have changed. */
export function isOfCredentials({ code }: OAuthError): boolean {
  return code === 'client-refused' || code === 'credentials-refused'
}
