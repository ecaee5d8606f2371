import { StoreError } from '@keyturn/core'

const FIXES: Readonly<Record<string, string>> = {
  EACCES: 'Let this user read and write the file and its folder, or choose another path.',
  EPERM: 'Let this user read and write the file and its folder, or choose another path.',
  EROFS: 'Choose a path on a file system that can be written to.',
  ENOSPC: 'Free some space on the disk.',
  EFBIG: 'Allow this user larger files (`ulimit -f`).',
  EDQUOT: 'Free some space: the quota of this user is used up.',
  EISDIR: 'Choose the path of a file: this one is a folder.',
  ENOTDIR: 'Choose another path: a part of this one is a file, not a folder.',
  EEXIST: 'Choose another path: a part of this one is a file, not a folder.',
  ENAMETOOLONG: 'Choose a shorter path.',
  ELOOP: 'Choose another path: its symbolic links lead in a circle.',
}

/** What passes though there is something to change. */
const PASSING = new Set(['ENOSPC', 'EDQUOT', 'EFBIG'])

/** What the operating system said, as a `StoreError` that tells what to change. */
export function fileError(error: unknown, path: string): StoreError {
  if (error instanceof StoreError) return error
  const code = errorCode(error)
  const fix = code === undefined ? undefined : FIXES[code]
  const message = `The token file ${path} cannot be used${code === undefined ? '' : ` (${code})`}`
  return new StoreError(message, { cause: error, retryable: fix === undefined || PASSING.has(code ?? ''), fix })
}

/** The code of a system error, such as `ENOENT`. */
export function errorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}

/** Windows refuses for a moment what another process, often a virus scanner, has open or is about to remove. */
export function isPassing(error: unknown): boolean {
  return process.platform === 'win32' && ['EPERM', 'EACCES', 'EBUSY'].includes(errorCode(error) ?? '')
}
