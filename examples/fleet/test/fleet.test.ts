import { expect, test } from 'vitest'
import { runNode } from '../../playground/test/run-node.ts'
import { plot, type Sample } from '../src/plot.ts'

test('a fleet buys one token per lifetime, and no call fails', async () => {
  const parameters = ['--workers', '3', '--lifetime', '6', '--tokens', '2']
  const { ended } = runNode(new URL('../src/fleet.ts', import.meta.url), parameters)
  const { code, stdout, stderr } = await ended
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  const total = (title: string) => Number(new RegExp(`^${title}.* (\\d+)$`, 'm').exec(stdout)?.[1])
  expect(total('calls served')).toBeGreaterThan(3)
  expect([total('calls failed'), total('tokens bought')]).toEqual([0, 2])
})

test('the plot shows the newest, within the columns that there are', () => {
  const samples: Sample[] = Array.from({ length: 100 }, (_, n) => ({
    served: n,
    failed: 0,
    bought: n === 99 ? 1 : 0,
    redis: n !== 98,
  }))
  const lines = plot(samples, { served: 4950, failed: 0, bought: 1 }, 46)
  expect(lines.map((line) => line.length)).toEqual([45, 45, 45, 45])
  expect(lines).toEqual([
    `calls served   ${'▇'.repeat(7)}${'█'.repeat(13)}      4950`,
    `calls failed   ${'·'.repeat(20)}         0`,
    `tokens bought  ${'·'.repeat(19)}1         1`,
    `Redis          ${'━'.repeat(18)} ━      well`,
  ])
})
