import { expect, test } from 'vitest'
import type { Report } from './importing-worker.ts'

test('importing it and making a flow touches nothing, and works in a worker', async () => {
  const worker = new Worker(new URL('./importing-worker.ts', import.meta.url), { type: 'module' })
  const report = await new Promise<Report>((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data)
    worker.onerror = (event) => reject(new Error(event.message))
  })
  expect(report).toMatchObject({ touched: [], session: { status: 'unknown' }, known: 'signedOut' })
  expect(report.touchedByUse).toEqual(expect.arrayContaining(['indexedDB', 'locks', 'BroadcastChannel', 'Date']))
  worker.terminate()
})
