import type { Transaction, TransactionStore } from '@keyturn/core'

const PREFIX = 'keyturn '
const LIFETIME = 3_600_000

/** Logins under way, in this tab's session storage: they survive the way to the authorization server and back. */
export function sessionTransactions(): TransactionStore {
  const keys = () => Object.keys(sessionStorage).filter((key) => key.startsWith(PREFIX))
  const read = (key: string): Transaction | undefined => {
    try {
      const found: unknown = JSON.parse(sessionStorage.getItem(key) ?? 'null')
      return isTransaction(found) && Math.abs(Date.now() - found.createdAt) < LIFETIME ? found : undefined
    } catch {
      return undefined // damaged, and so nobody's login
    }
  }
  return {
    put(state, transaction) {
      for (const key of keys()) if (!read(key)) sessionStorage.removeItem(key)
      sessionStorage.setItem(PREFIX + state, JSON.stringify(transaction))
    },
    take(state) {
      const transaction = read(PREFIX + state)
      sessionStorage.removeItem(PREFIX + state)
      return transaction
    },
    pending: () => keys().some((key) => read(key)),
  }
}

function isTransaction(value: unknown): value is Transaction {
  const texts = ['codeVerifier', 'issuer', 'clientId', 'redirectUri']
  const found = (value ?? {}) as Record<string, unknown>
  return typeof found.createdAt === 'number' && texts.every((name) => typeof found[name] === 'string')
}
