import { tokenStoreContract as checksOf, type StoreUnderTest } from '@keyturn/core/testing'
import { describe, expect, test } from 'vitest'

export { increment, record } from './stored-records.ts'

/** Runs the public contract suite as tests. */
export function tokenStoreContract(name: string, create: () => Promise<StoreUnderTest>): void {
  describe(name, () => {
    for (const { title, check } of checksOf(create)) {
      test(title, async () => {
        await expect(check()).resolves.toBeUndefined()
      }, 30_000)
    }
  })
}
