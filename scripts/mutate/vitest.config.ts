import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const root = fileURLToPath(new URL('../../', import.meta.url))

// Node alone, and only what is about the manager, the policy and the stores: every mutant pays for what is in here.
export default defineConfig({
  root,
  resolve: {
    alias: [
      { find: /^@keyturn\/core$/, replacement: `${root}packages/core/src/index.ts` },
      { find: /^@keyturn\/core\/(ky|testing)$/, replacement: `${root}packages/core/src/$1.ts` },
    ],
  },
  test: {
    include: [
      'packages/core/test/{renewal-*,session-*,manager-*,memory-store,lock,errors,authorization-code}.test.ts',
      'packages/core/test/{rules,proofs}/*.test.ts',
    ],
    // They take longest, and the mutants that they kill are killed without them.
    exclude: ['packages/core/test/proofs/{crowds,outage}.test.ts', 'packages/core/test/rules/r08-outage.test.ts'],
    env: { PROOF_RUNS: '30', PROOF_SHRINK: '0' },
    environment: 'node',
    testTimeout: 60_000,
  },
})
