/** A login that was begun and has not come back yet: plain data. */
export interface Transaction {
  readonly codeVerifier: string
  readonly nonce?: string | undefined
  readonly maxAge?: number | undefined
  readonly scope?: string | undefined
  readonly issuer: string
  readonly redirectUri: string
  readonly createdAt: number
  readonly appState?: unknown
}

/** Keeps logins that are under way, each under its `state`, where only the user agent that began them finds them. */
export interface TransactionStore {
  /** Whether logins come back to the process or page that began them, and to none that was loaded anew. Default: no. */
  readonly inMemory?: boolean | undefined
  put(state: string, transaction: Transaction): void | Promise<void>
  /** Gives it and forgets it, at once: a transaction is used once. */
  take(state: string): Transaction | undefined | Promise<Transaction | undefined>
  /** What was taken has come to its end: the person is signed in, or the server has said why not. */
  settle?(state: string): void
  /**
   * What was taken, under a `state` that starts like this, by a page that is gone, and has not settled. Gives it and
   * forgets it, as `put` does.
   */
  interrupted?(start: string): Pick<Transaction, 'appState' | 'createdAt'> | undefined
  /** Whether any login is under way that is not older than two hours. */
  pending(): boolean | Promise<boolean>
}

/** Whether what was found is a whole login that began within the last two hours: a clock may jump by one meanwhile, either way. */
export function isUnderWay(found: unknown): found is Transaction {
  const { codeVerifier, issuer, redirectUri, createdAt } = Object(found)
  const texts = [codeVerifier, issuer, redirectUri]
  if (!texts.every((text) => text && typeof text === 'string') || typeof createdAt !== 'number') return false
  return Math.abs(Date.now() - createdAt) < 7_200_000
}

/** Transactions of this process or page only. */
export function memoryTransactions(): TransactionStore {
  const transactions = new Map<string, Transaction>()
  return {
    inMemory: true,
    put(state, transaction) {
      // Many a login is begun and never comes back; the oldest is first.
      for (const [old, begun] of transactions) {
        if (isUnderWay(begun)) break
        transactions.delete(old)
      }
      transactions.set(state, transaction)
    },
    take(state) {
      const transaction = transactions.get(state)
      transactions.delete(state)
      return transaction
    },
    pending: () => [...transactions.values()].some(isUnderWay),
  }
}
