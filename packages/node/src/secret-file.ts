import { readFile } from 'node:fs/promises'

/**
 * What a file holds, read anew whenever it is asked for: a secret, a key, an assertion or a token that somebody else
 * renews, such as Kubernetes. White space around it is left out. Where the file cannot be read or is empty, whoever asked
 * for a token gets a `TokenUnavailableError`: it may be being written.
 */
export function secretFile(path: string | URL): () => Promise<string> {
  return async () => {
    const text = (await readFile(path, 'utf8')).trim()
    if (text === '') throw new Error(`${path} is empty`)
    return text
  }
}
