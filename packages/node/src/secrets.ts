import { readFile } from 'node:fs/promises'
import { TokenUnavailableError } from '@keyturn/core'
import { errorCode } from './file-error.ts'

/**
 * Gives the text of a file, read anew every time it is asked for, without the line break at its end: a secret that Docker,
 * Kubernetes or a vault agent keeps current. Good wherever a secret may be a function: `clientSecret`, the `key` of a
 * store, `privateKeyJwt()` (PEM), and `clientAssertion()` for the token of a workload. Where the file cannot be read or is
 * empty, what asked for it rejects with a retryable `TokenUnavailableError` (`callback-failed`).
 */
export function secretFile(path: string | URL): () => Promise<string> {
  return async () => {
    const secret = withoutLineBreak(await textOf(path))
    if (secret === '') throw unavailable(`The secret file ${path} is empty`, 'Have the secret written there.')
    return secret
  }
}

/** The same for an environment variable, looked up anew every time it is asked for. */
export function secretVariable(name: string): () => string {
  return () => {
    const secret = withoutLineBreak(process.env[name] ?? '')
    if (secret === '') throw unavailable(`The environment variable ${name} is not set`, `Set ${name}.`)
    return secret
  }
}

/** Editors end files with one, and what makes a variable of a file (Kubernetes) keeps it. */
function withoutLineBreak(text: string): string {
  return text.replace(/[\r\n]+$/, '')
}

async function textOf(path: string | URL): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    const why = errorCode(cause)
    const message = `The secret file ${path} cannot be read${why === undefined ? '' : ` (${why})`}`
    throw unavailable(message, 'Mount the secret there, and let this user read it.', cause)
  }
}

function unavailable(message: string, fix: string, cause?: unknown): TokenUnavailableError {
  return new TokenUnavailableError('callback-failed', message, { cause, fix })
}
