/** How long a login may take, milliseconds. */
export const TRANSACTION_LIFETIME = 3_600_000

/** A login that was begun and has not come back yet: plain data. */
export interface Transaction {
  readonly codeVerifier: string
  readonly nonce?: string | undefined
  readonly maxAge?: number | undefined
  readonly issuer: string
  readonly clientId: string
  readonly redirectUri: string
  readonly createdAt: number
  readonly appState?: unknown
}

/** Keeps logins that are under way, each under its `state`, where only the user agent that began them finds them. */
export interface TransactionStore {
  put(state: string, transaction: Transaction): void | Promise<void>
  /** Gives it and forgets it, at once: a transaction is used once. */
  take(state: string): Transaction | undefined | Promise<Transaction | undefined>
  /** Whether any login is under way that is not older than an hour. */
  pending(): boolean | Promise<boolean>
}

/** Transactions of this process or page only. */
export function memoryTransactions(): TransactionStore {
  const transactions = new Map<string, Transaction>()
  return {
    put(state, transaction) {
      transactions.set(state, transaction)
    },
    take(state) {
      const transaction = transactions.get(state)
      transactions.delete(state)
      return transaction
    },
    pending: () => [...transactions.values()].some(({ createdAt }) => Date.now() - createdAt < TRANSACTION_LIFETIME),
  }
}
