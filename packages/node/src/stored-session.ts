import { LoginRequiredError, type TokenManager } from '@keyturn/core'

/**
 * The manager, where its session needs no person: it yields a token, or would but for a failure that may pass. Otherwise
 * undefined, and it is disposed of. Rejects where the store cannot tell, and when `signal` aborts.
 */
export async function storedSession<M extends Pick<TokenManager, 'getAccessToken' | 'session'> & AsyncDisposable>(
  manager: M,
  signal: AbortSignal | undefined,
): Promise<M | undefined> {
  try {
    await manager.getAccessToken({ signal })
    return manager
  } catch (error) {
    const needsPerson = error instanceof LoginRequiredError
    if (!needsPerson && !signal?.aborted && manager.session.status === 'signedIn') return manager
    await manager[Symbol.asyncDispose]()
    if (needsPerson && !signal?.aborted) return undefined
    throw error
  }
}
