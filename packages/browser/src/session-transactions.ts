import { isUnderWay, type TransactionStore } from '@keyturn/core'

const PREFIX = 'keyturn '
/** Of what was taken and has not settled: in place of the verifier stands which page took it. */
const TAKEN = 'keyturn: '

/** Logins under way, in this tab's session storage: they survive the way to the authorization server and back. */
export function sessionTransactions(): TransactionStore {
  const keys = (start: string) => Object.keys(sessionStorage).filter((key) => key.startsWith(start))
  const read = (key: string) => {
    try {
      const found: unknown = JSON.parse(sessionStorage.getItem(key) ?? '')
      return isUnderWay(found) ? found : undefined
    } catch {
      return undefined // none, or damaged, and so nobody's login
    }
  }
  const remove = (key: string) => sessionStorage.removeItem(key)
  const write = (key: string, value: object) => sessionStorage.setItem(key, JSON.stringify(value))
  const page = `${performance.timeOrigin}`
  return {
    put(state, transaction) {
      for (const key of keys(PREFIX)) if (!read(key)) remove(key)
      keys(TAKEN).forEach(remove) // whoever begins anew knows that the last one came to nothing
      write(PREFIX + state, transaction)
    },
    take(state) {
      const transaction = read(PREFIX + state)
      remove(PREFIX + state)
      if (transaction) write(TAKEN + state, { ...transaction, codeVerifier: page })
      return transaction
    },
    settle: (state) => remove(TAKEN + state),
    interrupted(start) {
      for (const key of keys(TAKEN + start)) {
        const found = read(key)
        if (found?.codeVerifier === page) continue
        remove(key)
        if (found) return found
      }
      return undefined
    },
    pending: () => keys(PREFIX).some(read),
  }
}
