import type { TokenStore } from '../token-store.ts'
import { lockChecks } from './lock-checks.ts'
import { recordChecks } from './record-checks.ts'

/** What a check of the contract works with: a store that is empty, or has none of the keys that the checks use. */
export interface StoreUnderTest {
  readonly store: TokenStore
  /** Another store over the same records, as another tab or process would open it. Default: the same store. */
  readonly reopen?: (() => TokenStore) | undefined
  /** Called after each check. */
  readonly cleanup?: (() => void | Promise<void>) | undefined
}

/** One promise that every store makes. `check` rejects where the store breaks it; give it 30 seconds. */
export interface StoreCheck {
  readonly title: string
  readonly check: () => Promise<void>
}

/**
 * What a `TokenStore` has to do, as checks for any test runner:
 * `for (const { title, check } of tokenStoreContract(create)) test(title, check)`. `create` is called for each of them.
 */
export function tokenStoreContract(create: () => StoreUnderTest | Promise<StoreUnderTest>): StoreCheck[] {
  return Object.entries({ ...recordChecks, ...lockChecks }).map(([title, keepsIt]) => ({
    title,
    async check() {
      const { store, reopen, cleanup } = await create()
      try {
        await keepsIt(store, reopen?.() ?? store)
      } finally {
        await cleanup?.()
      }
    },
  }))
}
