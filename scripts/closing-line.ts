import type { Reporter, TestModule, TestRunEndReason } from 'vitest/node'

/** Ends the output with "N passed, N failed", which any CI can read. */
export class ClosingLine implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>, errors: ReadonlyArray<unknown>, reason: TestRunEndReason): void {
    const count = { passed: 0, failed: 0, skipped: 0, pending: 0 }
    for (const module of modules) {
      const states = [...module.children.allTests()].map((test) => test.result().state)
      for (const state of states) count[state]++
      // A file that does not load, or whose hook fails, has no failed test of its own.
      if (module.state() === 'failed' && !states.includes('failed')) count.failed++
    }
    count.failed += errors.length
    if (reason !== 'passed') count.failed ||= 1
    const skipped = count.skipped + count.pending
    const line = `${count.passed} passed, ${count.failed} failed${skipped ? `, ${skipped} skipped` : ''}`
    process.on('exit', () => console.log(line))
  }
}
