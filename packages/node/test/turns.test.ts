import { expect, test } from 'vitest'
import { Turns } from '../src/turns.js'

test('who comes while the second has its turn waits for that, and who wants something else does not', async () => {
  const turns = new Turns()
  const order: string[] = []
  const second = Promise.withResolvers<void>()
  const inside = Promise.withResolvers<void>()
  const takes = [
    turns.take('line', async () => void order.push('first')),
    turns.take('line', async () => {
      inside.resolve()
      await second.promise
      order.push('second')
    }),
  ]
  await takes[0]
  await inside.promise
  takes.push(turns.take('line', async () => void order.push('third')))
  await turns.take('other line', async () => void order.push('elsewhere'))
  second.resolve()
  await Promise.all(takes)
  expect(order).toEqual(['first', 'elsewhere', 'second', 'third'])
})
