import { isUnderWay, type TransactionStore } from '@keyturn/core'

const PREFIX = 'keyturn '

/** Logins under way, in this tab's session storage: they survive the way to the authorization server and back. */
export function sessionTransactions(): TransactionStore {
  const keys = () => Object.keys(sessionStorage).filter((key) => key.startsWith(PREFIX))
  const read = (key: string) => {
    try {
      const found: unknown = JSON.parse(sessionStorage.getItem(key) ?? '')
      return isUnderWay(found) ? found : undefined
    } catch {
      return undefined // none, or damaged, and so nobody's login
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
    pending: () => keys().some(read),
  }
}
