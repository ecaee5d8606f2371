import { LoginRequiredError, type TokenManager } from '@keyturn/core'

/**
 * Whether there is a session that needs no person: one that yields a token, or would but for a failure that passes.
 * Otherwise the manager is disposed of. Rejects where the store cannot tell, and when `signal` aborts.
 */
export async function hasStoredSession(
  manager: Pick<TokenManager, 'getAccessToken' | 'session' | typeof Symbol.asyncDispose>,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  try {
    await manager.getAccessToken({ signal })
    return true
  } catch (error) {
    const isAborted = signal?.aborted === true
    if (!isAborted && !(error instanceof LoginRequiredError) && manager.session.status === 'signedIn') return true
    await manager[Symbol.asyncDispose]()
    if (isAborted || !(error instanceof LoginRequiredError)) throw error
    return false
  }
}
